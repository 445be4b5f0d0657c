"""What the first signal does, that its echo is not a second one, and that a second one ends it."""

import signal
import subprocess
import sys
import time

import pytest

from fundus_cli.errors import Interrupted
from fundus_cli.run.signals import StopRequest

WAITER = """
import os, signal, sys, time, weakref
from fundus_cli.run.signals import StopRequest
stop = StopRequest("fundus-test").install()
"""
DEFERRED = """
stop.defer()
print("ready", flush=True)
while True:
    time.sleep(0.02)
    if stop.signum is not None:
        print("asked", flush=True)
        time.sleep(30)
"""
SWALLOWED = """
class Thing: pass
def callback(reference):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)
with stop.unwinding():
    thing = Thing()
    reference = weakref.ref(thing, callback)
    del thing
    print("went on")
print("went on")
"""
CAUGHT = """
with stop.unwinding():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    except BaseException:
        print("swallowed")
print("went on")
"""
COMPLETE = """
stop.defer()
os.kill(os.getpid(), signal.SIGHUP)
print("work", flush=True)
stop.leave_at_once("all is written")
print("went on")
"""
IGNORED = """
time.sleep(0.01)
os.kill(os.getpid(), signal.SIGHUP)
print("went on")
"""


def test_the_echo_of_a_signal_is_ignored_and_a_second_one_ends_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITER + DEFERRED], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "asked\n"
        time.sleep(1.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def outcome(code: str, **popen: object) -> tuple[int, str, str]:
    result = subprocess.run(
        [sys.executable, "-c", WAITER + code], capture_output=True, text=True, timeout=60, **popen
    )
    return result.returncode, result.stdout, result.stderr.splitlines()[-1] if result.stderr else ""


def test_at_first_it_ends_the_process_where_it_stands() -> None:
    code, out, errors = outcome(
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(1)\n"
        "except BaseException:\n    print('caught')"
    )
    assert (code, out) == (143, "")
    assert errors == (
        "fundus-test: SIGTERM: stopped, nothing to save; the same command starts again"
    )


def test_an_exception_that_python_drops_still_ends_the_process() -> None:
    """In a weak reference's callback, which every import makes use of."""
    code, out, errors = outcome(SWALLOWED)
    assert (code, out) == (143, "")
    assert errors.startswith("fundus-test: SIGTERM: stopped")


def test_an_exception_that_a_library_catches_is_raised_again_after_the_block() -> None:
    code, out, errors = outcome(CAUGHT)
    assert (code, out) == (1, "swallowed\n")
    assert errors.startswith("fundus_cli.errors.Interrupted: SIGTERM: stopped")


def test_once_all_is_written_a_signal_that_waits_ends_it() -> None:
    assert outcome(COMPLETE) == (129, "work\n", "fundus-test: SIGHUP: all is written")


def test_under_nohup_a_hangup_is_nothing() -> None:
    ignored = outcome(IGNORED, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert ignored == (0, "went on\n", "")


def test_where_files_are_half_made_it_raises_what_no_library_catches() -> None:
    stop = StopRequest()
    with (
        pytest.raises(Interrupted, match="SIGTERM: stopped, nothing to save") as caught,
        stop.unwinding(),
    ):
        try:
            stop._on_stop(signal.SIGTERM, None)
        except Exception:
            pytest.fail("an `except Exception` took it")
    assert caught.value.exit_code == 143


def test_once_deferred_it_waits_for_a_boundary() -> None:
    stop = StopRequest()
    stop.defer()
    stop.raise_if_asked("nothing happened")
    stop._on_stop(signal.SIGINT, None)
    with pytest.raises(Interrupted, match="SIGINT: saved"):
        stop.raise_if_asked("saved")
