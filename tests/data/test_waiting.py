"""Work that hangs ends in a line and in time; work that does not is done in order."""

import os
import threading
import time
from functools import partial

import pytest

from fundus_cli.data.waiting import Crew, Patience, in_order, in_time
from fundus_cli.errors import MachineError

SHORT = Patience(limit_s=0.3)
LONG = Patience(limit_s=60, key="timeout_s")


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
    with pytest.raises(KeyboardInterrupt), Crew(1, LONG) as crew:
        crew.give(for_ever.wait)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 10
    for_ever.set()


def test_leaving_finishes_what_is_begun_and_drops_the_rest() -> None:
    begun, may_go_on, finished = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        begun.set()
        may_go_on.wait()
        finished.append(number)

    with pytest.raises(KeyboardInterrupt), Crew(1, LONG) as crew:
        for number in range(3):
            crew.give(partial(work, number))
        begun.wait()
        threading.Timer(0.1, may_go_on.set).start()
        raise KeyboardInterrupt
    assert finished == [0]
