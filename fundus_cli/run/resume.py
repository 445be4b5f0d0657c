"""Continuing a run: what may differ from its first config, and which checkpoint to believe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fundus_cli.config import TrainConfig, to_plain
from fundus_cli.config.typed import from_plain
from fundus_cli.errors import ConfigError, DataError, MachineError
from fundus_cli.run.folder import read_summary

MAY_CHANGE = (
    "epochs",
    "device",
    "precision",
    "compile",
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
    "data.timeout_s",
    "data.cache_gb",
)
"""Keys that a resumed run may be given anew; they take effect from the next step on."""

NOT_REPORTED = (
    *("output", "resume", "overwrite"),
    *("data.root", "data.allow_change", "data.timeout_s", "data.cache_gb"),
)
"""Keys whose change is no news to the person who typed it."""


def flat(plain: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping from dotted keys."""
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
    """What will change from here on, as lines to show.

    Raises:
        ConfigError: a key changed that the finished part of the run cannot be squared with.
    """
    changed = differences(old, new)
    allowed = {k for k, _, _ in changed if any(k == m or k.startswith(m + ".") for m in MAY_CHANGE)}
    refused = [f"{k}: {a} -> {b}" for k, a, b in changed if k not in allowed]
    if refused:
        raise ConfigError(
            f"resume=auto: {'; '.join(refused)}: cannot change in the middle of a run; "
            "give the old value, or start anew with another output=..."
        )
    if new.epochs < old.epochs and any(k == "epochs" for k, _, _ in changed):
        return [f"resume: epochs {old.epochs} -> {new.epochs}: the run ends earlier"]
    return [f"resume: {k} {a} -> {b} from here on" for k, a, b in changed if k not in NOT_REPORTED]


def check_manifest(
    old: dict[str, dict[str, str]], new: dict[str, dict[str, str]], allow_change: bool
) -> list[str]:
    """Lines on every file that is not what the run began with.

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
            "resume=auto: the data set is not the one this run began with: "
            f"{'; '.join(changes)}; bring the files back, or go on with data.allow_change=true"
        )
    return [f"resume: {line}" for line in changes]


def finished(config: TrainConfig) -> bool:
    """Whether resume=auto finds the run complete; decided from JSON, before torch is loaded.

    Raises:
        ConfigError: a key changed that a run cannot change.
    """
    folder = Path(config.output)
    summary = read_summary(folder)
    if config.resume is None or summary is None or summary.get("status") != "done":
        return False
    try:
        old = from_plain(json.loads((folder / "config.json").read_text()), TrainConfig)
    except (OSError, ValueError, ConfigError):
        return False
    check_config(old, config)
    return config.epochs <= old.epochs


def will_resume(config: TrainConfig) -> bool:
    """Whether a checkpoint waits in the run folder for resume=auto."""
    names = ("last.pt", "previous.pt")
    return config.resume is not None and any((Path(config.output) / n).exists() for n in names)


def check_init_from(config: TrainConfig) -> None:
    """Fail early where a new run is to begin with a checkpoint that is not there.

    Raises:
        ConfigError: neither a file nor a folder has this name.
    """
    if config.init_from is None or will_resume(config):
        return
    if not Path(config.init_from).expanduser().exists():
        raise ConfigError(f"init_from={config.init_from}: no such file or folder")


def newest_checkpoint(folder: Path, print_line: Callable[[str], object], module: Any = None) -> Any:
    """The newest checkpoint that can be believed, or None when the folder has none yet.

    A damaged last.pt is kept under another name and the one before it is taken.

    Raises:
        MachineError: there are checkpoints and none can be read; nothing starts from scratch.
    """
    from fundus_cli.run import checkpoint

    reasons: list[tuple[Path | None, str]] = []
    for name in ("last.pt", "previous.pt"):
        path = folder / name
        if not path.exists():
            if name == "last.pt" and (folder / "previous.pt").exists():
                reasons.append((None, f"{path}: is missing"))
            continue
        try:
            saved = checkpoint.load(path, module)
        except checkpoint.NeedsModuleError:
            raise
        except DataError as error:
            reasons.append((path, str(error)))
            continue
        for bad, reason in reasons:
            kept = f"; kept as {_move_aside(bad).name}" if bad else ""
            print_line(f"warning: {reason}{kept}; going on from {name}")
        return saved
    if reasons:
        raise MachineError(
            f"{'; '.join(reason for _, reason in reasons)}; nothing to resume from: "
            "look at the files, or start anew with overwrite=true"
        )
    return None


def _move_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.stem}.damaged-{number}.pt")).exists():
        number += 1
    return path.rename(kept)
