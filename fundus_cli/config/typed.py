"""Convert plain or composed mappings to typed configs, with every key, type and range checked.

OmegaConf merges a mapping into the dataclasses of this package. A config stored in a checkpoint or
in JSON goes through `from_plain`, which treats it as data only.
"""

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fundus_cli.config import DataConfig, to_plain
from fundus_cli.config.keys import check_key, leads_somewhere, list_keys
from fundus_cli.errors import ConfigError

Config = TypeVar("Config")


def leaves(plain: object, key: str = "") -> Iterator[tuple[str, object]]:
    """(dotted key, value) of everything that is neither a mapping nor a list."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield from leaves(value, f"{key}.{name}".lstrip("."))
    elif isinstance(plain, list):
        for value in plain:
            yield from leaves(value, key)
    else:
        yield key, plain


def first_line(error: BaseException) -> str:
    """The first line of a message; that of the cause where the error itself has none."""
    text = str(error) or str(error.__cause__ or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = "ConfigError raised while resolving interpolation: "
    return lines[0].removeprefix(own) if lines else type(error).__name__


def to_typed(config: DictConfig | dict[str, Any], schema: type[Config]) -> Config:
    """Convert a composed or stored config to its dataclass, with every key, type and range checked.

    Raises:
        ConfigError: with the dotted key, the value found and what is allowed.
    """
    config = _with_lists(config, schema)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), config)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(_missing_text(missing))
        typed = typing.cast(Config, OmegaConf.to_object(merged))
        _refuse_other_bytes(typed)
        return typed
    except ConfigError:
        raise
    except OmegaConfBaseException as error:
        raise ConfigError(_typed_error_text(error, schema)) from error


def _with_lists(config: DictConfig | dict[str, Any], schema: type) -> DictConfig | dict[str, Any]:
    """The config with single values of keys that take a list as lists of one."""
    listed = OmegaConf.create(config)
    for key in list_keys(schema):
        value = OmegaConf.select(listed, key)
        if isinstance(value, str | int | float):
            OmegaConf.update(listed, key, [value])
    return listed


def _refuse_other_bytes(config: object) -> None:
    """Raise ConfigError for text that cannot be written into the run folder's files."""
    # fundus-predict reads and writes images of any name, and its own files do not name these.
    free = ("input", "output", "fov") if hasattr(config, "input") else ()
    for key, value in leaves(to_plain(config)):
        if key not in free and isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                shown = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                raise ConfigError(
                    f"{key}={shown}: has bytes that are not UTF-8; rename the file or folder"
                ) from None


def _missing_text(missing: Sequence[str]) -> str:
    example = {
        "checkpoint": "checkpoint=outputs/train/<stamp>/best.pt",
        "data.root": "data.root=my_data",
        "input": "input=photos/",
    }
    named = ", ".join(missing)
    shown = example.get(missing[0], f"{missing[0]}=...")
    return f"{named}: not given; add {shown}"


def _typed_error_text(error: OmegaConfBaseException, schema: type) -> str:
    key = error.full_key or ""
    if key and not leads_somewhere(key.split("."), schema):
        try:
            check_key(key, schema)
        except ConfigError as unknown:
            return str(unknown)
    text = first_line(error)
    text = re.sub(r" of type '\w+'", "", text)
    if "ListConfig" in text or "DictConfig" in text:
        text = "must be one value, not a list or a mapping"
    return f"{key}: {text}" if key and not text.startswith(key) else text


def from_plain(plain: object, schema: type[Config]) -> Config:
    """Convert a config read from JSON or a checkpoint to its dataclass, treating it as data only.

    Interpolations are refused, so that a foreign file cannot read the environment or other keys.

    Raises:
        ConfigError: the content does not fit the schema.
    """
    if not isinstance(plain, dict):
        raise ConfigError("stored config is not a mapping")
    _refuse_interpolation(plain)
    return to_typed(plain, schema)


def _refuse_interpolation(plain: object) -> None:
    for key, value in leaves(plain):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{key}={value}: a stored config may hold values only")
        if not isinstance(value, (str, int, float, bool, types.NoneType)):
            raise ConfigError(f"{key}: {type(value).__name__} is not a config value")


def change_data(stored: DataConfig, changes: Mapping[str, object]) -> DataConfig:
    """A stored data config with some keys changed.

    Args:
        stored: the data config of a checkpoint.
        changes: {key below `data`: value}, nested keys with dots as in `test.image`.

    Raises:
        ConfigError: a value does not fit.
    """
    data = DictConfig(to_plain(stored))
    for key, value in changes.items():
        OmegaConf.update(data, key, value)
    return to_typed(data, DataConfig)
