"""Helpers for all configs: range checks with one-line errors, and conversion to plain values."""

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from enum import Enum

from fundus_cli.errors import ConfigError

MAX_TIMEOUT_S = 1e6
"""Eleven days; the operating system cannot count without end."""


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Raise ConfigError unless `holds`. Comparisons with NaN are False, so NaN is always
    refused."""
    if not holds:
        raise ConfigError(f"{key}={value}: must be {allowed}")


NAME = re.compile(r"[\w-]{1,64}")


def require_name(name: str, key: str) -> None:
    """Raise ConfigError unless a name can be part of a file's name on every system."""
    require(
        NAME.fullmatch(name) is not None,
        key,
        name,
        "a name of 1 to 64 letters, digits, _ and -",
    )


def require_texts(values: Iterable[object], key: str) -> None:
    """Raise ConfigError unless every value is text; OmegaConf lets lists and mappings pass."""
    for value in values:
        require(isinstance(value, str), key, value, "text")


def require_threshold(value: float | str, words: tuple[str, ...]) -> None:
    """Raise ConfigError unless a threshold is strictly between 0 and 1, or one of `words`."""
    holds = value in words if isinstance(value, str) else 0 < value < 1
    allowed = " or ".join(["a number between 0 and 1", *words])
    require(holds, "threshold", value, allowed)


def checkpoint_names(value: object) -> list[str]:
    """The names in a `checkpoint` key that holds one name or a list.

    Raises:
        ConfigError: there is no name, something that is not a name, or a name given twice.
    """
    names = value if isinstance(value, list) else [value]
    holds = all(isinstance(name, str) and name.strip() for name in names) and bool(names)
    allowed = "a checkpoint file, or several different ones as in [a.pt,b.pt]"
    require(holds and len(set(names)) == len(names), "checkpoint", value, allowed)
    return [str(name) for name in names]


def to_plain(config: object) -> object:
    """Convert dataclasses, enums and containers to dict, list, str, int, float, bool and None."""
    if is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_plain(getattr(config, f.name)) for f in fields(config)}
    if isinstance(config, Enum):
        return config.value
    if isinstance(config, dict):
        return {str(key): to_plain(value) for key, value in config.items()}
    if isinstance(config, list):
        return [to_plain(value) for value in config]
    return config
