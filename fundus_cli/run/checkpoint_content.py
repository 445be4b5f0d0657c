"""What a checkpoint holds, and the checks that turn the values of a file into it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fundus_cli.config import TrainConfig
from fundus_cli.config.typed import from_plain

FORMAT = 2
"""Version of the file format; the documentation on checkpoints lists what raises it."""

BEFORE = "before"
"""Split of a manifest that lists the training images behind the initial weights of a run."""

STORED_NAMES = {"constant_epochs": "one_colour_epochs"}
"""Fields of Progress that checkpoints hold under an older name."""

ORIGINS = ("fixed", "val", "train")
"""How a run can have chosen its threshold."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Probability from which a pixel counts, and how it was chosen (`fixed`, `val` or `train`)."""

    value: float
    origin: str


@dataclass(slots=True, kw_only=True)
class Progress:
    """Progress of a run. With the config and the tensors, it determines the next step.

    Attributes:
        epoch: the current epoch, from 0; equal to config.epochs when the run is finished.
        batch: finished batches of that epoch.
        step: finished optimizer steps.
        loss_sum: sum of the epoch's training losses so far, weighted by the batch sizes.
        num_seen: images or patches in that sum.
        rows: the log, one row per finished epoch.
        best_epoch: the epoch of best.pt, from 1.
        best_score: its validation Dice; None without validation images.
        seconds: time spent on the epoch's optimizer steps so far.
        timings: seconds and rate of each finished epoch; kept apart from `rows`, which are equal
            for an interrupted and an uninterrupted run.
        constant_epochs: number of the last epochs in a row with constant predictions.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    num_seen: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    best_score: float | None = None
    seconds: float = 0.0
    constant_epochs: int = 0
    timings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A loaded checkpoint."""

    config: TrainConfig
    model: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    progress: Progress
    threshold: Threshold
    manifest: dict[str, dict[str, str]]
    path: Path
    custom: dict[str, str] = field(default_factory=dict)
    """{`model`, `loss` or `optimizer`: name} of the parts that came from Python."""
    module: torch.nn.Module | None = None
    """The network that came from Python; its weights are replaced in a copy."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to predict with: the EMA where the run keeps one."""
        return self.model if self.averaged is None else self.averaged

    @property
    def learned_from(self) -> set[str]:
        """sha256 of every file that the weights were trained on, before this run too."""
        return {
            digest
            for split in ("train", BEFORE)
            for digest in self.manifest.get(split, {}).values()
        }


def checked(content: object, path: Path) -> Checkpoint:
    """The checkpoint that the values of a file describe.

    Args:
        content: what was read: tensors and plain values in mappings and lists.
        path: the file.

    Raises:
        ValueError: a value is missing, of another type or out of its range.
        ConfigError: the config does not fit this program's.
    """
    entries = _mapping(content, "the content")
    if (found := _entry(entries, "format")) != FORMAT:
        raise ValueError(f"format {found}, this program reads {FORMAT}")
    averaged = _entry(entries, "averaged")
    return Checkpoint(
        config=from_plain(_entry(entries, "config"), TrainConfig),
        model=_weights(_entry(entries, "model"), "model"),
        averaged=None if averaged is None else _weights(averaged, "averaged"),
        optimizer=_optimizer(_entry(entries, "optimizer")),
        progress=_progress(_entry(entries, "progress")),
        threshold=_threshold(_entry(entries, "threshold")),
        manifest={
            split: _texts(files, f"manifest {split}")
            for split, files in _mapping(_entry(entries, "manifest"), "manifest").items()
        },
        path=path,
        custom=_texts(entries.get("custom", {}), "custom"),
    )


def _entry(entries: Mapping[str, Any], name: str) -> Any:
    if name not in entries:
        raise ValueError(f"{name} is missing")
    return entries[name]


def _mapping(value: object, name: str) -> dict[str, Any]:
    """A mapping whose keys are text."""
    if not isinstance(value, dict) or not all(type(key) is str for key in value):
        raise ValueError(f"{name} is not a mapping of names")
    return value


def _texts(value: object, name: str) -> dict[str, str]:
    texts = _mapping(value, name)
    if not all(type(text) is str for text in texts.values()):
        raise ValueError(f"{name} holds something else than text")
    return texts


def _weights(content: object, name: str) -> dict[str, Tensor]:
    """Named tensors of finite numbers."""
    weights = _mapping(content, name)
    for key, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"weight {key} is not a tensor")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"weight {key} is not finite")
    return weights


def _optimizer(content: object) -> dict[str, Any]:
    """The state as `torch.optim.Optimizer.state_dict` has it; `load_optimizer` compares it."""
    state = _mapping(content, "optimizer")
    of_each, groups = _entry(state, "state"), _entry(state, "param_groups")
    if not (isinstance(of_each, dict) and all(isinstance(own, dict) for own in of_each.values())):
        raise ValueError("the optimizer's state is not a mapping of mappings")
    if not (isinstance(groups, list) and all(isinstance(group, dict) for group in groups)):
        raise ValueError("the optimizer's groups are not a list of mappings")
    return state


def _threshold(content: object) -> Threshold:
    found = _mapping(content, "threshold")
    value, origin = _entry(found, "value"), _entry(found, "origin")
    if not (_is_number(value) and 0 < value < 1):
        raise ValueError(f"threshold {value}")
    if origin not in ORIGINS:
        raise ValueError(f"a threshold of origin {origin}")
    return Threshold(float(value), origin)


def _is_number(value: object) -> bool:
    """A finite number that a float can hold; bool is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(float(value))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _are_rows(value: object, required: str) -> bool:
    """Rows of a table: mappings from names to numbers or NaN, each with the `required` name."""
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and required in row
        and all(type(name) is str for name in row)
        and all(_is_number(cell) or cell != cell for cell in row.values())
        for row in value
    )


CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("epoch", "batch", "step", "num_seen", "constant_epochs"), _is_count),
    **dict.fromkeys(("loss_sum", "seconds"), _is_number),
    "rows": lambda value: _are_rows(value, "epoch"),
    "timings": lambda value: _are_rows(value, "train_s"),
    "best_epoch": lambda value: value is None or (_is_count(value) and value > 0),
    "best_score": lambda value: value is None or _is_number(value),
}
"""What each field of Progress must hold."""


def _progress(content: object) -> Progress:
    """Validate the counters and the rows of the log."""
    names = {stored: name for name, stored in STORED_NAMES.items()}
    values = {names.get(n, n): value for n, value in _mapping(content, "progress").items()}
    for name, value in values.items():
        if name not in CHECKS:
            raise ValueError(f"progress has the unknown field {name}")
        if not CHECKS[name](value):
            raise ValueError(f"{STORED_NAMES.get(name, name)} {value}")
    return Progress(**values)
