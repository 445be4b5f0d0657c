"""Processes of their own, so that start-up and memory are theirs alone."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What became of a process.

    Attributes:
        output: what it wrote.
        seconds: from its start to its end, or to the text that was waited for.
        peak_mb: the most memory that it held.
    """

    output: str
    seconds: float
    peak_mb: float


def run(command: list[str]) -> Child:
    """Run to the end; raises CalledProcessError with the output when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    seconds = time.perf_counter() - started
    return Child(output=output, seconds=seconds, peak_mb=usage.ru_maxrss / 1024)


def seconds_until(command: list[str], pattern: str) -> float:
    """Seconds until a process on a terminal of its own shows `pattern`; then it is ended."""
    started = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.execv(command[0], command)
    # Without a width a progress bar draws nothing.
    termios.tcsetwinsize(terminal, (24, 120))
    seen = ""
    with contextlib.suppress(OSError):
        while not re.search(pattern, seen):
            seen += os.read(terminal, 4096).decode(errors="replace")
    seconds = time.perf_counter() - started
    os.close(terminal)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 9)
    os.waitpid(process, 0)
    if not re.search(pattern, seen):
        raise RuntimeError(
            f"{' '.join(command)}: ended before it showed {pattern!r}: {seen[-500:]}"
        )
    return seconds


def train_command(output: Path, *overrides: str) -> list[str]:
    """fundus-train of this interpreter's environment."""
    return [sys.executable, "-m", "fundus_cli", "train", f"output={output}", *overrides]
