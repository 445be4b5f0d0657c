"""Handle TERM, INT and HUP: the first one stops the work in order, a second one at once."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from fundus_cli.errors import Interrupted

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)

SAME_STOP_S = 1.0
"""Signals within this time after the first are taken for the same request: a service manager
signals every process of a job, and a sweep forwards the signal to its job too."""

NOTHING_TO_SAVE = "stopped, nothing to save; the same command starts again"


class StopRequest:
    """Whether the operating system has asked this process to stop.

    At first a signal ends the process immediately: libraries are being imported, and an exception
    raised during an import may be swallowed. Inside `unwinding` it raises Interrupted, so that
    unfinished files are removed. After `defer` it only sets a flag that the loop reads between
    steps.

    Args:
        program: the name printed before messages.
    """

    def __init__(self, program: str = "fundus") -> None:
        self.signum: int | None = None
        self.save_now = False
        self._program = program
        self._message = NOTHING_TO_SAVE
        self._answer: Callable[[int], object] = self._leave
        self._asked_at = 0.0

    def install(self) -> "StopRequest":
        """Install the handlers; call from the main thread, before slow imports."""
        for signum in STOP_SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._on_stop)
        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, self._on_save)
        return self

    @contextlib.contextmanager
    def unwinding(self) -> Iterator[None]:
        """A block in which a signal raises Interrupted; leaving it raises one that was swallowed.

        Python drops exceptions raised in finalizers and weakref callbacks; they reach
        `sys.unraisablehook`, and the process ends there.
        """
        answer, hook = self._answer, sys.unraisablehook

        def caught(dropped: "sys.UnraisableHookArgs") -> None:
            if isinstance(dropped.exc_value, Interrupted):
                self._leave(dropped.exc_value.exit_code - 128)
            hook(dropped)

        self._answer, sys.unraisablehook = self._raise, caught
        try:
            yield
            self.raise_if_asked(self._message)
        finally:
            self._answer, sys.unraisablehook = answer, hook

    def defer(self) -> None:
        """From now on signals wait for `raise_if_asked`."""
        self._answer = self._wait

    def leave_at_once(self, message: str) -> None:
        """Everything is written: from now on a signal, or a pending one, ends the process at
        once."""
        self._message, self._answer = message, self._leave
        if self.signum is not None:
            self._leave(self.signum)

    def raise_if_asked(self, message: str) -> None:
        """Raise Interrupted with `message` when a signal has arrived."""
        if self.signum is not None:
            raise Interrupted(f"{signal.Signals(self.signum).name}: {message}", self.signum)

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum, self._asked_at = signum, time.monotonic()
            self._answer(signum)
        elif time.monotonic() - self._asked_at > SAME_STOP_S:
            os._exit(128 + signum)

    def _leave(self, signum: int) -> NoReturn:
        # Not print(), which the signal may have interrupted.
        line = f"{self._program}: {signal.Signals(signum).name}: {self._message}\n"
        with contextlib.suppress(OSError):
            # On a terminal, start below a progress bar.
            os.write(2, ("\n" * os.isatty(2) + line).encode())
        os._exit(128 + signum)

    def _raise(self, signum: int) -> None:
        self.raise_if_asked(self._message)

    def _wait(self, signum: int) -> None:
        pass

    def _on_save(self, signum: int, frame: FrameType | None) -> None:
        self.save_now = True
