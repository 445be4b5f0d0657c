"""The first signal asks, its echo is not a second one, and a second one ends the process."""

import signal
import subprocess
import sys
import time

import pytest

from fundus_cli.errors import Interrupted
from fundus_cli.run.signals import StopRequest

WAITER = """
import time
from fundus_cli.run.signals import StopRequest
stop = StopRequest().install()
stop.defer()
print("ready", flush=True)
while True:
    time.sleep(0.02)
    if stop.signum is not None:
        print("asked", flush=True)
        time.sleep(30)
"""


def test_the_echo_of_a_signal_is_ignored_and_a_second_one_ends_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "asked\n"
        time.sleep(1.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=1) == 130


def test_before_the_run_begins_a_signal_raises_what_no_library_catches() -> None:
    stop = StopRequest()
    with pytest.raises(Interrupted, match="SIGTERM: stopped, nothing to save") as caught:
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
