"""Killed where files disagree, and started again by the same command."""

import shutil
import signal
from pathlib import Path

import pytest
from reliability.kit import LONG, environment, result_of, run, train

from fundus_cli.run import checkpoint


@pytest.mark.parametrize(
    ("before", "nth"),
    [("link best", 2), pytest.param("replace log.csv", 3, marks=pytest.mark.slow)],
)
def test_killed_between_a_checkpoint_and_what_follows_from_it(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]], before: str, nth: int
) -> None:
    """The checkpoint knows of an epoch whose best.pt or log.csv was never written."""
    fault = {"before": before, "nth": min(nth, whole[1].count(before)), "do": "SIGKILL"}
    arguments = train(shared_tiny_set, "run", *LONG)
    killed = run(tmp_path, *arguments, env=environment(tmp_path, [fault]))
    assert killed.returncode == -signal.SIGKILL
    checkpoint.load(tmp_path / "run" / "last.pt")
    resumed = run(tmp_path, *arguments, "resume=auto")
    assert resumed.returncode == 0, resumed.stderr
    assert not list((tmp_path / "run").glob(".*.tmp"))
    assert result_of(tmp_path / "run") == result_of(whole[0])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler")
def test_a_compiled_run_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    """The network is compiled again on resume, with what was learned in place."""
    whole, cut = (train(shared_tiny_set, name, *LONG, "compile=true") for name in ("whole", "cut"))
    done = run(tmp_path, *whole, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "not possible" not in done.stdout + done.stderr
    fault = {"before": "replace last.pt", "nth": 2, "do": "SIGKILL"}
    killed = run(tmp_path, *cut, env=environment(tmp_path, [fault]), timeout=400)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.load(tmp_path / "cut" / "last.pt").progress.step > 0
    resumed = run(tmp_path, *cut, "resume=auto", timeout=400)
    assert resumed.returncode == 0, resumed.stderr
    assert result_of(tmp_path / "cut") == result_of(tmp_path / "whole")
