"""Run commands in forked processes that need not import torch again.

A start takes a tenth of a second instead of four. Everything else is what the command does: a
process of its own with its own session, signals, streams and exit code.
"""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
import typing
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import torch

from fundus_cli.cli.main import main

# Imported here so that no child has to. PageFigure needs no display.
matplotlib.use("Agg")
for _name in (
    "matplotlib.pyplot",
    "fundus_cli.cli.command_line",
    "fundus_cli.cli.sweep",
    "fundus_cli.commands.check",
    "fundus_cli.commands.evaluate",
    "fundus_cli.commands.export",
    "fundus_cli.commands.predict",
    "fundus_cli.commands.report",
    "fundus_cli.commands.train",
    "fundus_cli.training.loop",
    "fundus_cli.evaluation.scoring",
    "fundus_cli.report.loss_curves",
    "fundus_cli.report.run_page",
    "fundus_cli.report.score_files",
    "fundus_cli.report.sweep_page",
):
    importlib.import_module(_name)

STOP_SIGNALS = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen_to_signals() -> None:
    """Undo what a shell's `&` and nohup do: processes below them ignore Ctrl-C and hang-ups."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


def fork_command(
    folder: Path,
    arguments: tuple[str, ...],
    stdout: Path,
    stderr: Path,
    prepare: Callable[[], object] = lambda: None,
) -> int:
    """Start `fundus-<first argument>` in `folder`; returns the process id.

    Args:
        folder: the command's working folder.
        arguments: the program's name without `fundus-`, then the command line's words.
        stdout: a file for its output.
        stderr: a file for its errors.
        prepare: called in the new process before the command.
    """
    with warnings.catch_warnings():
        # Python warns of forks beside threads; those of the test runner only wait for messages.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _be_the_command(folder, arguments, stdout, stderr, prepare)
    return pid


def _be_the_command(
    folder: Path,
    arguments: tuple[str, ...],
    stdout: Path,
    stderr: Path,
    prepare: Callable[[], object],
) -> typing.NoReturn:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        for descriptor, name, path in ((1, "stdout", stdout), (2, "stderr", stderr)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(file, descriptor)
            setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, encoding="utf-8"))
        listen_to_signals()
        _ignore_warnings_as_python_does()
        torch.set_num_threads(1)
        prepare()
        sys.argv = [f"fundus-{arguments[0]}", *arguments[1:]]
        code = main(arguments[0])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _ignore_warnings_as_python_does() -> None:
    """Replace the test runner's filters, which turn every warning into an error."""
    warnings.resetwarnings()
    for kind in (
        DeprecationWarning,
        PendingDeprecationWarning,
        ImportWarning,
        ResourceWarning,
    ):
        warnings.simplefilter("ignore", kind)


def run_command(
    folder: Path, *arguments: str, scratch: Path, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run `fundus-<first argument>` to its end in `folder`.

    Args:
        folder: the command's working folder.
        arguments: the program's name without `fundus-`, then the command line's words.
        scratch: an existing folder for the files that receive its output.
        timeout: seconds after which it is killed.

    Raises:
        TimeoutExpired: it has not ended by then.
    """
    stdout, stderr = scratch / "stdout", scratch / "stderr"
    pid = fork_command(folder, arguments, stdout, stderr)
    end = time.monotonic() + timeout
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise subprocess.TimeoutExpired(
                list(arguments), timeout, stdout.read_bytes(), stderr.read_bytes()
            )
        time.sleep(0.01)
    code = os.waitstatus_to_exitcode(ended[1])
    texts = [path.read_bytes().decode() for path in (stdout, stderr)]
    return subprocess.CompletedProcess(list(arguments), code, *texts)
