"""Faults for real commands in processes of their own: kill -9 at a rename, a full disk, and more.

The faults come from a `sitecustomize.py` that only the tests put on PYTHONPATH; the program has no
hooks for them.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from conftest import ONE_THREAD, small
from forked import listen_to_signals, run_command

SITECUSTOMIZE = """
import json, os, signal, sys, time

FAULTS = json.loads(os.environ.get("FUNDUS_TEST_FAULTS", "[]"))
JOURNAL = os.environ.get("FUNDUS_TEST_JOURNAL")
seen = []


def act(what):
    if what == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, what))
    elif what == "leave":
        os._exit(0)
    elif what == "memory":
        raise MemoryError
    elif what == "raise":
        raise ZeroDivisionError("injected")
    elif what == "wait":
        time.sleep(600)


def about_to(operation, name):
    seen.append(f"{operation} {name}")
    if JOURNAL:
        with open(JOURNAL, "a") as file:
            file.write(seen[-1] + "\\n")
    for fault in FAULTS:
        if fault.get("argv", "") not in " ".join(sys.orig_argv):
            continue
        if "at" in fault and len(seen) == fault["at"]:
            act(fault["do"])
        if seen[-1] == fault.get("before") and seen.count(seen[-1]) == fault.get("nth", 1):
            act(fault["do"])


def wrap(name, title):
    plain = getattr(os, name)

    def wrapped(*arguments, **named):
        about_to(name, title(arguments))
        return plain(*arguments, **named)

    setattr(os, name, wrapped)


base = os.path.basename
wrap("fsync", lambda a: "")
wrap("replace", lambda a: base(os.fspath(a[1])))
wrap("link", lambda a: base(os.fspath(a[1])).split(".")[1])

if os.environ.get("FUNDUS_TEST_NO_NETWORK"):
    import socket

    def refuse(*arguments):
        raise AssertionError("network")

    socket.socket.connect = refuse

if os.environ.get("FUNDUS_TEST_STUCK"):
    import builtins, io, threading

    plain_open = io.open

    def stuck(file, *arguments, **named):
        name = "" if isinstance(file, int) else base(os.fspath(file))
        if name == os.environ["FUNDUS_TEST_STUCK"]:
            threading.Event().wait()
        return plain_open(file, *arguments, **named)

    io.open = stuck
"""


def environment(
    folder: Path, faults: list[dict[str, Any]] | None = None, **more: str
) -> dict[str, str]:
    """The environment of a command with faults; each fault is {argv?, at | before + nth?, do}."""
    site = folder / "sitecustomize"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        **ONE_THREAD,
        "PYTHONPATH": path,
        "FUNDUS_TEST_FAULTS": json.dumps(faults or []),
        **more,
    }


@contextlib.contextmanager
def started(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, **popen: Any
) -> Iterator[subprocess.Popen[str]]:
    """`fundus-<first argument>` running in `folder`, in a session of its own; killed at the end."""
    prepare = popen.pop("preexec_fn", lambda: None)

    def prepared() -> None:
        listen_to_signals()
        prepare()

    process = subprocess.Popen(
        [sys.executable, "-m", "fundus_cli", *arguments],
        cwd=folder,
        env={**os.environ, **ONE_THREAD} if env is None else dict(env),
        stdout=popen.pop("stdout", subprocess.PIPE),
        stderr=popen.pop("stderr", subprocess.PIPE),
        text=True,
        start_new_session=True,
        preexec_fn=prepared,
        **popen,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    **popen: Any,
) -> subprocess.CompletedProcess[str]:
    """The command to its end; a hang is a failure.

    Without `env` and arguments for Popen it is a fork of this process instead of a new interpreter.
    """
    if env is None and not popen:
        with tempfile.TemporaryDirectory() as scratch:
            return run_command(folder, *arguments, scratch=Path(scratch), timeout=timeout)
    with started(folder, *arguments, env=env, **popen) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(arguments, process.returncode, out or "", err or "")


def wait_until(condition: Any, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Look every 10 ms until the condition holds or the process has ended."""
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def fingerprint(path: Path) -> str:
    """sha256 over every tensor of network, average and optimizer, counters of batch norm too."""
    content = torch.load(path, weights_only=True)
    digest = hashlib.sha256()
    tensors = {**content["model"], **{f"a.{k}": v for k, v in (content["averaged"] or {}).items()}}
    for number, state in content["optimizer"]["state"].items():
        tensors |= {f"{number}.{name}": t for name, t in state.items()}
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def result_of(run_folder: Path) -> dict[str, str]:
    """All that must be the same after an interruption: weights, best weights, log and scores."""
    files = {name: (run_folder / name).read_bytes() for name in ("log.csv", "metrics.json")}
    return {
        "last.pt": fingerprint(run_folder / "last.pt"),
        "best.pt": fingerprint(run_folder / "best.pt"),
        **{name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def complaint(result: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """Check the exit code, that there is no traceback, and the words; returns standard error."""
    assert result.returncode == code, f"exit {result.returncode}: {result.stderr[-2000:]}"
    assert "Traceback" not in result.stderr, result.stderr
    assert 1 <= len(result.stderr.strip().splitlines()) <= 5, result.stderr
    for word in words:
        assert word in result.stderr, f"{word!r} not in {result.stderr!r}"
    return result.stderr


def train(data: Path | str, output: str, *more: str) -> list[str]:
    """Arguments of a run of a second or two."""
    return ["train", f"data.root={data}", f"output={output}", *small(*more)]


LONG = ("epochs=3", "batch_size=2", "data.patches_per_image=3", "data.val_fraction=0.4")
"""Overrides of the run that is interrupted: 6 steps an epoch or so, with images of val."""


def descendants(pid: int) -> list[int]:
    """Living children of a process, from /proc."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found
