"""A command line: parsed, composed to a checked config, and its program called with it.

Imports no torch, so that --help and every config error answer at once.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fundus_cli import __version__
from fundus_cli.compose import Command, compose_dict, to_typed
from fundus_cli.config import TrainConfig
from fundus_cli.errors import ConfigError, SweepError
from fundus_cli.help_page import help_page
from fundus_cli.overrides import check_overrides, choices_of, expand_sweep, parse_overrides
from fundus_cli.programs import PROGRAMS, Arguments, Program
from fundus_cli.run.signals import StopRequest

PASSED_TO_HYDRA = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")
"""Flags that print something and run nothing."""


def run(name: str, line: Sequence[str], stop: StopRequest) -> None:
    """Run the program `name` on the words behind it.

    Raises:
        FundusError: whatever the user can mend.
        Interrupted: a signal asked to stop.
    """
    if name not in PROGRAMS:
        raise ConfigError(
            f"{name}: no such program; python -m fundus_cli {{{','.join(PROGRAMS)}}} key=value ..."
        )
    program, arguments = PROGRAMS[name], _read_arguments(line)
    if "--version" in arguments.flags:
        print(f"fundus-cli {__version__}")
        return
    if {"--help", "-h"} & set(arguments.flags):
        print(help_page(program.name, program.groups, arguments.config_dir))
        return
    overrides = parse_overrides(arguments.overrides)
    check_overrides(overrides, program.schema, arguments.config_dir, arguments.multirun)
    if arguments.flags:
        _pass_to_hydra(program.name, arguments)
        return
    if arguments.multirun:
        is_search = not _is_grid(arguments.overrides)
        for job in expand_sweep(choices_of(overrides) if is_search else overrides):
            config = _typed(program, job, arguments.config_dir)
            if is_search and isinstance(config, TrainConfig):
                _check_has_score(config)
        from fundus_cli.sweep import run_sweep

        failed = run_sweep(program.name, arguments.overrides, arguments.config_dir, stop)
        if failed:
            raise SweepError(f"sweep finished, {failed} failed; the table says which and why")
        return
    program.run(_typed(program, arguments.overrides, arguments.config_dir), arguments, stop)


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
                raise ConfigError("--config-dir: expected a folder behind it")
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
            raise ConfigError(f"{word}: no such flag, or one that is not open here; see --help")
        else:
            overrides.append(word)
    return Arguments(
        overrides=overrides,
        multirun=multirun,
        debug=debug,
        config_dir=config_dir,
        flags=tuple(flags),
    )


def _is_grid(overrides: Sequence[str]) -> bool:
    return not any(line.startswith("hydra/sweeper=") for line in overrides)


def _check_has_score(config: TrainConfig) -> None:
    if not (config.data.val_fraction or config.data.folds):
        raise ConfigError(
            "hydra/sweeper: a search chooses by the validation Dice, and nothing is held out; "
            "add data.val_fraction=0.2"
        )


def _typed(program: Program, overrides: Sequence[str], config_dir: Path | None) -> Any:
    """One job's config; data.root alone means data=folder."""
    command = Command(config_name=program.name, overrides=tuple(overrides), config_dir=config_dir)
    composed, _ = compose_dict(command)
    keys = {line.lstrip("+~").partition("=")[0] for line in overrides}
    own_folder = "data" in program.groups and "data.root" in keys and "data" not in keys
    if own_folder and composed.data.name == "demo" and composed.data.root is not None:
        command = replace(command, overrides=("data=folder", *overrides))
        composed, _ = compose_dict(command)
    return to_typed(composed, program.schema)


def _pass_to_hydra(name: str, arguments: Arguments) -> None:
    """Let Hydra print what it knows about the config."""
    import hydra

    directory = ["--config-dir", str(arguments.config_dir)] if arguments.config_dir else []
    sys.argv = [f"fundus-{name}", *arguments.flags, *directory, *arguments.overrides]
    main = hydra.main(config_path="pkg://fundus_cli.configs", config_name=name, version_base="1.3")
    main(lambda config: None)()
