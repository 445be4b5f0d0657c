"""From the command line to one typed config; Hydra's composing and OmegaConf live here.

Hydra composes YAML and overrides; what comes out is checked against the dataclasses of config/,
before a file is read or made.
"""

import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fundus_cli.config import DataConfig, to_plain
from fundus_cli.errors import ConfigError
from fundus_cli.overrides import (
    CONFIG_MODULE,
    check_key,
    leads_somewhere,
    parse_overrides,
    quoted,
)

Config = TypeVar("Config")

PLUGIN_MODULES = ("hydra._internal.core_plugins.", "hydra_plugins.")
FIXED_HYDRA_KEYS = (
    *("callbacks", "job_logging", "hydra_logging", "help", "hydra_help", "env", "output_subdir"),
    *("job.chdir", "job.env_set", "job.env_copy", "job.config"),
)
"""Parts of Hydra's own config that can name code, set the environment or write elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line, taken apart."""

    config_name: str
    overrides: tuple[str, ...]
    config_dir: Path | None = None


def compose_dict(command: Command) -> tuple[DictConfig, DictConfig]:
    """Hydra's composition as (the program's config, Hydra's own config).

    `output` is what Hydra calls its run folder, so that hydra.run.dir=... works too.

    Raises:
        ConfigError: a YAML file cannot be read or does not fit.
    """
    overrides = list(command.overrides)
    if command.config_dir is not None:
        folder = command.config_dir.resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {command.config_dir}: no such folder")
        overrides.append(quoted("hydra.searchpath", f"file://{folder}").replace('="', '=["') + "]")
    try:
        with initialize_config_module(CONFIG_MODULE, version_base="1.3", job_name="fundus"):
            config = compose(command.config_name, overrides=overrides, return_hydra_config=True)
            hydra_config = config.hydra
            OmegaConf.set_struct(config, False)
            _refuse_code(hydra_config, command)
            OmegaConf.resolve(hydra_config.run)
            del config["hydra"]
            if "output" in config:
                config.output = hydra_config.run.dir
            return config, hydra_config
    except YAMLError as error:
        raise ConfigError(f"{' '.join(str(error).split())}: not plain YAML") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_first_line(error)) from error


def _refuse_code(hydra_config: DictConfig, command: Command) -> None:
    """Raise ConfigError when Hydra's own part of the config would run what a file names."""
    for plugin in ("sweeper", "launcher"):
        target = str(hydra_config[plugin].get("_target_"))
        if not target.startswith(PLUGIN_MODULES):
            raise ConfigError(f"hydra.{plugin}._target_={target}: not one of Hydra's plugins")
    if command.config_dir is None:
        return
    own = compose(command.config_name, return_hydra_config=True).hydra
    for key in FIXED_HYDRA_KEYS:
        if OmegaConf.select(hydra_config, key) != OmegaConf.select(own, key):
            raise ConfigError(
                f"--config-dir {command.config_dir}: sets hydra.{key}, which can run code; "
                "a config folder chooses values only"
            )


def _no_environment(*names: object) -> typing.NoReturn:
    raise ConfigError(
        f"${{oc.env:{', '.join(map(str, names))}}}: resolvers that read the environment are not "
        "open here"
    )


# Whatever the spelling of the interpolation, and in nested ones too.
OmegaConf.register_new_resolver("oc.env", _no_environment, replace=True)


def _leaves(plain: object, key: str = "") -> Iterator[tuple[str, object]]:
    """(dotted key, value) of everything that is neither a mapping nor a list."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield from _leaves(value, f"{key}.{name}".lstrip("."))
    elif isinstance(plain, list):
        for value in plain:
            yield from _leaves(value, key)
    else:
        yield key, plain


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = "ConfigError raised while resolving interpolation: "
    return lines[0].removeprefix(own) if lines else type(error).__name__


def to_typed(config: DictConfig | dict[str, Any], schema: type[Config]) -> Config:
    """The dataclass of a composed or stored config, every key, type and range checked.

    Raises:
        ConfigError: with the dotted key, the value found and what is allowed.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), config)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(_missing_text(missing))
        return typing.cast(Config, OmegaConf.to_object(merged))
    except ConfigError:
        raise
    except OmegaConfBaseException as error:
        raise ConfigError(_typed_error_text(error, schema)) from error


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
    text = _first_line(error)
    text = re.sub(r" of type '\w+'", "", text)
    return f"{key}: {text}" if key and not text.startswith(key) else text


def from_plain(plain: object, schema: type[Config]) -> Config:
    """The dataclass of a config read from JSON or a checkpoint, treated as data only.

    Interpolations are refused, so a stranger's file reads no environment and no other key.

    Raises:
        ConfigError: the content does not fit the schema.
    """
    if not isinstance(plain, dict):
        raise ConfigError("stored config is not a mapping")
    _refuse_interpolation(plain)
    return to_typed(plain, schema)


def _refuse_interpolation(plain: object) -> None:
    for key, value in _leaves(plain):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{key}={value}: a stored config holds values only")
        if not isinstance(value, (str, int, float, bool, types.NoneType)):
            raise ConfigError(f"{key}: {type(value).__name__} is no config value")


def change_data(stored: DataConfig, overrides: Sequence[str]) -> DataConfig:
    """A stored data config with the command line's data.<key>=... on top.

    Raises:
        ConfigError: a value does not fit.
    """
    data = DictConfig(to_plain(stored))
    for override in parse_overrides(overrides):
        if override.key_or_group.startswith("data."):
            OmegaConf.update(data, override.key_or_group.removeprefix("data."), override.value())
    return to_typed(data, DataConfig)
