"""Resume a run: which config keys may change, and which checkpoint to continue from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_cli.config import TrainConfig, to_plain
from fundus_cli.config.typed import from_plain
from fundus_cli.errors import ConfigError, DataError, MachineError, RunFolderError
from fundus_cli.run.files import link_whole, read_json
from fundus_cli.run.folder import read_summary

if TYPE_CHECKING:
    from fundus_cli.run.checkpoint import Checkpoint

MAY_CHANGE = (
    "epochs",
    "device",
    "precision",
    "compile",
    "check_masks",
    "threshold",
    "overlays",
    "output",
    "resume",
    "overwrite",
    "save_every_min",
    "optimizer.lr",
    "optimizer.weight_decay",
    "optimizer.momentum",
    "scheduler",
    "loss",
    "augment",
    "data.root",
    "data.allow_change",
    "data.allow_odd_masks",
    "data.timeout_s",
    "data.cache_gb",
)
"""Keys that may change on resume; the new values take effect from the next step on."""

NOT_REPORTED = (
    *("output", "resume", "overwrite", "check_masks"),
    *("data.root", "data.allow_change", "data.allow_odd_masks", "data.timeout_s", "data.cache_gb"),
)
"""Changes to these keys are not reported on resume."""


def flat(plain: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to one mapping with dotted keys."""
    if not isinstance(plain, dict) or not plain:
        return {prefix.rstrip("."): plain}
    return {
        k: v for name, value in plain.items() for k, v in flat(value, f"{prefix}{name}.").items()
    }


def differences(old: TrainConfig, new: TrainConfig) -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) of everything that changed."""
    before, after = flat(to_plain(old)), flat(to_plain(new))
    keys = list(dict.fromkeys([*before, *after]))
    return [(k, before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)]


def check_config(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Lines about the keys that change from here on.

    Raises:
        ConfigError: a key changed that would not fit the finished part of the run.
    """
    changed = differences(old, new)
    allowed = {k for k, _, _ in changed if any(k == m or k.startswith(m + ".") for m in MAY_CHANGE)}
    refused = [f"{k}: {a} -> {b}" for k, a, b in changed if k not in allowed]
    if refused:
        raise ConfigError(
            f"resume=auto: {'; '.join(refused)}: cannot change during a run; "
            "restore the old value, or start a new run with another output=..."
        )
    if new.epochs < old.epochs and any(k == "epochs" for k, _, _ in changed):
        return [f"resume: epochs {old.epochs} -> {new.epochs}: the run ends earlier"]
    return [f"resume: {k} {a} -> {b} from here on" for k, a, b in changed if k not in NOT_REPORTED]


def check_manifest(
    old: dict[str, dict[str, str]], new: dict[str, dict[str, str]], allow_change: bool
) -> list[str]:
    """Lines about every file that differs from those that the run started with.

    Raises:
        DataError: there are such files and data.allow_change is false.
    """
    changes = []
    for split in sorted(set(old) | set(new)):
        before, after = old.get(split, {}), new.get(split, {})
        changes += [f"{split}: {name} removed" for name in sorted(set(before) - set(after))]
        changes += [f"{split}: {name} added" for name in sorted(set(after) - set(before))]
        both = sorted(set(before) & set(after))
        changes += [f"{split}: {name} changed" for name in both if before[name] != after[name]]
    if changes and not allow_change:
        raise DataError(
            "resume=auto: the data set is not the one that this run started with: "
            f"{'; '.join(changes)}; restore the files, or continue with data.allow_change=true"
        )
    return [f"resume: {line}" for line in changes]


def finished(config: TrainConfig) -> bool:
    """Whether resume=auto finds a finished run; decided from JSON, before torch is imported.

    Raises:
        ConfigError: a key changed that cannot change during a run.
    """
    folder = Path(config.output)
    summary = read_summary(folder)
    if config.resume is None or summary is None or summary.get("status") != "done":
        return False
    try:
        old = from_plain(read_json(folder / "config.json"), TrainConfig)
    except ConfigError:
        return False
    check_config(old, config)
    return config.epochs <= old.epochs


