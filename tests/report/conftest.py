"""Run folders as the commands leave them, in a second and with known numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fundus_cli.config import to_plain
from fundus_cli.config.compose import compose_config
from fundus_cli.evaluation.counts import Counts
from fundus_cli.report.pictures import PictureFolder, choose_cases
from fundus_cli.run.files import write_csv, write_json

MakeRun = Callable[..., Path]

PROTOCOL = "2 test images of folder at native size, pixels inside the field of view only."


def config_of(*overrides: str) -> dict[str, Any]:
    """The content of config.json for some overrides."""
    plain = to_plain(compose_config("train", overrides))
    assert isinstance(plain, dict)
    return plain


def metrics_row(identifier: str, counts: Counts, structure: str = "vessel") -> dict[str, Any]:
    """A row of metrics.csv."""
    named = {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn}
    return {
        "id": identifier,
        "structure": structure,
        "region": "fov",
        "rater": "network",
        **counts.metrics(),
        **named,
    }


def curves() -> dict[str, Any]:
    """One structure's part of curves.json."""
    x = np.linspace(0, 1, 50)
    bins = [0.0, 2.0, 3.0, 5.0]
    return {
        "roc": {"fpr": list(x), "tpr": list(x**0.2)},
        "pr": {"recall": list(x), "precision": list(1 - x**4)},
        "dice_by_threshold": {"threshold": list(x), "dice": list(np.sin(np.pi * x))},
        "calibration": {
            "probability": [0.1, 0.5, 0.9],
            "observed": [0.05, None, 0.95],
            "num_pixels": [900, 0, 100],
        },
        "by_width": {
            "low_px": bins,
            "high_px": [2.0, 3.0, 5.0, None],
            "num_target_px": [9, 9, 9, 0],
            "sensitivity": [0.2, 0.5, 0.9, None],
            "num_predicted_px": [9, 9, 9, 0],
            "precision": [0.3, 0.5, 0.9, None],
            "dice": [0.25, 0.5, 0.9, None],
        },
    }


def metrics_of(rows: Sequence[dict[str, Any]], split: str, data: str) -> dict[str, Any]:
    """metrics.json for rows of metrics.csv."""
    structures = {}
    for name in dict.fromkeys(row["structure"] for row in rows):
        own = [
            Counts(*(row[k] for k in ("tp", "fp", "fn", "tn")))
            for row in rows
            if row["structure"] == name
        ]
        pooled = {**sum(own, Counts.zero()).metrics(), "auc_roc": 0.91, "cldice": 0.66}
        structures[name] = {"pooled": pooled, "interval_95": {"dice": [0.5, 0.9]}, "per_image": {}}
    shared = {"split": split, "num_images": len({row["id"] for row in rows})}
    regions = [
        {"region": region, "protocol": PROTOCOL, "structures": structures}
        for region in ("fov", "whole")
    ]
    return {
        **shared,
        "data": data,
        "threshold": 0.31,
        "threshold_origin": "val",
        "protocols": regions,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(name, *overrides, counts={id: Counts}, ...) -> a finished run's folder."""

    def make(
        name: str,
        *overrides: str,
        counts: dict[str, Counts] | None = None,
        split: str = "test",
        structures: Sequence[str] = ("vessel",),
        val_dice: float = 0.7,
        job: dict[str, Any] | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = config_of(*overrides)
        counts = counts or {"p1": Counts(80, 20, 10, 890), "p2": Counts(50, 10, 40, 900)}
        rows = [metrics_row(i, c, s) for i, c in counts.items() for s in structures]
        write_json(folder / "config.json", config)
        write_json(
            folder / "environment.json",
            {"python": "3.11", "threads": 1, "arguments": [*overrides, "output=somewhere"]},
        )
        write_json(folder / "splits.json", {"train": ["a", "b"], "val": ["c"], "test": [*counts]})
        log = [
            {"epoch": e, "train_loss": 1 / e, "val_loss": 1.1 / e, "val_dice": val_dice * e / 3}
            for e in (1, 2, 3)
        ]
        write_csv(folder / "log.csv", log)
        write_csv(folder / "metrics.csv", rows)
        write_json(folder / "metrics.json", metrics_of(rows, split, config["data"]["name"]))
        write_json(
            folder / "curves.json",
            {"region": "fov", "structures": {s: curves() for s in structures}},
        )
        summary = {"status": "done", "best_epoch": 3, "best": log[-1], "duration_s": 90.0}
        write_json(folder / "summary.json", {**summary, "num_parameters": 1234567})
        if job is not None:
            write_json(folder / "job.json", {"status": "done", "reason": "", **job})
        return folder

    return make


def add_pictures(folder: Path, rows: Sequence[dict[str, Any]], num_worst: int = 2) -> None:
    """pictures/ with a bar as the structure, half of it found."""
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    target = np.zeros((40, 60), bool)
    target[10:20, 10:50] = True
    pictures = PictureFolder(folder)
    for kind, row in choose_cases(rows, num_worst):
        pictures.add(kind, row, image, np.roll(target, 5, 0), target, np.ones((40, 60), bool))
    pictures.close()
