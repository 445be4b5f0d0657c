"""Read a run folder; missing or damaged files are treated as absent, never as an error."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_cli.run.files import read_json, read_text

JOB_FILE = "job.json"
REPORT_NAME, LEADERBOARD_NAME = "report.html", "leaderboard.html"
RUN_MARKS = ("config.json", "metrics.json", "summary.json", "log.csv", JOB_FILE)
"""A folder with any of these files can have a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One folder of fundus-train or fundus-eval, or one job of a sweep.

    Attributes:
        config: config.json, nested.
        environment: environment.json.
        splits: images of each split by id.
        log: a row per epoch, numbers where the file has numbers.
        metrics: metrics.json.
        rows: metrics.csv, the network's row per image and structure.
        observer2_rows: the second observer's rows of the same file.
        curves: {structure: curves} of curves.json.
        summary: summary.json.
        job: job.json, in a sweep's folder.
        pictures: index of pictures/.
    """

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    splits: dict[str, Any]
    log: list[dict[str, Any]]
    metrics: dict[str, Any]
    rows: list[dict[str, Any]]
    observer2_rows: list[dict[str, Any]]
    curves: dict[str, Any]
    summary: dict[str, Any]
    job: dict[str, Any]
    pictures: list[dict[str, Any]]

    @property
    def status(self) -> str:
        """`done`, `running`, `failed`, `stopped` or `not run`."""
        found = self.job.get("status") or self.summary.get("status")
        return str(found or ("done" if self.metrics else "not run"))

    @property
    def reason(self) -> str:
        """Why it is not done, where a file says so."""
        return str(self.job.get("reason") or self.summary.get("reason") or "")

    @property
    def program(self) -> str:
        """`eval` or `train`."""
        return "eval" if "checkpoint" in self.config else "train"

    @property
    def split(self) -> str:
        """The split that was scored; empty without scores."""
        return str(self.metrics.get("split") or self.summary.get("scored_split") or "")

    @property
    def data_name(self) -> str:
        """Name of the data set's preset."""
        data = self.config.get("data")
        named = data.get("name") if isinstance(data, dict) else None
        return str(self.metrics.get("data") or named or "")

    @property
    def structures(self) -> list[str]:
        """Names of the scored structures."""
        return list(self.scores("fov"))

    def protocol(self, region: str) -> str:
        """The protocol of a region's scores, in a sentence."""
        return str(self._region(region).get("protocol") or "")

    def scores(self, region: str) -> dict[str, dict[str, Any]]:
        """{structure: its part of metrics.json} of a region."""
        structures = self._region(region).get("structures")
        content = structures if isinstance(structures, dict) else {}
        return {name: scores for name, scores in content.items() if isinstance(scores, dict)}

    def pooled(self, structure: str, region: str = "fov") -> dict[str, Any]:
        """Metrics over all pixels of all images."""
        pooled = self.scores(region).get(structure, {}).get("pooled")
        return pooled if isinstance(pooled, dict) else {}

    def minutes(self) -> float | None:
        """How long it took in all, in minutes."""
        for source in (self.summary, self.job):
            if isinstance(source.get("duration_s"), int | float):
                return float(source["duration_s"]) / 60
        return None

    def _region(self, region: str) -> dict[str, Any]:
        protocols = self.metrics.get("protocols")
        for content in protocols if isinstance(protocols, list) else []:
            if isinstance(content, dict) and content.get("region") == region:
                return content
        return {}


def is_run(folder: Path) -> bool:
    """Whether a folder holds anything of a run."""
    return any((folder / name).is_file() for name in RUN_MARKS)


def read_run(folder: Path) -> Run:
    """Everything that the folder's files tell."""
    curves = read_json(folder / "curves.json").get("structures")
    rows = read_rows(folder / "metrics.csv")
    index = read_json(folder / "pictures" / "index.json").get("pictures")
    return Run(
        folder=folder,
        config=read_json(folder / "config.json"),
        environment=read_json(folder / "environment.json"),
        splits=read_json(folder / "splits.json"),
        log=read_rows(folder / "log.csv"),
        metrics=read_json(folder / "metrics.json"),
        rows=[row for row in rows if row.get("rater") in (None, "network")],
        observer2_rows=[row for row in rows if row.get("rater") == "observer2"],
        curves=curves if isinstance(curves, dict) else {},
        summary=read_json(folder / "summary.json"),
        job=read_json(folder / JOB_FILE),
        pictures=[p for p in index if isinstance(p, dict)] if isinstance(index, list) else [],
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV file with its numbers as numbers and empty cells as None."""
    try:
        return [
            {key: _value(key, text) for key, text in row.items() if isinstance(key, str)}
            for row in csv.DictReader(io.StringIO(read_text(path), newline=""))
        ]
    except (OSError, ValueError, csv.Error):
        return []


TEXT_COLUMNS = ("id", "structure", "region", "rater", "fov_origin")
"""Columns whose cells stay text: an image may be called 01."""


def _value(key: str, text: str | None) -> Any:
    if not text:
        return None
    if key in TEXT_COLUMNS:
        return text
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None


def as_mapping(value: object) -> Mapping[str, Any]:
    """A mapping, empty where a file has something else."""
    return value if isinstance(value, Mapping) else {}


def numbers(values: object) -> list[float]:
    """A list of numbers of which the missing ones are NaN."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    found = [number(value) for value in values]
    return [float("nan") if value is None else value for value in found]


def leaves(plain: object, key: str = "") -> dict[str, Any]:
    """{dotted key: value} of everything in a nested config that is no mapping."""
    if not isinstance(plain, Mapping):
        return {key: plain}
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        flat |= leaves(value, f"{key}.{name}" if key else str(name))
    return flat


def plain(value: object) -> str:
    """A config value as it is written in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(plain, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