def unused_changes(config: TrainConfig) -> list[str]:
    """Changed keys of a finished run, which have no effect any more."""
    old = from_plain(read_json(Path(config.output) / "config.json"), TrainConfig)
    changed = differences(old, config)
    return [f"{key}: {a} -> {b}" for key, a, b in changed if key not in NOT_REPORTED]


CHECKPOINTS = ("last.pt", "previous.pt", "best.pt")
"""Checkpoints that a run continues from, in this order."""


def will_resume(config: TrainConfig) -> bool:
    """Whether resume=auto will find a checkpoint in the run folder."""
    return config.resume is not None and any(
        (Path(config.output) / name).exists() for name in CHECKPOINTS
    )


def held_out_before(config: TrainConfig) -> list[str]:
    """The ids of val in the run that resume=auto continues; empty for a new run."""
    if not will_resume(config):
        return []
    ids = read_json(Path(config.output) / "splits.json").get("val", [])
    return [i for i in ids if isinstance(i, str)] if isinstance(ids, list) else []


def check_init_from(config: TrainConfig) -> None:
    """Fail early where `init_from` names a checkpoint that does not exist.

    Raises:
        ConfigError: neither a file nor a folder has this name.
    """
    if config.init_from is None or will_resume(config):
        return
    if not Path(config.init_from).expanduser().exists():
        raise ConfigError(f"init_from={config.init_from}: no such file or folder")


@dataclass(frozen=True, slots=True)
class Found:
    """The checkpoint that a run continues from.

    Attributes:
        saved: its content.
        unusable: (the file, or None where it is missing, and why) of the newer ones.
    """

    saved: "Checkpoint"
    unusable: list[tuple[Path | None, str]]

    def make_newest(self) -> list[str]:
        """Rename damaged newer checkpoints and call this one last.pt; returns a warning each."""
        lines = []
        for path, reason in self.unusable:
            kept = f"; kept as {_move_aside(path).name}" if path else ""
            lines.append(f"warning: {reason}{kept}; continuing from {self.saved.path.name}")
        last = self.saved.path.with_name(CHECKPOINTS[0])
        if self.saved.path != last:
            link_whole(self.saved.path, last)
        return lines


def newest_checkpoint(folder: Path, module: Any = None) -> Found | None:
    """The newest valid checkpoint; None when the folder holds nothing of a run's results.

    Changes nothing in the folder.

    Raises:
        MachineError: there are checkpoints and none can be read; the run is not restarted.
        RunFolderError: there are results of a run and no checkpoint.
    """
    from fundus_cli.run import checkpoint

    unusable: list[tuple[Path | None, str]] = []
    for name in CHECKPOINTS:
        path = folder / name
        if not path.exists():
            # previous.pt and best.pt are not written by every run.
            if name == "last.pt":
                unusable.append((None, f"{path}: is missing"))
            continue
        try:
            return Found(checkpoint.load(path, module), unusable)
        except checkpoint.NeedsModuleError:
            raise
        except DataError as error:
            unusable.append((path, str(error)))
    if any(path for path, _ in unusable):
        raise MachineError(
            f"{'; '.join(reason for _, reason in unusable)}; nothing to resume from: "
            "look at the files, or start a new run with overwrite=true"
        )
    results = [name for name in ("log.csv", "metrics.json") if (folder / name).exists()]
    if results:
        raise RunFolderError(
            f"output={folder}: holds {results[0]} of a run but none of {', '.join(CHECKPOINTS)}, "
            "so there is nothing to resume from; bring one back, or move the run aside and start "
            "again with overwrite=true in place of resume=auto"
        )
    return None


def _move_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.stem}.damaged-{number}.pt")).exists():
        number += 1
    return path.rename(kept)
