"""List the config keys of a run that differ from the defaults, and the command to reproduce it."""

import shlex
from collections.abc import Mapping
from typing import Any

from fundus_cli.config import to_plain
from fundus_cli.config.compose import compose_config
from fundus_cli.config.overrides import choices
from fundus_cli.errors import FundusError
from fundus_cli.report.run_files import Run, leaves

NAMED_GROUPS = ("data", "model", "loss", "optimizer", "scheduler")
"""Groups whose choice is written into the config as <group>.name."""

OF_THE_FOLDER = ("output", "resume", "overwrite")
"""Keys that say where a run is kept, not what it is."""


def changed_keys(run: Run) -> list[tuple[str, Any, Any]]:
    """(key, default, value) of a training run's keys that differ from the defaults.

    A chosen group is one line (data: demo -> chasedb1); its keys are compared with that choice.
    """
    if run.program != "train" or not run.config:
        return []
    plain = {group: _name(run.config, group) for group in NAMED_GROUPS}
    chosen = {group: name for group, name in plain.items() if name in choices(group)}
    try:
        standard = _composed({})
        base = _composed(chosen)
    except FundusError:
        return []
    lines: list[tuple[str, Any, Any]] = [
        (group, standard[f"{group}.name"], name)
        for group, name in chosen.items()
        if standard[f"{group}.name"] != name
    ]
    for key, value in leaves(run.config).items():
        if key in OF_THE_FOLDER or key.endswith(".name"):
            continue
        if base.get(key) != value:
            lines.append((key, base.get(key), value))
    return lines


def _name(config: Mapping[str, Any], group: str) -> str:
    content = config.get(group)
    return str(content.get("name")) if isinstance(content, Mapping) else ""


def _composed(chosen: Mapping[str, str]) -> dict[str, Any]:
    overrides = [f"{group}={name}" for group, name in chosen.items()]
    return leaves(to_plain(compose_config("train", overrides)))


def reproducing_command(run: Run) -> str:
    """The command of the run without its output folder; empty when it was not recorded."""
    arguments = run.environment.get("arguments")
    if not isinstance(arguments, list):
        return ""
    kept = [str(a) for a in arguments if str(a).partition("=")[0] not in OF_THE_FOLDER]
    return shlex.join([f"fundus-{run.program}", *kept])
