"""TERM, INT and HUP: stop at the next step boundary; a second one stops at once."""

import os
import signal
import sys
import time
from types import FrameType

from fundus_cli.errors import Interrupted

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)

SAME_STOP_S = 1.0
"""Signals that follow the first within this time are its echo: a service manager tells every
process of a job, and a sweep passes on to its job what it was told itself."""


class StopRequest:
    """What the operating system asked of this process.

    Until `defer` is called a signal raises Interrupted where the program stands: nothing is
    worth saving yet. From then on it only sets a flag that the loop reads between two steps.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.save_now = False
        self._deferred = False
        self._asked_at = 0.0

    def install(self) -> "StopRequest":
        """Take over the signals; call from the main thread, before torch is imported."""
        for signum in STOP_SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._on_stop)
        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, self._on_save)
        return self

    def defer(self) -> None:
        """From now on signals wait for `raise_if_asked`."""
        self._deferred = True

    def raise_if_asked(self, message: str) -> None:
        """Raise Interrupted with `message` when a signal has arrived."""
        if self.signum is not None:
            raise Interrupted(f"{signal.Signals(self.signum).name}: {message}", self.signum)

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            if time.monotonic() - self._asked_at > SAME_STOP_S:
                sys.stderr.flush()
                os._exit(128 + signum)
            return
        self.signum, self._asked_at = signum, time.monotonic()
        if not self._deferred:
            name = signal.Signals(signum).name
            raise Interrupted(
                f"{name}: stopped, nothing to save; the same command begins again", signum
            )

    def _on_save(self, signum: int, frame: FrameType | None) -> None:
        self.save_now = True
