"""Asked to stop at any point of its work, the program stops and says how to go on."""

import json
import signal
import time
from pathlib import Path

import pytest
from reliability.forks import Forked, signal_at
from reliability.kit import LONG, complaint, environment, result_of, started, train, wait_until

from fundus_cli.inference.predictor import Predictor
from fundus_cli.report import run_page


def catches_term(pid: int) -> bool:
    """Whether a process has taken over SIGTERM, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("after_s", [0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_ctrl_c_in_the_first_moment_is_a_line(
    tmp_path: Path, shared_tiny_set: Path, after_s: float
) -> None:
    """Two Ctrl-C while libraries are imported; the second is part of the same stop."""
    with started(tmp_path, *train(shared_tiny_set, "run")) as process:
        wait_until(lambda: catches_term(process.pid), process)
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert out == ""
    assert errors == (
        "fundus-train: SIGINT: stopped, nothing to save; the same command starts again\n"
    )
    assert not list(tmp_path.iterdir())


def test_while_images_are_read_nothing_is_written(tmp_path: Path, shared_tiny_set: Path) -> None:
    env = environment(tmp_path, FUNDUS_TEST_STUCK="p3.png")
    with started(tmp_path, *train(shared_tiny_set, "run"), env=env) as process:
        wait_until(lambda: len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 1, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    assert "nothing to save; the same command starts again" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("before", "nth", "signum", "words"),
    [
        # In the middle of saving.
        ("replace last.pt", 2, "SIGTERM", "saved at epoch 3, step"),
        pytest.param("link best", 1, "SIGHUP", "saved at epoch 2, step", marks=pytest.mark.slow),
        # After the last epoch: what is left is scoring.
        pytest.param(
            *("replace curves.png", 3, "SIGINT", "training is complete"), marks=pytest.mark.slow
        ),
    ],
)
def test_while_files_are_written_the_same_command_goes_on(
    tmp_path: Path,
    shared_tiny_set: Path,
    whole: tuple[Path, list[str]],
    before: str,
    nth: int,
    signum: str,
    words: str,
) -> None:
    """The signal comes twice at once, as when a whole group is told."""
    twice = [{"before": before, "nth": nth, "do": signum}] * 2
    arguments = train(shared_tiny_set, "run", *LONG)
    stopped = Forked(tmp_path, *arguments, faults=twice).result()
    number = getattr(signal, signum)
    complaint(stopped, 128 + number, signum, words, "output=run", "resume=auto")
    assert Forked(tmp_path, *arguments, "resume=auto").wait() == 0
    assert result_of(tmp_path / "run") == result_of(whole[0])


@pytest.mark.parametrize(
    ("method", "nth", "words"),
    [
        # One image of test and two of val an epoch; the signal comes with the first of val.
        ("logits", 5, "saved at epoch 2, step"),
        # With the first of two images of the final scoring.
        ("probability", 1, "training is complete"),
    ],
)
def test_between_two_images_of_validation_and_of_the_scoring(
    tmp_path: Path,
    shared_tiny_set: Path,
    whole: tuple[Path, list[str]],
    method: str,
    nth: int,
    words: str,
) -> None:
    arguments = train(shared_tiny_set, "run", *LONG)
    term = signal_at(Predictor, method, nth, signal.SIGTERM)
    stopped = Forked(tmp_path, *arguments, prepare=term).result()
    complaint(stopped, 143, "SIGTERM", words, "output=run", "resume=auto")
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert Forked(tmp_path, *arguments, "resume=auto").wait() == 0
    assert result_of(tmp_path / "run") == result_of(whole[0])


def test_while_the_page_is_made_the_run_is_complete(tmp_path: Path, shared_tiny_set: Path) -> None:
    arguments = train(shared_tiny_set, "run", "epochs=1")
    term = signal_at(run_page, "write_report", 1, signal.SIGTERM)
    stopped = Forked(tmp_path, *arguments, prepare=term).result()
    complaint(stopped, 143, "SIGTERM", "complete except for its page: fundus-report path=run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "done"
    assert not (tmp_path / "run" / "report.html").exists()
    again = Forked(tmp_path, *arguments, "resume=auto").result()
    assert (again.returncode, again.stderr) == (0, "")
    assert "already complete" in again.stdout


def test_usr1_saves_and_goes_on(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]]
) -> None:
    fault = {"before": "replace log.csv", "nth": 1, "do": "SIGUSR1"}
    journal = tmp_path / "journal"
    arguments = train(shared_tiny_set, "run", *LONG)
    result = Forked(tmp_path, *arguments, faults=[fault], journal=journal)
    assert result.wait() == 0, result.said("stderr")
    assert journal.read_text().count("replace last.pt") == 4
    assert result_of(tmp_path / "run") == result_of(whole[0])
