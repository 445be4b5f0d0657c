"""Sweeps: Hydra varies the overrides, every job is a process of its own, one table at the end.

A job that raises, exits, runs out of memory or is killed costs only itself. The same command with
the same hydra.sweep.dir runs only what is missing, because each job is a run that resumes.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig

from fundus_cli.compose import Command, compose_dict, quoted
from fundus_cli.errors import ConfigError
from fundus_cli.job import JOB_FILE, run_job
from fundus_cli.run.files import write_csv
from fundus_cli.run.folder import held, read_summary
from fundus_cli.run.signals import StopRequest


def run_sweep(
    program: str, overrides: Sequence[str], config_dir: Path | None, stop: StopRequest
) -> int:
    """Run every job of a sweep and write the leaderboard; returns how many jobs failed.

    Raises:
        Interrupted: a signal arrived; what is done is kept and listed.
        RunFolderError: another sweep is at work in the folder.
        ConfigError: Hydra's sweeper refuses the overrides.
    """
    stop.defer()
    sweep_dir = _sweep_folder(program, overrides, config_dir)
    folders: list[Path] = []

    def job(config: DictConfig) -> float | None:
        runtime = HydraConfig.get()
        folder = Path(runtime.runtime.output_dir)
        folders.append(folder)
        return run_job(program, folder, list(runtime.overrides.task), config_dir, stop)

    directory = ["--config-dir", str(config_dir)] if config_dir else []
    kept = [line for line in overrides if not line.startswith("hydra.sweep.dir=")]
    folder_override = quoted("hydra.sweep.dir", str(sweep_dir))
    arguments = [sys.argv[0], "--multirun", *directory, *kept, folder_override]
    before, sys.argv = sys.argv, arguments
    try:
        main = hydra.main(
            config_path="pkg://fundus_cli.configs", config_name=program, version_base="1.3"
        )
        with held(str(sweep_dir), key="hydra.sweep.dir"):
            main(job)()
    except HydraException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    finally:
        sys.argv = before
    if not folders:
        return 0
    rows = [leaderboard_row(folder) for folder in folders]
    write_csv(sweep_dir / "leaderboard.csv", rows)
    print(leaderboard_table(rows))
    print(f"sweep folder: {sweep_dir}")
    stop.raise_if_asked(
        "finished jobs are kept; the same command with "
        f"hydra.sweep.dir={sweep_dir} runs what is missing"
    )
    return sum(row["status"] != "done" for row in rows)


def _sweep_folder(program: str, overrides: Sequence[str], config_dir: Path | None) -> Path:
    """Where the jobs will lie, known before the first one runs."""
    own = tuple(line for line in overrides if line.startswith("hydra.sweep.dir="))
    _, hydra_config = compose_dict(
        Command(config_name=program, overrides=own, config_dir=config_dir)
    )
    return Path(str(hydra_config.sweep.dir))


def leaderboard_row(folder: Path) -> dict[str, Any]:
    """One job's line, from the files in its folder."""
    try:
        job = json.loads((folder / JOB_FILE).read_text())
    except (OSError, ValueError):
        job = {"overrides": [], "status": "not run", "reason": "", "duration_s": 0.0}
    summary = read_summary(folder) or {}
    best = summary.get("best") or summary.get("last") or {}
    pooled = summary.get("pooled") or {}
    assert isinstance(best, dict)
    assert isinstance(pooled, dict)
    row = {
        "job": folder.name,
        "overrides": " ".join(job["overrides"]),
        "status": job["status"],
        "best_epoch": summary.get("best_epoch"),
        "train_loss": best.get("train_loss"),
        "val_loss": best.get("val_loss"),
        "val_dice": best.get("val_dice"),
        "test_loss": best.get("test_loss"),
    }
    row |= {f"{summary.get('scored_split')}_dice_{s}": m["dice"] for s, m in pooled.items()}
    return {**row, "minutes": round(job["duration_s"] / 60, 2), "reason": job["reason"]}


def leaderboard_table(rows: Sequence[dict[str, Any]]) -> str:
    """The leaderboard for a terminal, the best validation Dice (else the lowest loss) first."""

    def rank(row: dict[str, Any]) -> tuple[bool, float]:
        if isinstance(row.get("val_dice"), float):
            return (row["status"] != "done", -row["val_dice"])
        loss = row.get("train_loss")
        return (row["status"] != "done", loss if isinstance(loss, float) else float("inf"))

    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns] + [[_shown(row.get(c)) for c in columns] for row in sorted(rows, key=rank)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
