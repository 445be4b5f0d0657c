"""Sweeps and clocks, sweeps whose processes are killed, jobs that are still running."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import small
from reliability.forks import Forked
from reliability.kit import descendants, run, started, wait_until

from fundus_cli.cli import sweep_job
from fundus_cli.cli.sweep import _conclude
from fundus_cli.cli.sweep_job import run_job
from fundus_cli.run.folder import locked
from fundus_cli.run.signals import StopRequest
from fundus_cli.runtime.launched import MARK, ended_with_this_process, without_mark

LAUNCHERS = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher"}
AN_HOUR_S = 3600.0


def with_clock(offset_s: float) -> Callable[[], None]:
    """A `prepare` after which job files bear the times of a clock that is off."""

    def prepare() -> None:
        plain = sweep_job.write_json

        def writing(path: Path, content: object) -> None:
            plain(path, content)
            os.utime(path, (time.time() + offset_s, time.time() + offset_s))

        sweep_job.write_json = writing  # type: ignore[attr-defined]

    return prepare


@pytest.mark.parametrize("offset_s", [-AN_HOUR_S, AN_HOUR_S], ids=["behind", "ahead"])
def test_a_failed_job_counts_whatever_the_clock_of_the_drive(
    tmp_path: Path, offset_s: float
) -> None:
    arguments = ("train", "-m", "data.root=nowhere", "seed=1", "hydra.sweep.dir=sweep")
    result = Forked(tmp_path, *arguments, prepare=with_clock(offset_s)).result()
    assert result.returncode == 7, result.stderr
    assert "sweep finished, 1 failed" in result.stderr


def test_failed_jobs_of_earlier_commands_do_not_count(tmp_path: Path) -> None:
    jobs = (("0", "done", "now"), ("1", "failed", "before"), ("2", "failed", "now"), ("3", "x", ""))
    for name, status, command in jobs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.json").write_text(
            json.dumps({"status": status, "overrides": [f"seed={name}"], "command": command})
        )
    assert _conclude(tmp_path, "now", StopRequest()) == 1
    assert _conclude(tmp_path, "another", StopRequest()) == 0


def job(folder: Path, program: str, *words: str) -> dict[str, object]:
    run_job(program, folder, list(words), None, StopRequest(), "now")
    content = json.loads((folder / "job.json").read_text())
    assert isinstance(content, dict)
    return content


@contextlib.contextmanager
def held_for(folder: Path, seconds: float) -> object:
    """Another process has locked the folder, and leaves it after some seconds."""
    code = (
        "import time\nfrom fundus_cli.run.folder import locked\n"
        f"with locked({str(folder)!r}):\n print(flush=True)\n time.sleep({seconds})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield other.pid


def test_a_job_that_is_still_running_is_named_and_waited_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with held_for(tmp_path / "0", 2) as pid:
        begun = time.monotonic()
        found = job(tmp_path / "0", "train", "data.root=nowhere")
        assert time.monotonic() - begun > 1
    assert capfd.readouterr().out.count(f"[0] still running (pid {pid} on ") == 1
    assert "does not exist" in str(found["reason"])
    assert found["exit_code"] == 3


def test_a_folder_that_is_taken_at_the_last_moment_is_waited_for(
    tmp_path: Path,
    shared_tiny_set: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The job itself finds the folder in use; it is started again, not called failed."""
    plain, looks = sweep_job.holder, iter([None])
    monkeypatch.setattr(sweep_job, "holder", lambda folder: next(looks, plain(folder)))
    release = threading.Event()
    with contextlib.ExitStack() as lock:
        lock.enter_context(locked(str(tmp_path / "0")))
        threading.Timer(12, lambda: (lock.close(), release.set())).start()
        found = job(tmp_path / "0", "check", f"data.root={shared_tiny_set}", "data=folder")
        assert release.is_set()
    assert "in use by pid" in capfd.readouterr().err
    assert found["exit_code"] == 0


