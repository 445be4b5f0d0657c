"""A resume that is refused changes nothing, and nothing is replaced that could not be resumed."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from reliability.forks import Forked
from reliability.kit import LONG, complaint, result_of, train, tree

DATA = "data"


@pytest.fixture
def finished(tmp_path: Path, whole: tuple[Path, list[str]], shared_tiny_set: Path) -> Path:
    """A copy of a finished run, and of its images beside it."""
    shutil.copytree(whole[0], tmp_path / "run")
    shutil.copytree(shared_tiny_set, tmp_path / DATA)
    return tmp_path / "run"


def contents(run: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(run).items() if name != ".lock"}


def resumed(folder: Path, *more: str) -> Forked:
    keys = {line.partition("=")[0] for line in more}
    kept = [line for line in LONG if line.partition("=")[0] not in keys]
    return Forked(folder, *train(DATA, "run", *kept, *more), "resume=auto")


REFUSED = {
    "other images": (["epochs=5"], 3, "p0.png changed"),
    "other keys": (["epochs=5", "seed=3"], 2, "seed: 0 -> 3"),
    "damaged checkpoints": (["epochs=5"], 5, "nothing to resume from"),
    "no checkpoints": (["epochs=5"], 6, "holds log.csv of a run but none of last.pt"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_refusal_changes_no_file_of_a_finished_run(
    tmp_path: Path, finished: Path, fault: str
) -> None:
    words, code, reason = REFUSED[fault]
    for name in ("last.pt", "previous.pt", "best.pt"):
        path = finished / name
        if fault == "damaged checkpoints":
            path.write_bytes(path.read_bytes()[:1000])
        elif fault == "no checkpoints":
            path.unlink()
    if fault in ("other images", "other keys"):
        # A damaged newest checkpoint is not renamed by a refusal either.
        (finished / "last.pt").write_bytes(b"damaged")
    if fault == "other images":
        image = tmp_path / DATA / "train_images" / "p0.png"
        Image.open(image).rotate(90).save(image)
    before = contents(finished)
    complaint(resumed(tmp_path, *words).result(), code, reason)
    assert contents(finished) == before
    assert json.loads((finished / "summary.json").read_text())["status"] == "done"


@pytest.mark.parametrize("lost", ["missing", "damaged"])
def test_a_run_with_nothing_but_best_continues_from_it(
    tmp_path: Path, finished: Path, lost: str, whole: tuple[Path, list[str]]
) -> None:
    """Each run ends as if it had never lost its newer checkpoints."""
    summary = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").unlink()
    for name in ("last.pt", "previous.pt"):
        if lost == "missing":
            (finished / name).unlink()
        else:
            (finished / name).write_bytes(b"damaged")
    result = resumed(tmp_path).result()
    assert result.returncode == 0, result.stderr
    assert "continuing from best.pt" in result.stdout
    assert f"resume: from epoch {summary['best_epoch'] + 1}, step" in result.stdout
    assert result_of(finished) == result_of(whole[0])
    kept = sorted(path.name for path in finished.glob("*.damaged-1.pt"))
    expected = ["last.damaged-1.pt", "previous.damaged-1.pt"]
    assert kept == (expected if lost == "damaged" else [])


def test_what_a_finished_run_does_not_apply_is_named(tmp_path: Path, finished: Path) -> None:
    before = contents(finished)
    result = resumed(tmp_path, "threshold=0.25", "epochs=2").result()
    assert result.returncode == 0, result.stderr
    assert "already complete" in result.stdout
    assert "without effect now: epochs: 3 -> 2; threshold: auto -> 0.25" in result.stdout
    assert contents(finished) == before


def test_a_missing_best_checkpoint_is_named(tmp_path: Path, finished: Path) -> None:
    (finished / "summary.json").unlink()
    rows = (finished / "log.csv").read_text().splitlines()[1:]
    (finished / "best.pt").unlink()
    result = resumed(tmp_path).result()
    assert result.returncode == 0, result.stderr
    scores = [float(row.split(",")[4]) for row in rows]
    is_last = scores.index(max(scores)) == len(scores) - 1
    assert ("is missing; unless a later epoch is better" in result.stdout) is not is_last


def test_a_run_that_never_saved_starts_again(tmp_path: Path, finished: Path) -> None:
    """Killed before its first checkpoint: nothing is lost by a fresh start."""
    for path in finished.iterdir():
        if path.name not in ("config.json", "environment.json", "splits.json", "train.log"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = resumed(tmp_path, "epochs=1").result()
    assert result.returncode == 0, result.stderr
    assert len((finished / "log.csv").read_text().splitlines()) == 2
