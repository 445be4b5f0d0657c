"""Test 6: asked to stop at any point of its work, the program stops and says how to go on."""

import signal
import time
from pathlib import Path

import pytest
from reliability.kit import LONG, complaint, environment, result_of, run, started, train


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_while_photographs_are_read_nothing_is_written(
    tmp_path: Path, shared_tiny_set: Path, signum: int, code: int
) -> None:
    env = environment(tmp_path, FUNDUS_TEST_STUCK="p3.png")
    with started(tmp_path, *train(shared_tiny_set, "run"), env=env) as process:
        time.sleep(3)
        process.send_signal(signum)
        sent = time.monotonic()
        _, errors = process.communicate(timeout=20)
        assert time.monotonic() - sent < 2
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "nothing to save; the same command begins again" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("before", "nth", "signum", "words"),
    [
        # In the middle of saving, twice at once as when a whole group is told.
        ("replace last.pt", 2, "SIGTERM", "saved at epoch 3, step"),
        # After the last epoch: what is left is scoring.
        ("replace curves.png", 3, "SIGINT", "training is complete"),
    ],
)
def test_while_saving_and_before_scoring_the_same_command_goes_on(
    tmp_path: Path,
    shared_tiny_set: Path,
    whole: tuple[Path, list[str]],
    before: str,
    nth: int,
    signum: str,
    words: str,
) -> None:
    twice = [{"before": before, "nth": nth, "do": signum}] * 2
    stopped = run(tmp_path, *train(shared_tiny_set, "run", *LONG), env=environment(tmp_path, twice))
    number = getattr(signal, signum)
    complaint(stopped, 128 + number, signum, words, "output=run", "resume=auto")
    assert run(tmp_path, *train(shared_tiny_set, "run", *LONG, "resume=auto")).returncode == 0
    assert result_of(tmp_path / "run") == result_of(whole[0])


def test_usr1_saves_and_goes_on(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]]
) -> None:
    fault = {"before": "replace log.csv", "nth": 1, "do": "SIGUSR1"}
    env = environment(tmp_path, [fault], FUNDUS_TEST_JOURNAL=str(tmp_path / "journal"))
    result = run(tmp_path, *train(shared_tiny_set, "run", *LONG), env=env)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "journal").read_text().count("replace last.pt") == 4
    assert result_of(tmp_path / "run") == result_of(whole[0])
