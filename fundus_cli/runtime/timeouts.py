"""Work on drives that may have gone away: waited for, but not for ever.

A call to the operating system for a file on a network drive that no longer answers may never
return. Such calls are made by threads that the program does not wait for when it ends.
"""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from fundus_cli.config import DataConfig
from fundus_cli.errors import MachineError

Job = TypeVar("Job")
Result = TypeVar("Result")

LEAVE_S = 1.0
"""Short, because whoever presses Ctrl-C waits for it, too."""
_NAME = "fundus-crew"
MAX_AT_ONCE = 8
"""Each piece of work may hold a decoded image of several hundred megabytes."""


def num_at_once() -> int:
    """How many pieces of work are done at a time: one per core, and not too many."""
    return min(MAX_AT_ONCE, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """How long one piece of work may take.

    Attributes:
        limit_s: seconds.
        key: the key that sets it.
    """

    limit_s: float
    key: str = "data.timeout_s"

    @classmethod
    def of(cls, config: DataConfig) -> "Timeout":
        """What data.timeout_s allows."""
        return cls(limit_s=config.timeout_s)

    def over(self, what: str) -> MachineError:
        """The error when `what`, as in `reading a.png`, has taken longer."""
        return MachineError(
            f"{what} has taken more than {self.limit_s:g} s; is the drive still there? "
            f"{self.key} waits longer"
        )


class Crew:
    """A few threads that take up what they are given in its order; a context manager.

    Leaving it drops what is not begun and gives what is LEAVE_S to finish, so that a file which is
    being copied is copied, and waits as long for the threads themselves: one that still frees
    tensors while the interpreter ends aborts the process. Threads that hang are left behind.
    """

    def __init__(self, num_threads: int, timeout: Timeout) -> None:
        self._timeout = timeout
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._waiting = queue.SimpleQueue()
        self._given: list[Future[Any]] = []
        self._threads = [
            threading.Thread(target=self._work, name=_NAME, daemon=True) for _ in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def give(self, work: Callable[[], Result]) -> "Future[Result]":
        """Have `work` called as soon as a thread is free."""
        future: Future[Result] = Future()
        self._given.append(future)
        self._waiting.put((future, work))
        return future

    def result(self, future: "Future[Result]", what: str) -> Result:
        """What came of it, or the exception that it raised; for the oldest one not yet taken.

        Raises:
            MachineError: it takes too long; `what` says what it is, as in `reading a.png`.
        """
        try:
            # Not result(): a TimeoutError may also be what the work has raised.
            future.exception(self._timeout.limit_s)
        except TimeoutError:
            raise self._timeout.over(what) from None
        self._given = [one for one in self._given if not one.done()]
        return future.result()

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            future, work = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                # An image is not to be kept until the next one is read.
                del result
            del task, future, work

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for future in self._given:
            future.cancel()
        for _ in self._threads:
            self._waiting.put(None)
        until = time.monotonic() + LEAVE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))


def any_left_behind() -> bool:
    """Whether a thread of a Crew still runs, as one does that waits for a drive."""
    return any(thread.name == _NAME for thread in threading.enumerate())


def in_time(work: Callable[[], Result], timeout: Timeout, what: str) -> Result:
    """What `work` returns or raises.

    Raises:
        MachineError: it takes too long; `what` says what it is, as in `listing a folder`.
    """
    with Crew(1, timeout) as crew:
        return crew.result(crew.give(work), what)


def in_order(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    timeout: Timeout,
    what: Callable[[Job], str],
) -> Generator[Result, None, None]:
    """function(job) of every job on `num_at_once` threads, in order; two per thread wait at most.

    Raises:
        MachineError: one takes too long; what(job) says what it is, as in `reading a.png`.
    """
    threads = num_at_once()
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    with Crew(threads, timeout) as crew:
        for job in jobs:
            waiting.append((job, crew.give(partial(function, job))))
            if len(waiting) >= 2 * threads:
                first, future = waiting.popleft()
                yield crew.result(future, what(first))
        while waiting:
            first, future = waiting.popleft()
            yield crew.result(future, what(first))
