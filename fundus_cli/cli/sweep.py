"""Run a sweep: Hydra expands the overrides, each job runs in a subprocess, a leaderboard ends it.

A failed job (an exception, out of memory, a kill) does not stop the sweep. The same command with
the same hydra.sweep.dir runs only what is missing, because each job is a run that resumes.
"""

import contextlib
import os
import sys
import uuid
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fundus_cli.cli.sweep_job import run_job
from fundus_cli.config.compose import Command, compose_dict
from fundus_cli.config.config_folder import search_path
from fundus_cli.config.overrides import CONFIG_MODULE, quoted
from fundus_cli.config.typed import first_line
from fundus_cli.errors import ConfigError, MachineError
from fundus_cli.report.leaderboard import read_jobs
from fundus_cli.report.leaderboard_text import leaderboard_table
from fundus_cli.run.folder import locked
from fundus_cli.run.signals import StopRequest
from fundus_cli.runtime.launched import ended_with_this_process

PLUGINS = {
    "hydra/sweeper=optuna": ("hydra-optuna-sweeper", "optuna"),
    "hydra/launcher=joblib": ("hydra-joblib-launcher", "joblib"),
    "hydra/launcher=submitit_local": ("hydra-submitit-launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra-submitit-launcher", "slurm"),
}
"""Choice -> (distribution that provides it, extra of this package that installs it)."""

PARALLEL_HERE = ("hydra/launcher=joblib", "hydra/launcher=submitit_local")
"""Launchers that start processes on this machine, which have to end with the sweep. Slurm looks
after its own."""


def run_sweep(
    program: str, overrides: Sequence[str], config_dir: Path | None, stop: StopRequest
) -> int:
    """Run every job of a sweep and write the leaderboard; returns how many jobs failed.

    Raises:
        Interrupted: a signal arrived; finished jobs are kept and listed.
        RunFolderError: another sweep is running in the folder.
        ConfigError: Hydra's sweeper refuses the overrides.
        MachineError: a process of the launcher was killed.
    """
    check_plugins(overrides)
    stop.defer()
    ready = ready_values(overrides)
    sweep_dir = _sweep_folder(program, [*ready, *overrides])
    # Jobs may run in other processes, so they write this into their job files.
    command_id, own_process = uuid.uuid4().hex, os.getpid()

    def job(config: DictConfig) -> float | None:
        own_stop = stop
        if os.getpid() != own_process:
            # A parallel launcher runs this in a subprocess, with a copy of `stop`.
            own_stop = StopRequest().install()
            own_stop.defer()
        runtime = HydraConfig.get()
        folder = Path(runtime.runtime.output_dir)
        words = list(runtime.overrides.task)
        return run_job(program, folder, words, config_dir, own_stop, command_id)

    directory = [search_path(config_dir)] if config_dir else []
    kept = [line for line in overrides if not line.startswith("hydra.sweep.dir=")]
    folder_override = quoted("hydra.sweep.dir", str(sweep_dir))
    arguments = [sys.argv[0], "--multirun", *directory, *ready, *kept, folder_override]
    before, sys.argv = sys.argv, arguments
    gave_up: Exception | None = None
    is_parallel = any(line in PARALLEL_HERE for line in overrides)
    # Otherwise Hydra prints errors itself and exits, and the jobs would not be listed.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main = hydra.main(
            config_path="pkg://fundus_cli.configs", config_name=program, version_base="1.3"
        )
        guard = ended_with_this_process() if is_parallel else contextlib.nullcontext()
        with locked(str(sweep_dir), key="hydra.sweep.dir"), guard:
            main(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(first_line(error)) from error
    except ValueError as error:
        # Optuna's sweeper raises this when no job has a score.
        gave_up = error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("joblib", "submitit"):
            raise
        lost = MachineError(
            f"hydra/launcher: a process that ran jobs was lost ({type(error).__name__}); if memory "
            f"is short, run fewer at a time; the same command with hydra.sweep.dir={sweep_dir} "
            "runs what is missing"
        )
        lost.__cause__ = error
        gave_up = lost
    finally:
        sys.argv = before
    failed = _conclude(sweep_dir, command_id, stop)
    if isinstance(gave_up, MachineError) or (gave_up is not None and not failed):
        raise gave_up
    return failed


def check_plugins(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a chosen sweeper or launcher that is not installed."""
    for choice in overrides:
        if choice not in PLUGINS:
            continue
        plugin, extra = PLUGINS[choice]
        try:
            metadata.version(plugin)
        except metadata.PackageNotFoundError:
            raise ConfigError(
                f"{choice}: {plugin} is not installed; pip install 'fundus-cli[{extra}]'"
            ) from None


def ready_values(overrides: Sequence[str]) -> list[str]:
    """Defaults of the chosen sweeper and launcher from configs/sweep/, except keys that were typed.

    They are not files in Hydra's own config group, because Hydra would match a file of the plugin's
    name with the plugin's schema and refuse it.
    """
    given = {line.partition("=")[0].lstrip("+") for line in overrides}
    lines = []
    for choice in overrides:
        if choice not in PLUGINS:
            continue
        group, _, name = choice.partition("=")
        file = resources.files(CONFIG_MODULE) / "sweep" / f"{name}.yaml"
        values = OmegaConf.create(file.read_text(encoding="utf-8"))
        keys = {f"{group.replace('/', '.')}.{key!s}": value for key, value in values.items()}
        lines += [f"{key}={value}" for key, value in keys.items() if key not in given]
    return lines


def _sweep_folder(program: str, overrides: Sequence[str]) -> Path:
    """The sweep's folder, known before the first job runs.

    Composes all words about Hydra itself, so that they are checked before Hydra acts on them.
    """
    own = tuple(line for line in overrides if line.lstrip("+~").startswith("hydra"))
    _, hydra_config = compose_dict(Command(config_name=program, overrides=own))
    return Path(str(hydra_config.sweep.dir)).expanduser()


def _conclude(sweep_dir: Path, command_id: str, stop: StopRequest) -> int:
    """Write and print the leaderboard; returns how many jobs of this command failed."""
    from fundus_cli.report.sweep_page import write_leaderboard

    runs = read_jobs(sweep_dir)
    if runs:
        board = write_leaderboard(sweep_dir, runs)
        print(leaderboard_table(board))
        print(f"sweep folder: {sweep_dir}")
        print(f"leaderboard: {sweep_dir / 'leaderboard.html'}")
    stop.raise_if_asked(
        "finished jobs are kept; the same command with "
        f"hydra.sweep.dir={sweep_dir} runs what is missing"
    )
    return sum(run.job.get("command") == command_id and run.status != "done" for run in runs)
