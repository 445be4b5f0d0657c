"""What a config folder (`--config-dir`) can say: values of the shipped groups, and nothing else.

Hydra reads the folder through `PresetSource` alone. Only files of the groups exist for it, and each
is checked before Hydra sees it. Hydra's own config (launchers, sweepers, callbacks, logging) can
therefore neither be brought along nor be named.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fundus_cli.config.regular_files import read_regular
from fundus_cli.config.typed import leaves
from fundus_cli.errors import ConfigError

GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "augment", "experiment")
NAME = re.compile(r"\w[\w .-]*")
"""Names of presets: no path, no package, no interpolation, no control characters."""
CHOICE = re.compile(f"override /({'|'.join(GROUPS)})")
INTERPOLATION = re.compile(r"\$\{(\.*\w+(\.\w+)*|now:[%a-zA-Z_.-]+)\}")
"""`${seed}`, `${.name}` and `${now:%Y-%m-%d}`: another key, or the time."""

MOST_BYTES = 200_000
"""Of all files that one composition reads; YAML is parsed slowly."""
MOST_FILES = 50
MOST_NESTED = 20
LONGEST_VALUE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A checked file.

    Attributes:
        content: its values, and its `defaults`.
        package: `_global_` or its group where the header says so, otherwise None.
        bases: files of the same group that it is built on.
    """

    content: DictConfig
    package: str | None
    bases: tuple[str, ...]


class PresetSource(ConfigSource):
    """The files `<group>/<name>.yaml` of one folder, for Hydra."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self._folder = Path(unquote(self.path))
        self._read: dict[str, Preset] = {}
        self._bytes_left = MOST_BYTES

    @staticmethod
    def scheme() -> str:
        return "presets"

    def available(self) -> bool:
        return self._folder.is_dir()

    def is_group(self, config_path: str) -> bool:
        return config_path in GROUPS and (self._folder / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        file = self._file(config_path)
        return file is not None and file.exists() and not file.is_dir()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            is_wanted = results_filter is not ObjectType.CONFIG
            return [group for group in GROUPS if is_wanted and self.is_group(group)]
        if not self.is_group(config_path) or results_filter is ObjectType.GROUP:
            return []
        return preset_names(self._folder / config_path)

    def load_config(self, config_path: str) -> ConfigResult:
        """The checked file.

        Raises:
            ConfigError: it says more than values may say.
        """
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        self._refuse_repeated_bases(config_path)
        preset = self._preset(config_path)
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=preset.content,
            header={"package": preset.package},
        )

    def _file(self, config_path: str) -> Path | None:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        is_preset = group in GROUPS and NAME.fullmatch(name)
        return self._folder / group / f"{name}.yaml" if is_preset else None

    def _preset(self, config_path: str) -> Preset:
        file = self._file(config_path)
        assert file is not None
        if config_path not in self._read:
            if len(self._read) >= MOST_FILES:
                raise ConfigError(f"{file}: the command reads more than {MOST_FILES} presets")
            text = _text(file, self._bytes_left)
            self._bytes_left -= len(text.encode())
            self._read[config_path] = _checked(text, file, config_path.partition("/")[0])
        return self._read[config_path]

    def _refuse_repeated_bases(self, config_path: str) -> None:
        """A file that comes in twice could come in a million times, in few levels."""
        group = config_path.partition("/")[0]
        seen, waiting = set(), [config_path.removesuffix(".yaml")]
        while waiting:
            current = waiting.pop()
            if current in seen:
                raise ConfigError(
                    f"--config-dir {self._folder}: {config_path}.yaml is built on {current}.yaml "
                    "twice; name each file once in `defaults`"
                )
            seen.add(current)
            if self.is_config(current):
                waiting += [f"{group}/{base}" for base in self._preset(current).bases]


SourcesRegistry.instance().register(PresetSource)


def search_path(config_dir: Path) -> str:
    """The override that makes Hydra read a config folder through PresetSource.

    Raises:
        ConfigError: there is no such folder, or it brings files for Hydra itself.
    """
    if not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir}: no such folder")
    if (config_dir / "hydra").exists():
        raise ConfigError(
            f"--config-dir {config_dir}: has files below hydra/, which can run code; launcher and "
            "sweeper are those that ship, chosen on the command line as in hydra/launcher=joblib"
        )
    return f'hydra.searchpath=["{PresetSource.scheme()}://{quote(str(config_dir.resolve()))}"]'


def preset_names(folder: Path) -> list[str]:
    """Names that can be chosen in a group's folder, sorted; those with a leading _ are bases."""
    names = [entry.name.removesuffix(".yaml") for entry in folder.glob("[!_]*.yaml")]
    return sorted(name for name in names if NAME.fullmatch(name))


