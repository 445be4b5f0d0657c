"""Work that hangs ends in a line and in time; work that does not is done in order."""

import os
import threading
import time
import weakref
from functools import partial

import pytest

from fundus_cli.errors import MachineError
from fundus_cli.runtime.timeouts import Timeout, TimeoutPool, any_blocked, in_order, in_time

SHORT = Timeout(limit_s=0.3)
LONG = Timeout(limit_s=60, key="timeout_s")


def named(number: int) -> str:
    return f"reading {number}"


def test_results_come_in_order_and_few_wait() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.002 * (number % 3))
        return number

    limit = 2 * (os.cpu_count() or 1)
    taken = []
    for result in in_order(work, range(60), LONG, named):
        taken.append(result)
        assert len(started) - len(taken) <= limit
    assert taken == list(range(60))


def test_one_that_hangs_is_named_in_time_and_left_behind() -> None:
    for_ever = threading.Event()

    def work(number: int) -> int:
        if number == 3:
            for_ever.wait()
        return number

    started = time.monotonic()
    taken = []
    with pytest.raises(MachineError, match=r"reading 3 .* more than 0\.3 s.*data\.timeout_s"):
        for result in in_order(work, range(60), SHORT, named):
            taken.append(result)
    assert taken == [0, 1, 2]
    assert time.monotonic() - started < 5
    for_ever.set()


def test_what_is_returned_or_raised_reaches_the_caller() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    assert in_time(lambda: 5, LONG, "counting") == 5
    with pytest.raises(ZeroDivisionError):
        in_time(broken, LONG, "counting")
    with pytest.raises(MachineError, match=r"counting has taken more than 0\.3 s"):
        in_time(partial(time.sleep, 1), SHORT, "counting")


def test_leaving_does_not_wait_for_what_hangs() -> None:
    for_ever = threading.Event()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), TimeoutPool(1, LONG) as pool:
        pool.give(for_ever.wait)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 10
    for_ever.set()


def test_leaving_finishes_what_is_begun_and_drops_the_rest() -> None:
    begun, may_go_on, finished = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        begun.set()
        may_go_on.wait()
        finished.append(number)

    with pytest.raises(KeyboardInterrupt), TimeoutPool(1, LONG) as pool:
        for number in range(3):
            pool.give(partial(work, number))
        begun.wait()
        threading.Timer(0.1, may_go_on.set).start()
        raise KeyboardInterrupt
    assert finished == [0]


class Slow:
    """Takes time to go, as large tensors do."""

    def __del__(self) -> None:
        time.sleep(0.2)


def test_leaving_waits_for_threads_that_still_free_what_they_made() -> None:
    def make() -> int:
        kept.append(threading.current_thread())
        of_thread.slow = Slow()
        return 5

    kept: list[threading.Thread] = []
    of_thread = threading.local()
    with TimeoutPool(2, LONG) as pool:
        assert pool.result(pool.give(make), "making") == 5
    assert kept and not any(thread.is_alive() for thread in kept)


def test_a_thread_keeps_nothing_of_what_it_has_handed_over() -> None:
    with TimeoutPool(1, LONG) as pool:
        made = pool.result(pool.give(Slow), "making")
        seen, until = weakref.ref(made), time.monotonic() + 5
        del made
        while seen() is not None and time.monotonic() < until:
            time.sleep(0.01)
        assert seen() is None


def test_threads_that_hang_are_known_to_be_left_behind() -> None:
    begun, for_ever = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        for_ever.wait()

    with TimeoutPool(1, LONG) as pool:
        pool.give(hang)
        begun.wait()
    assert any_blocked()
    for_ever.set()
