"""Tests 1, 2 and 20: killed where files disagree, and started again by the same command."""

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