def preset_keys(config_dir: Path, choices: Mapping[str, str | None]) -> list[str]:
    """The dotted keys that the chosen presets of a config folder set.

    Args:
        config_dir: the folder.
        choices: {group: name} of everything that was chosen, also by other presets.
    """
    found = []
    for group, name in choices.items():
        file = config_dir / group / f"{name}.yaml"
        if group in GROUPS and name is not None and file.is_file():
            preset = _checked(_text(file, MOST_BYTES), file, group)
            plain = OmegaConf.to_container(preset.content)
            prefix = "" if preset.package == "_global_" else f"{group}."
            set_here = (key for key, _ in leaves(plain))
            found += [prefix + key for key in set_here if not key.startswith("defaults")]
    return found


def _text(file: Path, most_bytes: int) -> str:
    try:
        return read_regular(file, most_bytes).decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}; a preset is a short text file in UTF-8") from error


def _checked(text: str, file: Path, group: str) -> Preset:
    try:
        _check_events(text, file)
        content = OmegaConf.create(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}: not plain YAML") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from error
    plain = OmegaConf.to_container(content)
    if not isinstance(content, DictConfig) or not isinstance(plain, dict):
        raise ConfigError(f"{file}: expected lines such as `name: value`")
    if "hydra" in plain:
        raise ConfigError(
            f"{file}: sets keys of hydra, which can run code; type them on the command line, as "
            "in hydra.sweep.dir=..."
        )
    bases = _bases(plain.get("defaults", []), file)
    return Preset(content=content, package=_package(text, file, group), bases=bases)


def _check_events(text: str, file: Path) -> None:
    """Raise ConfigError for what YAML has beyond mappings, lists and short values."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        value = event.value if isinstance(event, yaml.ScalarEvent) else ""
        where = f"{file}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(
                f"{where}: *{event.anchor} is an alias, and aliases can expand without end; write "
                "the values out, or refer to one as in ${data.name}"
            )
        if getattr(event, "tag", None) is not None:
            raise ConfigError(f"{where}: tag {event.tag!r}: not plain YAML; write the value only")
        if depth > MOST_NESTED or len(value) > LONGEST_VALUE:
            raise ConfigError(
                f"{where}: more than {MOST_NESTED} levels, or a value of more than "
                f"{LONGEST_VALUE} characters"
            )
        if "${" in INTERPOLATION.sub("", value):
            raise ConfigError(
                f"{where}: {value[:200]!r}: a preset may refer to keys, as in ${{data.name}}, and "
                "to the time, as in ${now:%Y-%m-%d}; resolvers that read the environment and the "
                "like are disabled"
            )


def _bases(defaults: Any, file: Path) -> tuple[str, ...]:
    """Files of the same group that `defaults` names, apart from choices in other groups."""
    if not isinstance(defaults, list):
        raise ConfigError(f"{file}: defaults: expected a list")
    bases = []
    for entry in defaults:
        if isinstance(entry, str) and NAME.fullmatch(entry):
            bases += [entry.removesuffix(".yaml")] if entry != "_self_" else []
        elif not (isinstance(entry, dict) and len(entry) == 1 and _is_choice(entry)):
            raise ConfigError(
                f"{file}: defaults: {repr(entry)[:200]}: expected a file of the same folder, as "
                f"in _base, or a choice as in `override /model: unet` (of {', '.join(GROUPS)})"
            )
    return tuple(bases)


def _is_choice(entry: dict[Any, Any]) -> bool:
    ((key, name),) = entry.items()
    is_name = name is None or (isinstance(name, str) and NAME.fullmatch(name))
    return bool(isinstance(key, str) and CHOICE.fullmatch(key) and is_name)


def _package(text: str, file: Path, group: str) -> str | None:
    """The package that Hydra's header (`# @package ...` in the first lines) asks for."""
    package = None
    for line in filter(None, map(str.strip, text.splitlines())):
        if not re.match(r"#\s*@", line):
            break
        words = line.lstrip("#").split()
        if words not in (["@package", "_global_"], ["@package", group]):
            raise ConfigError(f"{file}: {line}: only `# @package _global_` or {group} is allowed")
        package = words[1]
    return package
