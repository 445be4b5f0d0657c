"""Read, compute and write concurrently: three stages, a few items in flight, ordered results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from fundus_cli.runtime.timeouts import Timeout, TimeoutPool

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Computed = TypeVar("Computed")
Result = TypeVar("Result")

NUM_THREADS = 2
"""Threads for reading, and again for writing; both mostly wait for the disk or for C code."""
AHEAD = 2
"""Items read ahead, and items waiting to be written; more would only use memory."""


def pipelined(
    items: Iterable[Item],
    read: Callable[[Item], Loaded],
    compute: Callable[[Item, Loaded], Computed],
    write: Callable[[Item, Loaded, Computed], Result],
    timeout: Timeout,
    what: Callable[[Item], str],
) -> Iterator[Result]:
    """write(item, loaded, computed) of every item, in order.

    `compute` runs in the caller's thread, `read` and `write` in other threads. Their exceptions are
    raised here; items that have not started are then dropped, and those being written are finished.

    Raises:
        MachineError: reading an item takes too long; what(item) names it.
    """
    waiting = iter(items)
    reading: deque[tuple[Item, Future[Loaded]]] = deque()
    writing: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(NUM_THREADS) as writers, TimeoutPool(NUM_THREADS, timeout) as readers:
        while True:
            for item in islice(waiting, 1 + AHEAD - len(reading)):
                reading.append((item, readers.give(partial(read, item))))
            if not reading:
                break
            item, future = reading.popleft()
            loaded = readers.result(future, what(item))
            writing.append(writers.submit(write, item, loaded, compute(item, loaded)))
            if len(writing) > AHEAD:
                yield writing.popleft().result()
        while writing:
            yield writing.popleft().result()
