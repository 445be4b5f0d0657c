"""Save and load checkpoints (tensors and plain values); files are validated before use."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fundus_cli import __version__
from fundus_cli.config import TrainConfig, to_plain
from fundus_cli.errors import ConfigError, DataError
from fundus_cli.run.checkpoint_content import (
    BEFORE,
    FORMAT,
    STORED_NAMES,
    Checkpoint,
    Progress,
    Threshold,
    checked,
)
from fundus_cli.run.checkpoint_file import read_content, write_content

__all__ = [
    "BEFORE",
    "FORMAT",
    "STORED_NAMES",
    "Checkpoint",
    "NeedsModuleError",
    "Progress",
    "Threshold",
    "check_weights",
    "checkpoint_paths",
    "load",
    "load_weights",
    "save",
]


class NeedsModuleError(DataError):
    """The checkpoint's network was given to training from Python, and no module is given now."""


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
    write_content(path, content)


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
    content = read_content(path)
    try:
        saved = checked(content, path)
    except MemoryError:
        raise
    except Exception as error:
        # Whatever a foreign value does to the checks; what they say is one line.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if (version := _other_version(content)) is not None:
            raise DataError(
                f"{path}: was written by fundus-cli {version}, and {__version__} cannot read it "
                f"({reason}); install that version or a newer one"
            ) from error
        raise DataError(f"{path}: is not a checkpoint of fundus-train ({reason})") from error
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


def load_weights(model: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy weights into a model after comparing every name, shape and kind of number.

    Raises:
        DataError: with the first difference.
    """
    check_weights(model.state_dict(), state, path)
    model.load_state_dict(state)


def check_weights(expected: dict[str, Tensor], state: dict[str, Tensor], path: Path) -> None:
    """Compare a checkpoint's weights with those of a network, whose tensors may hold no numbers.

    Raises:
        DataError: with the first difference.
    """
    for name in sorted(set(expected) ^ set(state)):
        where = "missing" if name in expected else "unknown"
        raise DataError(f"{path}: weight {name} is {where}; the file belongs to another network")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise DataError(
                f"{path}: weight {name} has shape {tuple(tensor.shape)}, "
                f"the network expects {tuple(expected[name].shape)}"
            )
        both_floating = tensor.is_floating_point() and expected[name].is_floating_point()
        if tensor.dtype != expected[name].dtype and not both_floating:
            raise DataError(
                f"{path}: weight {name} is of {tensor.dtype}, "
                f"the network expects {expected[name].dtype}"
            )
