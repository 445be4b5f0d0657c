"""From the command line to one typed config; Hydra's composing and OmegaConf live here.

Hydra composes YAML and overrides; what comes out is checked against the dataclasses of
config.py. Everything a user can mistype is found here, before a file is read or made.
"""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fundus_cli.config import DataConfig, to_plain
from fundus_cli.errors import ConfigError

Config = TypeVar("Config")

CONFIG_MODULE = "fundus_cli.configs"
GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "augment", "experiment")
HYDRA_KEYS = re.compile(
    r"hydra\.(run\.dir|sweep\.dir|sweep\.subdir|sweeper\.(?!custom_search_space).+"
    r"|launcher\..+)|hydra/(sweeper|launcher)"
)
"""The keys of Hydra itself that may be set; others can name code, which a key should not do."""

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
    if _leads_somewhere(key.split("."), schema):
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


def _leads_somewhere(parts: Sequence[str], schema: type) -> bool:
    hints = typing.get_type_hints(schema)
    annotation = hints.get(parts[0])
    if annotation is None:
        return False
    if len(parts) == 1 or _is_dict(annotation):
        return True
    nested = _dataclass_in(annotation)
    return nested is not None and _leads_somewhere(parts[1:], nested)


def all_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a dataclass, in order."""
    hints = typing.get_type_hints(schema)
    for f in fields(schema):
        nested = _dataclass_in(hints[f.name])
        if nested is None:
            yield prefix + f.name
        else:
            yield from all_keys(nested, f"{prefix}{f.name}.")


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
    if key and not _leads_somewhere(key.split("."), schema):
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
