"""Run one sweep job in a subprocess and record its outcome."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from fundus_cli.config.overrides import quoted
from fundus_cli.errors import RunFolderError, printable
from fundus_cli.report.run_files import JOB_FILE
from fundus_cli.run.files import write_json
from fundus_cli.run.folder import holder, read_summary
from fundus_cli.run.signals import STOP_SIGNALS, StopRequest
from fundus_cli.runtime.launched import without_mark

JOB_LOG = "job.log"
REASON_LINES = 3
STOPPED_CODES = {128 + s for s in STOP_SIGNALS}
PR_SET_PDEATHSIG = 1
SECONDS_BETWEEN_LOOKS = 0.5


def run_job(
    program: str,
    folder: Path,
    overrides: list[str],
    config_dir: Path | None,
    stop: StopRequest,
    command_id: str,
) -> float | None:
    """Run one job in a subprocess; returns its score, or None when it has none.

    The job runs in its own session, so that Ctrl-C reaches it only once, through the sweep. A job
    of an earlier sweep that is still running in the folder is waited for, and then continued.

    Args:
        program: what to run, as in `train`.
        folder: the job's.
        overrides: the job's words.
        config_dir: folder of the user's own config files.
        stop: signals to this process.
        command_id: of the sweep's command, for the job file.
    """
    note = partial(_note, folder, overrides, command_id)
    command = _command(program, folder, overrides, config_dir)
    started = time.monotonic()
    print(printable(f"[{folder.name}] {' '.join(overrides) or '(defaults)'}"), flush=True)
    while True:
        _wait_for_holder(folder, stop)
        if stop.signum is not None:
            if not (folder / JOB_FILE).exists():
                note("not run", None, "the sweep was stopped", 0.0)
            return None
        code, last_words = _run(command, folder, stop)
        # Between the two looks another process may have taken the folder.
        if code != RunFolderError.exit_code or holder(folder) is None:
            break
    summary = read_summary(folder) or {}
    # A child may exit with 0 before it has finished; only its summary.json decides.
    status = "done" if code == 0 and summary.get("status") == "done" else "failed"
    if code in STOPPED_CODES:
        status = "stopped"
    reason = "" if status == "done" else _reason(code, last_words)
    note(status, code, reason, time.monotonic() - started)
    score = summary.get("score")
    return float(score) if isinstance(score, int | float) else None


def _wait_for_holder(folder: Path, stop: StopRequest) -> None:
    """Wait while another process has locked the folder, and say so once."""
    is_told = False
    while stop.signum is None and (name := holder(folder)) is not None:
        if not is_told:
            print(f"[{folder.name}] still running ({name}); waiting for it", flush=True)
        is_told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _run(command: list[str], folder: Path, stop: StopRequest) -> tuple[int, list[str]]:
    """Run a job to its end; returns its exit code and the last lines of its standard error."""
    last_words: list[str] = []
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=without_mark(),
        start_new_session=True,
        preexec_fn=_stop_with_this_process(),
    ) as child:
        assert child.stderr is not None
        listener = threading.Thread(
            target=_listen, args=(child.stderr, folder / JOB_LOG, last_words), daemon=True
        )
        listener.start()
        code = _wait(child, stop)
        listener.join(timeout=5)
    return code, last_words


def _command(
    program: str, folder: Path, overrides: list[str], config_dir: Path | None
) -> list[str]:
    kept = [line for line in overrides if line.partition("=")[0] not in ("output", "resume")]
    directory = ["--config-dir", str(config_dir)] if config_dir else []
    again = ["resume=auto"] if program == "train" else []
    # -P: a job does not import Python files of the working folder either.
    safe = [] if str(Path.cwd()) in sys.path or "" in sys.path else ["-P"]
    return [
        *(sys.executable, *safe, "-m", "fundus_cli", program),
        *(*directory, *kept, quoted("output", str(folder)), *again),
    ]


def _stop_with_this_process() -> Callable[[], None] | None:
    """A preexec function that asks Linux for SIGTERM if this process dies; None elsewhere."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            # It died before Linux was asked.
            os._exit(128 + signal.SIGTERM)

    return ask


def _note(
    folder: Path,
    overrides: list[str],
    command_id: str,
    status: str,
    code: int | None,
    reason: str,
    duration_s: float,
) -> None:
    content = {
        "overrides": overrides,
        "status": status,
        "exit_code": code,
        "reason": reason,
        "duration_s": round(duration_s, 1),
        "command": command_id,
    }
    write_json(folder / JOB_FILE, content)


def _listen(stream: IO[str], log: Path, last_words: list[str]) -> None:
    """Forward the job's standard error, append it to a log, and keep its last lines."""
    for line in stream:
        try:
            sys.stderr.write(line)
            with log.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError:
            pass  # a closed terminal or a full disk must not end the job
        if line.strip():
            last_words.append(line.strip())
            del last_words[:-REASON_LINES]


def _wait(child: subprocess.Popen[str], stop: StopRequest) -> int:
    """Wait for a job; forward a stop signal once."""
    forwarded = False
    while True:
        try:
            return child.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            if stop.signum is not None and not forwarded:
                forwarded = True
                os.kill(child.pid, stop.signum)


def _reason(code: int, last_words: list[str]) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    if code == 0:
        return "exited without finishing"
    return last_words[-1] if last_words else f"exit code {code}"
