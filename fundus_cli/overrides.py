"""The words of a command line: Hydra's grammar, checked against the keys and choices there are.

Everything a user can mistype is found here, before a file is read or made.
"""

import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fundus_cli.errors import ConfigError

CONFIG_MODULE = "fundus_cli.configs"
GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "augment", "experiment")
HYDRA_KEYS = re.compile(
    r"hydra\.(run\.dir|sweep\.dir|sweep\.subdir|sweeper\.(?!custom_search_space).+"
    r"|launcher\..+)|hydra/(sweeper|launcher)"
)
"""The keys of Hydra itself that may be set; others can name code, which a key should not do."""


def choices(group: str, config_dir: Path | None = None) -> list[str]:
    """Names that can follow `group=`, ours and those of the user's own folder."""
    folders: list[Any] = [resources.files(CONFIG_MODULE) / group]
    if config_dir is not None:
        folders.append(config_dir / group)
    names = {
        Path(entry.name).stem
        for folder in folders
        if folder.is_dir()
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml") and not entry.name.startswith("_")
    }
    return sorted(names)


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """Hydra's grammar, with each refusal naming the argument and its quoted form."""
    parser = OverridesParser.create()
    parsed = []
    for argument in arguments:
        try:
            parsed.append(parser.parse_override(argument))
        except HydraException:
            raise ConfigError(_how_to_write(argument)) from None
    return parsed


def quoted(key: str, value: str) -> str:
    """`key="value"` as Hydra's grammar reads it back, whatever characters the value has."""
    escaped = re.sub(r'(\\*)"', lambda m: m.group(1) * 2 + '\\"', value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f'{key}="{escaped}{chr(92) * trailing}"'


def _how_to_write(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return f"{argument}: expected key=value, as in epochs=20"
    shell_safe = quoted(key, value).replace("'", "'\\''")
    return f"{argument}: the value has characters that need quotes; write '{shell_safe}'"


def check_overrides(
    overrides: Sequence[Override], schema: type, config_dir: Path | None, multirun: bool
) -> None:
    """Raise ConfigError for the first override that names no key, no choice, or no single value."""
    seen: set[str] = set()
    for override in overrides:
        key = override.key_or_group
        if key in seen:
            raise ConfigError(f"{key}: given twice; keep one of the two")
        seen.add(key)
        line = override.input_line or key
        if "_target_" in line:
            raise ConfigError(f"{line}: _target_ names code; configs choose values only")
        if key.startswith("hydra"):
            if not HYDRA_KEYS.fullmatch(key):
                raise ConfigError(
                    f"{key}: not open here; of Hydra's own keys hydra.run.dir, hydra.sweep.dir, "
                    "hydra.sweep.subdir, hydra/sweeper, hydra/launcher and below can be set"
                )
            continue
        if override.is_sweep_override() and not multirun:
            raise ConfigError(f"{line}: several values; add -m to run them all, or quote the value")
        if key in GROUPS and not override.is_delete():
            _check_choice(override, key, config_dir)
        else:
            check_key(key, schema)


def _check_choice(override: Override, group: str, config_dir: Path | None) -> None:
    allowed = choices(group, config_dir)
    if override.is_sweep_override():
        if not override.is_choice_sweep():
            return
        values = list(override.sweep_string_iterator())
    else:
        values = [str(override.value())]
    for value in values:
        if value not in allowed and not (group == "experiment" and value in ("null", "None")):
            raise ConfigError(
                f"{group}={value}: {_nearest(value, allowed)}choose from {', '.join(allowed)}"
            )


def _nearest(found: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(found, allowed, n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""


def check_key(key: str, schema: type) -> None:
    """Raise ConfigError, with the nearest key, unless `key` leads somewhere in the schema."""
    if leads_somewhere(key.split("."), schema):
        return
    every_key = list(all_keys(schema))
    leaf = key.rpartition(".")[2]
    same_leaf = [known for known in every_key if known.rpartition(".")[2] == leaf]
    by_leaf = difflib.get_close_matches(leaf, [k.rpartition(".")[2] for k in every_key], n=1)
    near = difflib.get_close_matches(key, every_key, n=1, cutoff=0.6)
    guess = same_leaf[:1] or near
    guess = guess or [k for k in every_key if by_leaf and k.rpartition(".")[2] == by_leaf[0]][:1]
    hint = f"did you mean {guess[0]}?" if guess else "--help lists the keys"
    raise ConfigError(f"{key}: no such key; {hint}")


def _dataclass_in(annotation: object) -> type | None:
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and is_dataclass(part):
            return part
    return None


def _is_dict(annotation: object) -> bool:
    return any(typing.get_origin(p) is dict for p in (annotation, *typing.get_args(annotation)))


def leads_somewhere(parts: Sequence[str], schema: type) -> bool:
    """Whether the parts of a dotted key name a field of a dataclass, or what a mapping may hold."""
    hints = typing.get_type_hints(schema)
    annotation = hints.get(parts[0])
    if annotation is None:
        return False
    if len(parts) == 1 or _is_dict(annotation):
        return True
    nested = _dataclass_in(annotation)
    return nested is not None and leads_somewhere(parts[1:], nested)


def all_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a dataclass, in order."""
    hints = typing.get_type_hints(schema)
    for f in fields(schema):
        nested = _dataclass_in(hints[f.name])
        if nested is None:
            yield prefix + f.name
        else:
            yield from all_keys(nested, f"{prefix}{f.name}.")


def expand_sweep(overrides: Sequence[Override]) -> list[list[str]]:
    """The override list of every job of a grid sweep, in Hydra's order."""
    batches = BasicSweeper.split_arguments(list(overrides), None)
    return [list(job) for batch in batches for job in batch]


def choices_of(overrides: Sequence[Override]) -> list[Override]:
    """Without the sweeps that only their sweeper can expand: single values, choices of a group."""
    return [
        override
        for override in overrides
        if not override.is_sweep_override()
        or (override.is_choice_sweep() and override.key_or_group in GROUPS)
    ]
