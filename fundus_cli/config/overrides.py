"""Parse overrides with Hydra's grammar and check them against the existing keys and choices.

Every typing error is found here, before a file is read or written.
"""

import difflib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fundus_cli.config.config_folder import GROUPS, preset_names
from fundus_cli.config.keys import check_key
from fundus_cli.errors import ConfigError

CONFIG_MODULE = "fundus_cli.configs"
HYDRA_KEYS = re.compile(r"hydra\.(run\.dir|sweep\.dir|sweep\.subdir|(sweeper|launcher)\.\w.*)")
"""Keys of Hydra's own config that may be set; others could name code."""
HYDRA_CHOICES = {
    "hydra/launcher": ("basic", "joblib", "submitit_local", "submitit_slurm"),
    "hydra/sweeper": ("basic", "optuna"),
}


def choices(group: str, config_dir: Path | None = None) -> list[str]:
    """Names that can follow `group=`: the shipped ones and those of the user's config folder."""
    names = {
        Path(entry.name).stem
        for entry in (resources.files(CONFIG_MODULE) / group).iterdir()
        if entry.name.endswith(".yaml") and not entry.name.startswith("_")
    }
    if config_dir is not None:
        names |= set(preset_names(config_dir / group))
    return sorted(names)


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """Parse arguments with Hydra's grammar; errors name the argument and its quoted form."""
    parser = OverridesParser.create()
    parsed = []
    for argument in arguments:
        try:
            parsed.append(parser.parse_override(argument))
        except HydraException:
            raise ConfigError(_how_to_write(argument)) from None
    return parsed


def typed_keys(words: Sequence[str]) -> list[str]:
    """The keys that overrides set, without choices such as `data=hrf`."""
    keys = (word.lstrip("+~").partition("=")[0] for word in words)
    return [key for key in keys if key not in GROUPS and "/" not in key]


def quoted(key: str, value: str) -> str:
    """`key="value"` in Hydra's grammar, quoted for any characters in the value."""
    escaped = re.sub(r'(\\*)"', lambda m: m.group(1) * 2 + '\\"', value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f'{key}="{escaped}{chr(92) * trailing}"'


def _how_to_write(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return f"{argument}: expected key=value, as in epochs=20"
    if value.startswith("[") and value.endswith("]"):
        words = [quoted("", word.strip()).removeprefix("=") for word in value[1:-1].split(",")]
        written = f"{key}=[{','.join(words)}]"
    else:
        written = quoted(key, value)
    shell_safe = written.replace("'", "'\\''")
    return f"{argument}: the value has characters that need quotes; write '{shell_safe}'"


def check_overrides(
    overrides: Sequence[Override], schema: type, config_dir: Path | None, multirun: bool
) -> None:
    """Raise ConfigError for the first override with an unknown key, choice, or several values."""
    seen: set[str] = set()
    for override in overrides:
        key = override.key_or_group
        if key in seen:
            raise ConfigError(f"{key}: given twice; keep one of the two")
        seen.add(key)
        line = override.input_line or key
        if "_target_" in line:
            raise ConfigError(f"{line}: _target_ names code; configs may only choose values")
        if override.package is not None:
            raise ConfigError(f"{line}: a package (@...) cannot be chosen; write {key}=...")
        if key.startswith("hydra"):
            _check_hydra_key(key, line)
            continue
        if override.is_sweep_override() and not multirun:
            raise ConfigError(f"{line}: several values; add -m to run them all, or quote the value")
        if key in GROUPS and not override.is_delete():
            _check_choice(override, key, config_dir)
        else:
            check_key(key, schema)


def _check_hydra_key(key: str, line: str) -> None:
    """Raise ConfigError for a word about Hydra itself that could name code."""
    if (names := HYDRA_CHOICES.get(key)) is not None:
        if line not in [f"{key}={name}" for name in names]:
            raise ConfigError(f"{line}: choose {key}= from {', '.join(names)}")
    elif not HYDRA_KEYS.fullmatch(key) or "custom_search_space" in key:
        raise ConfigError(
            f"{key}: cannot be set; of Hydra's own keys only hydra.run.dir, hydra.sweep.dir, "
            "hydra.sweep.subdir, hydra/sweeper, hydra/launcher and those below can"
        )
    elif key.startswith("hydra.sweeper.params"):
        raise ConfigError(f"{key}: cannot be set; type ranges as words, as in seed=1,2 with -m")
    elif "${" in line and key.startswith(("hydra.launcher.", "hydra.sweeper.")):
        raise ConfigError(f"{line}: a launcher or sweeper takes values only, no ${{...}}")


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


def expand_sweep(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of every job of a grid sweep, in Hydra's order."""
    batches = BasicSweeper.split_arguments(list(overrides), None)
    return [list(job) for batch in batches for job in batch]


def choices_of(overrides: Sequence[Override]) -> list[Override]:
    """Overrides that can be checked before a search: single values and choices of a group."""
    return [
        override
        for override in overrides
        if not override.is_sweep_override()
        or (override.is_choice_sweep() and override.key_or_group in GROUPS)
    ]


def data_changes(overrides: Sequence[Override]) -> dict[str, object]:
    """{key below `data`: value} of the overrides."""
    return {
        override.key_or_group.removeprefix("data."): override.value()
        for override in overrides
        if override.key_or_group.startswith("data.")
    }
