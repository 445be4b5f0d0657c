"""A job may do what it likes, the sweep goes on and can be finished."""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import small
from reliability.forks import Forked
from reliability.kit import (
    complaint,
    descendants,
    environment,
    run,
    started,
    train,
    wait_until,
)


def sweep(data: Path, *more: str) -> list[str]:
    return ["train", "-m", f"data.root={data}", *small(*more), "hydra.sweep.dir=sweep"]


def jobs(folder: Path) -> list[tuple[str, str]]:
    paths = sorted((folder / "sweep").glob("*/job.json"))
    found = [json.loads(path.read_text()) for path in paths]
    return [(job["status"], job["reason"]) for job in found]


FATES = {
    "leave": "exited without finishing",
    "segv": "killed by SIGSEGV",
    "SIGKILL": "killed by SIGKILL; the system may have run out of memory",
    "memory": "out of memory",
    "raise": "ZeroDivisionError: injected",
}


def check_fates(folder: Path, data: Path, fates: list[str]) -> None:
    rates = [f"0.0{number}" for number in range(1, len(fates) + 2)]
    arguments = sweep(data, "epochs=1", f"optimizer.lr={','.join(rates)}")
    faults = [
        {"argv": f"optimizer.lr={rate} ", "at": 4, "do": fate}
        for rate, fate in zip(rates, fates, strict=False)
    ]
    result = run(folder, *arguments, env=environment(folder, faults), timeout=300)
    assert result.returncode == 7, result.stderr
    found = jobs(folder)
    assert [status for status, _ in found] == ["failed"] * len(fates) + ["done"]
    for fate, (_, reason) in zip(fates, found, strict=False):
        assert FATES[fate] in reason
        assert FATES[fate] in (folder / "sweep" / "leaderboard.csv").read_text()
    last = folder / "sweep" / str(len(fates)) / "last.pt"
    before = last.stat().st_mtime_ns
    again = run(folder, *arguments, timeout=300)
    assert again.returncode == 0, again.stderr
    assert [status for status, _ in jobs(folder)] == ["done"] * len(rates)
    assert last.stat().st_mtime_ns == before
    assert again.stdout.count("already complete") == 1


@pytest.mark.slow
def test_jobs_that_leave_crash_raise_or_run_out_of_memory_cost_only_themselves(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    check_fates(tmp_path, shared_tiny_set, ["SIGKILL", "memory", "raise", "segv", "leave"])
    for number in ("1", "2"):
        assert "Traceback" in (tmp_path / "sweep" / number / "train.log").read_text()


def test_ctrl_c_keeps_what_is_done_and_a_second_sweep_is_refused(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    arguments = sweep(shared_tiny_set, "epochs=400", "seed=1,2")
    with started(tmp_path, *arguments) as process:
        wait_until((tmp_path / "sweep" / "0" / "last.pt").exists, process)
        second = run(tmp_path, *arguments)
        complaint(second, 6, "hydra.sweep.dir=sweep: in use by pid")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "hydra.sweep.dir=sweep runs what is missing" in errors
    (first, reason), second_job = jobs(tmp_path)
    assert (first, second_job) == ("stopped", ("not run", "the sweep was stopped"))
    assert "saved at epoch" in reason


def test_four_starts_at_once_share_no_folder(tmp_path: Path, shared_tiny_set: Path) -> None:
    """Without output= each has a folder of its own, with a common one only one runs."""
    for place in ("a", "b"):
        runs = []
        for number in range(4):
            (tmp_path / f"{place}{number}").mkdir()
            common = train(shared_tiny_set, "common", "epochs=1")
            own = [word for word in common if not word.startswith("output=")]
            arguments = own if place == "a" else common
            here = partial(os.chdir, tmp_path)
            runs.append(Forked(tmp_path / f"{place}{number}", *arguments, prepare=here))
        results = [run.result() for run in runs]
        if place == "a":
            assert [result.returncode for result in results] == [0, 0, 0, 0]
            folders = list((tmp_path / "outputs" / "train").iterdir())
            assert len(folders) == 4
            for folder in folders:
                assert len((folder / "log.csv").read_text().splitlines()) == 2
        else:
            assert sorted(result.returncode for result in results) == [0, 6, 6, 6]
            for result in results:
                if result.returncode:
                    complaint(result, 6, "output=common: ")
                    assert "in use by pid" in result.stderr or "holds a run" in result.stderr
            assert len((tmp_path / "common" / "log.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_two_sweeps_at_once_share_no_folder(tmp_path: Path, shared_tiny_set: Path) -> None:
    """Two sweeps that run at the same time end as they would alone."""
    arguments = sweep(shared_tiny_set, "epochs=1", "seed=1,2")[:-1]
    with started(tmp_path, *arguments) as one, started(tmp_path, *arguments) as other:
        for process in (one, other):
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    folders = list((tmp_path / "outputs" / "sweeps").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert len(list(folder.glob("*/log.csv"))) == 2


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_orphan(tmp_path: Path, shared_tiny_set: Path) -> None:
    with started(tmp_path, *sweep(shared_tiny_set, "epochs=400", "seed=1,2")) as process:
        wait_until((tmp_path / "sweep" / "0" / "last.pt").exists, process, seconds=240)
        (job,) = descendants(process.pid)
        process.kill()
        process.wait(timeout=10)
        end = time.monotonic() + 60
        while Path(f"/proc/{job}").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
    summary = json.loads((tmp_path / "sweep" / "0" / "summary.json").read_text())
    assert (summary["status"], summary["exit_code"]) == ("stopped", 143)
    assert (tmp_path / "sweep" / "0" / "last.pt").exists()
