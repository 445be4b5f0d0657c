"""Forked commands with faults: for long series of kills."""

import faulthandler
import itertools
import json
import os
import runpy
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import fork_command
from reliability.kit import SITECUSTOMIZE


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

        def prepared() -> None:
            faulthandler.register(signal.SIGUSR2, all_threads=True)
            os.environ["FUNDUS_TEST_FAULTS"] = json.dumps(faults or [])
            if journal is not None:
                os.environ["FUNDUS_TEST_JOURNAL"] = str(journal)
            prepare()
            site = folder / "sitecustomize.py"
            site.write_text(SITECUSTOMIZE)
            runpy.run_path(str(site))

        stdout, stderr = folder / "stdout", folder / "stderr"
        self.pid = fork_command(folder, arguments, stdout, stderr, prepared)

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
