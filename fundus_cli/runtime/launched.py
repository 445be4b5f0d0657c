"""End the processes of a parallel launcher when the program that started them is killed.

joblib and submitit start workers that outlive their parent, some for minutes and some for good.
A small process that survives the program watches for its end.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

MARK = "FUNDUS_LAUNCHED_BY"
"""Environment variable that every process of a launcher inherits, with a value for one program."""
SCANS = 6
SECONDS_BETWEEN_SCANS = 0.5
"""Several scans: a process that is being started while the program is killed has no mark yet."""
WATCH = (
    "import sys; sys.path[:] = sys.argv[2:]; from fundus_cli.runtime.launched import watch; watch()"
)


@contextlib.contextmanager
def ended_with_this_process() -> Iterator[None]:
    """Processes started from here on end with this one, even if that is killed; Linux only.

    They end by SIGKILL. A process that should end in order is started without the mark
    (`without_mark`), by one that has it, and asks Linux for a signal on its parent's death.
    """
    if sys.platform != "linux":
        yield
        return
    mark = uuid.uuid4().hex
    # Its standard input closes when this process ends, in whatever way.
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WATCH, mark, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watcher:
        os.environ[MARK] = mark
        try:
            yield
        finally:
            del os.environ[MARK]
            watcher.kill()


def without_mark() -> dict[str, str]:
    """The environment for a process that is to survive the launcher's."""
    return {name: value for name, value in os.environ.items() if name != MARK}


def watch() -> None:
    """Main function of the watching process: wait for the end, then kill what has the mark."""
    mark = f"{MARK}={sys.argv[1]}".encode()
    with contextlib.suppress(OSError):
        sys.stdin.buffer.read()
    for _ in range(SCANS):
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                marked = mark in (folder / "environ").read_bytes().split(b"\0")
                # joblib's process that removes its temporary files ends by itself after the others.
                if marked and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
        time.sleep(SECONDS_BETWEEN_SCANS)
