"""Compose YAML files and overrides with Hydra, and refuse configs that could run code."""

import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fundus_cli.config import SCHEMAS
from fundus_cli.config.config_folder import preset_keys, search_path
from fundus_cli.config.overrides import (
    CONFIG_MODULE,
    check_overrides,
    parse_overrides,
    typed_keys,
)
from fundus_cli.config.typed import first_line, leaves, to_typed
from fundus_cli.errors import ConfigError

PLUGINS = (
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
    "optuna.samplers.TPESampler",
)
"""Everything that Hydra may instantiate."""
MOST_INTERPOLATIONS = 16
"""In a composed config: if each refers to several others, the text grows exponentially."""

MALFORMED = (
    *(ValueError, TypeError, AttributeError, LookupError, AssertionError, RecursionError),
    OSError,
)
"""What Hydra and OmegaConf raise about files whose text or values they do not expect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The program and the overrides of a command line."""

    config_name: str
    overrides: tuple[str, ...]
    config_dir: Path | None = None


def compose_config(
    program: str, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> Any:
    """The checked config that a command line composes.

    Args:
        program: `train`, `eval`, `predict`, `check`, `export` or `report`.
        overrides: words such as `epochs=20` or `data=chasedb1`; `data.root=...` alone means
            data=folder.
        config_dir: a folder with YAML files of one's own, as `--config-dir` has it.

    Returns:
        A dataclass of fundus_cli.config: TrainConfig for `train`, and so on.

    Raises:
        ConfigError: a key, a choice or a value does not exist or is out of range.
    """
    schema = SCHEMAS[program]
    check_overrides(parse_overrides(overrides), schema, config_dir, multirun=False)
    command = Command(config_name=program, overrides=tuple(overrides), config_dir=config_dir)
    composed, _ = compose_dict(command)
    keys = {line.lstrip("+~").partition("=")[0] for line in overrides}
    own_folder = "data" in composed and "data.root" in keys and "data" not in keys
    try:
        if own_folder and composed.data.name == "demo" and composed.data.root is not None:
            composed, _ = compose_dict(replace(command, overrides=("data=folder", *overrides)))
        return to_typed(composed, schema)
    except OmegaConfBaseException as error:
        # Values are interpolated when they are looked at.
        raise ConfigError(first_line(error)) from error


def set_keys(program: str, overrides: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """The dotted keys that a user has set: typed, or in chosen presets of a config folder."""
    keys = typed_keys(overrides)
    if config_dir is not None:
        command = Command(config_name=program, overrides=tuple(overrides), config_dir=config_dir)
        _, hydra_config = compose_dict(command)
        keys += preset_keys(config_dir, hydra_config.runtime.choices)
    return keys


def compose_dict(command: Command) -> tuple[DictConfig, DictConfig]:
    """Compose with Hydra; returns (the program's config, Hydra's own config).

    `output` is Hydra's run folder, so that hydra.run.dir=... works too.

    Raises:
        ConfigError: a YAML file cannot be read, or does not fit the schema.
    """
    overrides = list(command.overrides)
    if command.config_dir is not None:
        overrides.append(search_path(command.config_dir))
    try:
        with initialize_config_module(CONFIG_MODULE, version_base="1.3", job_name="fundus"):
            config = compose(command.config_name, overrides=overrides, return_hydra_config=True)
            hydra_config = config.hydra
            OmegaConf.set_struct(config, False)
            _refuse_code(OmegaConf.to_container(hydra_config), "hydra")
            _refuse_growth(config)
            OmegaConf.resolve(hydra_config.run)
            del config["hydra"]
            if "output" in config:
                config.output = str(Path(hydra_config.run.dir).expanduser())
            return config, hydra_config
    except YAMLError as error:
        raise ConfigError(f"{' '.join(str(error).split())}: not plain YAML") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error
    except MALFORMED as error:
        where = command.config_dir or " ".join(command.overrides)
        raise ConfigError(f"{where}: cannot be composed ({first_line(error)})") from error


def _refuse_code(node: object, key: str) -> None:
    """Raise ConfigError if Hydra's own config names anything to instantiate but its plugins."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        is_code = name == "_target_" and value not in PLUGINS
        if is_code or (name == "custom_search_space" and value is not None):
            raise ConfigError(f"{key}.{name}={value}: not one of the plugins that can be chosen")
        _refuse_code(value, f"{key}.{name}")


def _refuse_growth(config: DictConfig) -> None:
    """Raise ConfigError if so many values refer to others that resolving them could take ages."""
    values = (value for key, value in leaves(OmegaConf.to_container(config)) if key[:6] != "hydra.")
    count = sum(value.count("${") for value in values if isinstance(value, str))
    if count > MOST_INTERPOLATIONS:
        raise ConfigError(
            f"{count} values refer to others (${{...}}), at most {MOST_INTERPOLATIONS} may; write "
            "the values out"
        )


def _no_environment(*names: object) -> typing.NoReturn:
    raise ConfigError(
        f"${{oc.env:{', '.join(map(str, names))}}}: resolvers that read the environment are "
        "disabled"
    )


# This covers every spelling of the interpolation, and nested ones.
OmegaConf.register_new_resolver("oc.env", _no_environment, replace=True)
