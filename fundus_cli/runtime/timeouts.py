"""File access with a timeout, so that an unresponsive network drive cannot hang the program.

A system call for a file on a network drive that no longer answers may never return. Such calls are
made in threads that the program does not wait for when it exits.
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
"""Seconds that running work gets to finish; short, because Ctrl-C waits for it too."""
_NAME = "fundus-pool"
MAX_AT_ONCE = 8
"""Maximum number of threads; each may hold a decoded image of several hundred megabytes."""


def num_at_once() -> int:
    """Number of threads: one per core, up to a maximum."""
    return min(MAX_AT_ONCE, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """The time that one piece of work may take.

    Attributes:
        limit_s: seconds.
        key: the key that sets it.
    """

    limit_s: float
    key: str = "data.timeout_s"

    @classmethod
    def of(cls, config: DataConfig) -> "Timeout":
        """The timeout that data.timeout_s sets."""
        return cls(limit_s=config.timeout_s)

    def over(self, what: str) -> MachineError:
        """The error to raise when `what`, as in `reading a.png`, has taken longer."""
        return MachineError(
            f"{what} has taken more than {self.limit_s:g} s; does the drive still respond? "
            f"{self.key} waits longer"
        )


class TimeoutPool:
    """A small thread pool that can abandon blocked threads; a context manager.

    On exit, work that has not started is dropped, and running work gets LEAVE_S seconds, so that a
    file which is being copied is finished. The threads themselves are joined for as long: a thread
    that frees tensors during interpreter shutdown would abort the process. Blocked threads are
    abandoned.
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
        """Call `work` as soon as a thread is free."""
        future: Future[Result] = Future()
        self._given.append(future)
        self._waiting.put((future, work))
        return future

    def result(self, future: "Future[Result]", what: str) -> Result:
        """The result of the oldest unclaimed work, or the exception that it raised.

        Raises:
            MachineError: it takes too long; `what` names it, as in `reading a.png`.
        """
        try:
            # Not result(timeout): the work itself may raise a TimeoutError.
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
                # Do not keep an image alive until the next one is read.
                del result
            del task, future, work

    def __enter__(self) -> "TimeoutPool":
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


def any_blocked() -> bool:
    """Whether a thread is still blocked, for example on an unresponsive drive."""
    return any(thread.name == _NAME for thread in threading.enumerate())


def in_time(work: Callable[[], Result], timeout: Timeout, what: str) -> Result:
    """The result of `work`, or the exception that it raises.

    Raises:
        MachineError: it takes too long; `what` names it, as in `listing a folder`.
    """
    with TimeoutPool(1, timeout) as pool:
        return pool.result(pool.give(work), what)


def in_order(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    timeout: Timeout,
    what: Callable[[Job], str],
) -> Generator[Result, None, None]:
    """Yield function(job) of every job in order, computed by `num_at_once` threads.

    Raises:
        MachineError: a job takes too long; what(job) names it, as in `reading a.png`.
    """
    threads = num_at_once()
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    with TimeoutPool(threads, timeout) as pool:
        for job in jobs:
            waiting.append((job, pool.give(partial(function, job))))
            if len(waiting) >= 2 * threads:
                first, future = waiting.popleft()
                yield pool.result(future, what(first))
        while waiting:
            first, future = waiting.popleft()
            yield pool.result(future, what(first))
