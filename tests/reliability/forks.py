"""The programs in a process of its own that need not import torch again: for long series of kills.

The process is forked from the tests, which have the imports behind them; everything else is what
the command does. One start takes a tenth of a second instead of several.
"""

import contextlib
import faulthandler
import importlib
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import torch
from reliability.kit import SITECUSTOMIZE, listen_to_signals

from fundus_cli.cli.main import main

# Imported here so that no child has to: what scores and draws comes at the end of a run, the page's
# parts with the page. PageFigure needs no display.
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


class Forked:
    """One start of `fundus-<first argument>` in `folder`.

    Args:
        faults: as in `kit.environment`.
        journal: a file for the order of syncs, links and renames.
        prepare: called in the new process before the command.

    Attributes:
        pid: of the process, which leads a session of its own.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        faults: list[dict[str, Any]] | None = None,
        journal: Path | None = None,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        self.folder = folder
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be_the_command(arguments, faults or [], journal, prepare)

    def _be_the_command(
        self,
        arguments: tuple[str, ...],
        faults: list[dict[str, Any]],
        journal: Path | None,
        prepare: Callable[[], object],
    ) -> None:
        code = 1
        try:
            os.setsid()
            os.chdir(self.folder)
            for descriptor, name in ((1, "stdout"), (2, "stderr")):
                file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                os.dup2(file, descriptor)
                setattr(sys, name, os.fdopen(descriptor, "w", buffering=1))
            listen_to_signals()
            faulthandler.register(signal.SIGUSR2, all_threads=True)
            torch.set_num_threads(1)
            os.environ["FUNDUS_TEST_FAULTS"] = json.dumps(faults)
            if journal is not None:
                os.environ["FUNDUS_TEST_JOURNAL"] = str(journal)
            prepare()
            site = self.folder / "sitecustomize.py"
            site.write_text(SITECUSTOMIZE)
            runpy.run_path(str(site))
            sys.argv = [f"fundus-{arguments[0]}", *arguments[1:]]
            code = main(arguments[0])
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, seconds: float = 120) -> int:
        """The exit code; a hang is a failure that shows where every thread stands."""
        end = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGUSR2)
                time.sleep(2)
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"hangs: {self.said('stderr')}")
            time.sleep(0.01)
        return code

    def result(self, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Exit code and output, as of a command."""
        code = self.wait(seconds)
        return subprocess.CompletedProcess("", code, self.said("stdout"), self.said("stderr"))

    def said(self, stream: str) -> str:
        """What it printed."""
        return (self.folder / stream).read_text()


def signal_at(owner: object, name: str, nth: int, signum: int) -> Callable[[], None]:
    """A `prepare` that sends `signum` to the process at the nth call of `owner.name`."""

    def prepare() -> None:
        plain, calls = getattr(owner, name), itertools.count(1)

        def calling(*arguments: Any, **named: Any) -> Any:
            if next(calls) == nth:
                os.kill(os.getpid(), signum)
            return plain(*arguments, **named)

        setattr(owner, name, calling)

    return prepare
