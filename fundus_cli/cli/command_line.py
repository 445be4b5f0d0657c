"""Read flags and overrides, compose the checked config, and call the program with it.

Imports no torch, so that --help and every config error answer at once.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import Override

from fundus_cli import __version__
from fundus_cli.cli.help_page import help_page
from fundus_cli.cli.programs import PROGRAMS
from fundus_cli.config import SCHEMAS, TrainConfig
from fundus_cli.config.compose import Command, compose_config, compose_dict, set_keys
from fundus_cli.config.config_folder import search_path
from fundus_cli.config.idle_keys import without_effect
from fundus_cli.config.overrides import (
    check_overrides,
    choices_of,
    data_changes,
    expand_sweep,
    parse_overrides,
)
from fundus_cli.errors import ConfigError, SweepError
from fundus_cli.run.context import Context
from fundus_cli.run.signals import StopRequest
from fundus_cli.run.terminal import Terminal

PASSED_TO_HYDRA = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")
"""Flags that print something and run nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The words of a command line: flags apart from overrides."""

    overrides: list[str]
    multirun: bool = False
    debug: bool = False
    config_dir: Path | None = None
    flags: tuple[str, ...] = ()


def run(name: str, line: Sequence[str], stop: StopRequest) -> None:
    """Run the program `name` on the words after it.

    Raises:
        FundusError: whatever the user can fix.
        Interrupted: a signal asked to stop.
    """
    if name not in PROGRAMS:
        raise ConfigError(
            f"{name}: no such program; python -m fundus_cli {{{','.join(PROGRAMS)}}} key=value ..."
        )
    program, arguments = PROGRAMS[name], _read_arguments(line)
    if arguments.config_dir is not None:
        search_path(arguments.config_dir)
    if "--version" in arguments.flags:
        print(f"fundus-cli {__version__}")
        return
    if {"--help", "-h"} & set(arguments.flags):
        print(help_page(program, arguments.config_dir))
        return
    overrides = parse_overrides(arguments.overrides)
    check_overrides(overrides, SCHEMAS[name], arguments.config_dir, arguments.multirun)
    if arguments.flags:
        _pass_to_hydra(name, arguments)
        return
    if arguments.multirun:
        _run_sweep(name, arguments, overrides, stop)
        return
    config = compose_config(name, arguments.overrides, arguments.config_dir)
    with Terminal() as terminal:
        context = Context(
            terminal=terminal,
            stop=stop,
            words=tuple(arguments.overrides),
            arguments=tuple(line),
            data_changes=data_changes(overrides),
        )
        keys = set_keys(name, arguments.overrides, arguments.config_dir)
        for warning in without_effect(config, keys):
            terminal.print_line(warning)
        program.run(config, context)


def _run_sweep(
    name: str, arguments: Arguments, overrides: Sequence[Override], stop: StopRequest
) -> None:
    """Check the config of every job before the first one starts, then run them all."""
    is_search = any(line == "hydra/sweeper=optuna" for line in arguments.overrides)
    for job in expand_sweep(choices_of(overrides) if is_search else overrides):
        config = compose_config(name, job, arguments.config_dir)
        if is_search and isinstance(config, TrainConfig):
            _check_has_score(config)
    from fundus_cli.cli.sweep import run_sweep

    failed = run_sweep(name, arguments.overrides, arguments.config_dir, stop)
    if failed:
        raise SweepError(f"sweep finished, {failed} failed; the table lists which and why")


def _read_arguments(arguments: Sequence[str]) -> Arguments:
    overrides, flags = [], []
    multirun = debug = False
    config_dir = None
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, _, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            if not value and not waiting:
                raise ConfigError("--config-dir: expected a folder after it")
            config_dir = Path(value or waiting.pop(0))
        elif word in ("--multirun", "-m"):
            multirun = True
        elif word == "--debug":
            debug = True
        elif name in PASSED_TO_HYDRA:
            flags.append(word)
            if not value and waiting and name in ("--cfg", "-c", "--info", "-i"):
                flags.append(waiting.pop(0))
        elif word in ("--help", "-h", "--version"):
            flags.append(word)
        elif word.startswith("-"):
            raise ConfigError(f"{word}: unknown flag, or one that is disabled here; see --help")
        else:
            overrides.append(word)
    return Arguments(
        overrides=overrides,
        multirun=multirun,
        debug=debug,
        config_dir=config_dir,
        flags=tuple(flags),
    )


def _check_has_score(config: TrainConfig) -> None:
    if not (config.data.val_fraction or config.data.folds):
        raise ConfigError(
            "hydra/sweeper: a search maximises the validation Dice, and no images are held out; "
            "add data.val_fraction=0.2"
        )


def _pass_to_hydra(name: str, arguments: Arguments) -> None:
    """Hand a flag that only prints over to Hydra, after the config has been checked."""
    import hydra

    words, folder = tuple(arguments.overrides), arguments.config_dir
    compose_dict(Command(config_name=name, overrides=words, config_dir=folder))
    directory = [search_path(folder)] if folder else []
    sys.argv = [f"fundus-{name}", *arguments.flags, *directory, *words]
    main = hydra.main(config_path="pkg://fundus_cli.configs", config_name=name, version_base="1.3")
    main(lambda config: None)()
