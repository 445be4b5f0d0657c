"""Save and load checkpoints (tensors and plain values); files are validated before use."""

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fundus_cli import __version__
from fundus_cli.config import TrainConfig, to_plain
from fundus_cli.config.typed import from_plain
from fundus_cli.errors import ConfigError, DataError
from fundus_cli.run.files import write_whole

FORMAT = 2
"""Version of the file format; the documentation on checkpoints lists what raises it."""

BEFORE = "before"
"""Split of a manifest that lists the training images behind the initial weights of a run."""


STORED_NAMES = {"constant_epochs": "one_colour_epochs"}
"""Fields of Progress that checkpoints hold under an older name."""


class NeedsModuleError(DataError):
    """The checkpoint's network was given to training from Python, and no module is given now."""


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


def save(
    path: Path,
    *,
    config: TrainConfig,
    model: torch.nn.Module,
    averaged: torch.nn.Module | None,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    threshold: Threshold,
    manifest: dict[str, dict[str, str]],
    custom: dict[str, str] | None = None,
) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": __version__,
        "config": to_plain(config),
        "model": _contiguous(model),
        "averaged": None if averaged is None else _contiguous(averaged),
        "optimizer": optimizer.state_dict(),
        "progress": {
            STORED_NAMES.get(name, name): getattr(progress, name) for name in Progress.__slots__
        },
        "threshold": {"value": threshold.value, "origin": threshold.origin},
        "manifest": manifest,
    }
    if custom:
        content["custom"] = custom
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def _contiguous(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def checkpoint_paths(names: Sequence[str]) -> list[Path]:
    """Checkpoint files by name; a run folder stands for its best, a sweep's folder for all its
    runs.

    Raises:
        ConfigError: one file is named twice.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        runs = [path, *sorted(child for child in path.glob("*") if child.is_dir())]
        own = [file for run in runs if (file := _best_in(run)) is not None]
        if not path.is_dir():
            found.append(path)
        elif own and own[0].parent == path:
            found.append(own[0])
        else:
            found += own or [path / "best.pt"]
    for path in found:
        if sum(path.resolve() == other.resolve() for other in found) > 1:
            raise ConfigError(f"checkpoint={path}: named twice; name each network once")
    return found


def _best_in(folder: Path) -> Path | None:
    files = (folder / "best.pt", folder / "last.pt")
    return next((file for file in files if file.is_file()), None)


def load(path: Path, module: torch.nn.Module | None = None) -> Checkpoint:
    """Read and verify a checkpoint; nothing in it can run code or name code.

    Args:
        path: the file.
        module: the network of a run that was given one from Python.

    Raises:
        ConfigError: there is no such file.
        DataError: the file is damaged, unsafe, or not a checkpoint of this program; or its
            network came from Python and no `module` is given.
    """
    if not path.exists():
        raise ConfigError(f"checkpoint={path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise DataError(
                    f"{path}: is compressed, which checkpoints of fundus-train never are"
                )
            damaged = archive.testzip()
        if damaged is not None:
            raise DataError(f"{path}: checksum of {damaged} is wrong; the file is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{path}: cannot be read safely as a checkpoint ({type(error).__name__}); "
            "it may be truncated, damaged, or written by another program"
        ) from error
    try:
        saved = _checked(content, path)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        if (version := _other_version(content)) is not None:
            raise DataError(
                f"{path}: was written by fundus-cli {version}, and {__version__} cannot read it "
                f"({error}); install that version or a newer one"
            ) from error
        raise DataError(f"{path}: is not a checkpoint of fundus-train ({error})") from error
    if "model" not in saved.custom:
        return saved
    if module is None:
        raise NeedsModuleError(
            f"{path}: was trained with a network given from Python ({saved.custom['model']}); load "
            "it there with fundus_cli.load(path, model=...) and an instance of that network"
        )
    return replace(saved, module=module)


def _other_version(content: Any) -> str | None:
    """The version that wrote a file, if the file names one and it is not this one."""
    version = content.get("version") if isinstance(content, dict) else None
    is_name = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,30}", version) is not None
    return version if is_name and version != __version__ else None


def _checked(content: Any, path: Path) -> Checkpoint:
    if not isinstance(content, dict):
        raise TypeError("not a mapping")
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}, this program reads {FORMAT}")
    threshold = Threshold(float(content["threshold"]["value"]), str(content["threshold"]["origin"]))
    if not 0 < threshold.value < 1:
        raise ValueError(f"threshold {threshold.value}")
    return Checkpoint(
        config=from_plain(content["config"], TrainConfig),
        model=_weights(content["model"]),
        averaged=None if content["averaged"] is None else _weights(content["averaged"]),
        optimizer=dict(content["optimizer"]),
        progress=_progress(content["progress"]),
        threshold=threshold,
        manifest={
            str(split): {str(name): str(digest) for name, digest in files.items()}
            for split, files in content["manifest"].items()
        },
        path=path,
        custom={str(part): str(name) for part, name in content.get("custom", {}).items()},
    )


def _weights(content: Any) -> dict[str, Tensor]:
    """Named tensors of finite numbers.

    Raises:
        TypeError: something else.
        ValueError: a number is not finite.
    """
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"weight {name} is not a tensor")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"weight {name} is not finite")
    return dict(content)


def _progress(content: Any) -> Progress:
    """Validate the counters and the rows of the log."""
    names = {stored: name for name, stored in STORED_NAMES.items()}
    progress = Progress(**{names.get(name, name): value for name, value in content.items()})
    for name in ("epoch", "batch", "step", "num_seen"):
        if type(getattr(progress, name)) is not int or getattr(progress, name) < 0:
            raise ValueError(f"{name} {getattr(progress, name)}")
    if not all(isinstance(row, dict) for row in progress.rows):
        raise TypeError("a row of the log is not a mapping")
    return progress


def load_weights(model: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy weights into a model after comparing every name and shape.

    Raises:
        DataError: with the first difference.
    """
    expected = model.state_dict()
    for name in sorted(set(expected) ^ set(state)):
        where = "missing" if name in expected else "unknown"
        raise DataError(f"{path}: weight {name} is {where}; the file belongs to another network")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise DataError(
                f"{path}: weight {name} has shape {tuple(tensor.shape)}, "
                f"the network expects {tuple(expected[name].shape)}"
            )
    model.load_state_dict(state)


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Checkpoint) -> None:
    """Load the optimizer's state from a checkpoint.

    Raises:
        DataError: the state belongs to another optimizer or network.
    """
    try:
        optimizer.load_state_dict(saved.optimizer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{saved.path}: the optimizer's state does not fit ({error})") from error
