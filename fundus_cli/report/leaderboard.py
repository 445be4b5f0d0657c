"""Compare the runs of a sweep: varied keys, a row per job, seeds and folds grouped.

Rows are ordered by the validation Dice. Ordering by a test score would select on the test set.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fundus_cli.report.changes import OF_THE_FOLDER
from fundus_cli.report.run_files import JOB_FILE, Run, leaves, number, read_run

REPEATS = ("seed", "data.fold")
"""Keys that repeat a setting instead of changing it."""

RANKED_BY = ("val_dice", "train_loss")
"""The first that a row has decides its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Jobs that differ in nothing but seed and fold.

    Attributes:
        values: {varied key: its value}.
        jobs: rows of its jobs.
        means: {column: (mean, sample deviation, how many)} over the jobs that are done.
    """

    values: dict[str, Any]
    jobs: list[dict[str, Any]]
    means: dict[str, tuple[float, float, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """What leaderboard.csv and leaderboard.html show.

    Attributes:
        keys: varied keys, repeats last.
        rows: a row per job, the best first.
        settings: the same jobs gathered, the best first; empty when nothing is repeated.
    """

    keys: list[str]
    rows: list[dict[str, Any]]
    settings: list[Setting] = field(default_factory=list)


def job_folders(sweep: Path) -> list[Path]:
    """The jobs of a sweep's folder, in their order."""
    folders = [path.parent for path in sweep.glob(f"*/{JOB_FILE}")]
    return sorted(folders, key=lambda folder: natural(folder.name))


def natural(name: str) -> tuple[bool, int, str]:
    """A sort key that puts job 10 after job 9."""
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)


def build_leaderboard(runs: Sequence[Run], names: Sequence[str] | None = None) -> Leaderboard:
    """Runs as a leaderboard.

    Args:
        runs: in the order in which they were started.
        names: what to call them; the names of their folders by default.
    """
    names = names or [run.folder.name for run in runs]
    keys = varied_keys(runs)
    rows = [_row(name, run, keys) for name, run in zip(names, runs, strict=True)]
    repeated = [key for key in keys if key in REPEATS]
    settings = _settings(rows, [k for k in keys if k not in REPEATS]) if repeated else []
    return Leaderboard(
        keys=keys, rows=sorted(rows, key=rank), settings=sorted(settings, key=_setting_rank)
    )


def overrides_of(run: Run) -> dict[str, str]:
    """{key: value} of a job's command line."""
    lines = run.job.get("overrides")
    pairs = [str(line).partition("=") for line in lines] if isinstance(lines, list) else []
    return {key.lstrip("+~"): value for key, _, value in pairs if not key.startswith("hydra")}


def varied_keys(runs: Sequence[Run]) -> list[str]:
    """Keys whose value is not the same in all runs, in the order of the command line, then of the
    config; repeats last.

    Where another choice of a group was taken (data=stare), its name stands for all that follows
    from it, but for what the command line names itself.
    """
    configs = [leaves(run.config) for run in runs if run.config]
    named = list(dict.fromkeys(key for run in runs for key in overrides_of(run)))
    known = list(dict.fromkeys(key for config in configs for key in config))
    keys = [key for key in known if len({repr(config.get(key)) for config in configs}) > 1]
    if not configs:
        keys = [k for k in named if len({overrides_of(run).get(k) for run in runs}) > 1]
    groups = [key.removesuffix(".name") for key in keys if key.endswith(".name")]
    kept = [
        key
        for key in keys
        if key not in OF_THE_FOLDER
        and (key in named or not any(_follows(key, group) for group in groups))
    ]
    order = {key: place for place, key in enumerate(named)}

    def place(key: str) -> tuple[bool, int]:
        named_at = order.get(key, order.get(key.removesuffix(".name"), len(order)))
        return (key in REPEATS, named_at)

    return sorted(kept, key=place)


def _follows(key: str, group: str) -> bool:
    return key.startswith(f"{group}.") and key != f"{group}.name"


def value_of(run: Run, key: str) -> Any:
    """A key's value from the config, else from the command line of a job that never wrote one."""
    config = leaves(run.config)
    if key in config:
        return config[key]
    given = overrides_of(run)
    return given.get(key, given.get(key.removesuffix(".name")))


def _row(name: str, run: Run, keys: Sequence[str]) -> dict[str, Any]:
    best = run.summary.get("best") or run.summary.get("last") or {}
    best = best if isinstance(best, Mapping) else {}
    row: dict[str, Any] = {
        "job": name,
        **{key: value_of(run, key) for key in keys},
        "status": run.status,
        "best_epoch": run.summary.get("best_epoch"),
        "val_dice": number(best.get("val_dice")),
        "train_loss": number(best.get("train_loss")),
        "val_loss": number(best.get("val_loss")),
        "test_loss": number(best.get("test_loss")),
    }
    for structure in run.structures:
        row[f"{run.split}_dice_{structure}"] = number(run.pooled(structure).get("dice"))
    minutes = run.minutes()
    row["minutes"] = None if minutes is None else round(minutes, 2)
    row["reason"] = run.reason
    overrides = run.job.get("overrides")
    row["overrides"] = " ".join(map(str, overrides)) if isinstance(overrides, list) else ""
    return row


def score_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns that are scores: val_dice and <split>_dice_<structure>."""
    names = dict.fromkeys(key for row in rows for key in row)
    return [key for key in names if key == "val_dice" or "_dice_" in key]


def rank(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """A key that puts the best finished job first."""
    val_dice, loss = (number(row.get(key)) for key in RANKED_BY)
    value = -val_dice if val_dice is not None else (math.inf if loss is None else loss)
    return (row["status"] != "done", val_dice is None, value)


def _settings(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[Setting]:
    gathered: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        gathered[repr([row.get(key) for key in keys])].append(row)
    return [
        Setting(
            values={key: jobs[0].get(key) for key in keys},
            jobs=jobs,
            means=_means([row for row in jobs if row["status"] == "done"]),
        )
        for jobs in gathered.values()
    ]


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float, int]]:
    means = {}
    for column in (*score_columns(rows), "train_loss", "minutes"):
        values = [v for row in rows if (v := number(row.get(column))) is not None]
        if values:
            sd = statistics.stdev(values) if len(values) > 1 else math.nan
            means[column] = (statistics.fmean(values), sd, len(values))
    return means


def _setting_rank(setting: Setting) -> tuple[bool, float]:
    if "val_dice" in setting.means:
        return (False, -setting.means["val_dice"][0])
    return (True, setting.means.get("train_loss", (math.inf, 0.0, 0))[0])


def read_jobs(sweep: Path) -> list[Run]:
    """Every job of a sweep's folder."""
    return [read_run(folder) for folder in job_folders(sweep)]
