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
from fundus_cli.config.overrides import CONFIG_MODULE, check_overrides, parse_overrides, quoted
from fundus_cli.config.typed import first_line, to_typed
from fundus_cli.errors import ConfigError

PLUGIN_MODULES = ("hydra._internal.core_plugins.", "hydra_plugins.")
FIXED_HYDRA_KEYS = (
    *("callbacks", "job_logging", "hydra_logging", "help", "hydra_help", "env", "output_subdir"),
    *("job.chdir", "job.env_set", "job.env_copy", "job.config"),
)
"""Parts of Hydra's own config that can name code, set the environment or redirect output."""

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
    if own_folder and composed.data.name == "demo" and composed.data.root is not None:
        composed, _ = compose_dict(replace(command, overrides=("data=folder", *overrides)))
    return to_typed(composed, schema)


def compose_dict(command: Command) -> tuple[DictConfig, DictConfig]:
    """Compose with Hydra; returns (the program's config, Hydra's own config).

    `output` is Hydra's run folder, so that hydra.run.dir=... works too.

    Raises:
        ConfigError: a YAML file cannot be read, or does not fit the schema.
    """
    overrides = list(command.overrides)
    if command.config_dir is not None:
        folder = command.config_dir.resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {command.config_dir}: no such folder")
        for path in (*folder.glob("*.yaml"), *folder.glob("*/*.yaml")):
            if path.exists() and not path.is_file():
                raise ConfigError(f"--config-dir {command.config_dir}: {path.name} is no file")
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
        raise ConfigError(first_line(error)) from error
    except MALFORMED as error:
        where = command.config_dir or " ".join(command.overrides)
        raise ConfigError(f"{where}: cannot be composed ({first_line(error)})") from error


def _refuse_code(hydra_config: DictConfig, command: Command) -> None:
    """Raise ConfigError when Hydra's own config could run code that a file names."""
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
                "a config folder may only choose values"
            )


def _no_environment(*names: object) -> typing.NoReturn:
    raise ConfigError(
        f"${{oc.env:{', '.join(map(str, names))}}}: resolvers that read the environment are "
        "disabled"
    )


# This covers every spelling of the interpolation, and nested ones.
OmegaConf.register_new_resolver("oc.env", _no_environment, replace=True)