def test_a_sweep_that_is_stopped_stops_waiting(tmp_path: Path) -> None:
    stop = StopRequest()
    threading.Timer(0.5, setattr, (stop, "signum", signal.SIGTERM)).start()
    with locked(str(tmp_path / "0")):
        run_job("train", tmp_path / "0", [], None, stop, "now")
        content = json.loads((tmp_path / "0" / "job.json").read_text())
    assert (content["status"], content["reason"]) == ("not run", "the sweep was stopped")


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for_end(pids: list[int], seconds: float) -> None:
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if is_running(pid)]:
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        assert time.monotonic() < end, commands
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is ended")
@pytest.mark.parametrize("is_killed", [True, False])
def test_marked_processes_end_with_a_killed_one_and_only_with_that(
    tmp_path: Path, is_killed: bool
) -> None:
    """A process in a session of its own, one that its parent has left behind, one without mark."""
    line = "sleep 60 & echo $! >> pids"
    parent = os.fork()
    if parent == 0:
        os.chdir(tmp_path)
        with ended_with_this_process():
            for new_session in (False, True):
                subprocess.run(["sh", "-c", line], start_new_session=new_session, check=False)
            subprocess.run(["sh", "-c", line], env=without_mark(), check=False)
            if is_killed:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(17 if MARK in os.environ else 0)
    _, status = os.waitpid(parent, 0)
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if is_killed else 0)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    try:
        if is_killed:
            wait_for_end(pids[:2], 20)
        else:
            time.sleep(1)
        assert [is_running(pid) for pid in pids] == [not is_killed, not is_killed, True]
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def parallel(data: Path, launcher: str, *more: str) -> list[str]:
    """A sweep of two jobs; joblib has a third worker, which gets none."""
    workers = {"joblib": "hydra.launcher.n_jobs=3", "submitit_local": "hydra.launcher.name=tests"}
    choice = (f"hydra/launcher={launcher}", workers[launcher], "hydra.sweep.dir=sweep")
    return ["train", "-m", f"data.root={data}", *small(*more), "seed=1,2", *choice]


def processes_in(folder: Path) -> list[int]:
    """Every process that works in this folder, whoever its parent is now."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cwd").readlink() == folder:
                found.append(int(path.name))
    return [pid for pid in found if is_running(pid)]


def needs(launcher: str) -> None:
    if importlib.util.find_spec(f"hydra_plugins.{LAUNCHERS[launcher]}") is None:
        pytest.skip(f"hydra/launcher={launcher} is not installed")


def both_have_begun(folder: Path) -> bool:
    return all((folder / "sweep" / name / "last.pt").exists() for name in "01")


@pytest.mark.slow
@pytest.mark.timeout(580)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_parallel_sweep_leaves_no_process_and_can_be_finished(
    tmp_path: Path, shared_tiny_set: Path, launcher: str
) -> None:
    needs(launcher)
    log = (tmp_path / "log").open("w")
    arguments = parallel(shared_tiny_set, launcher, "epochs=25")
    with log, started(tmp_path, *arguments, stdout=log, stderr=log) as process:
        wait_until(lambda: both_have_begun(tmp_path), process, seconds=200)
        all_of_it = processes_in(tmp_path)
        assert len(all_of_it) >= 6
        process.kill()
        process.wait(timeout=10)
        wait_for_end(all_of_it, 30)
        assert processes_in(tmp_path) == []
    for name in "01":
        summary = json.loads((tmp_path / "sweep" / name / "summary.json").read_text())
        assert summary["status"] in ("stopped", "done")
    again = run(tmp_path, *arguments, timeout=300)
    assert again.returncode == 0, again.stderr
    paths = sorted((tmp_path / "sweep").glob("*/job.json"))
    assert [json.loads(path.read_text())["status"] for path in paths] == ["done", "done"]
    for path in paths:
        assert len((path.parent / "log.csv").read_text().splitlines()) == 26


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_worker_that_is_killed_ends_the_sweep_in_a_line(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    needs("joblib")
    arguments = parallel(shared_tiny_set, "joblib", "epochs=4000")
    log = (tmp_path / "log").open("w")
    with log, started(tmp_path, *arguments, stdout=log) as process:
        wait_until(lambda: both_have_begun(tmp_path), process, seconds=200)
        worker = next(pid for pid in descendants(process.pid) if descendants(pid))
        os.kill(worker, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    last = errors.strip().splitlines()[-1]
    assert process.returncode == 5, errors
    assert "hydra/launcher: a process that ran jobs was lost (TerminatedWorkerError)" in last
    assert "hydra.sweep.dir=sweep runs what is missing" in last
    assert "Traceback" not in errors
    wait_for_end(processes_in(tmp_path), 30)
