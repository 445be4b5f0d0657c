"""Checkpoints that earlier versions wrote are loaded, scored and continued by this one."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from golden.reading import HERE, IMAGES, OPTIMIZERS, probability_of
from reliability.forks import Forked

from fundus_cli.run import checkpoint

GOLDEN = sorted(path.name for path in HERE.glob("format_*"))


@pytest.fixture(params=GOLDEN)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a run folder and, beside it, of the images that it was made from."""
    shutil.copytree(IMAGES, tmp_path / IMAGES.name)
    return Path(shutil.copytree(HERE / request.param, tmp_path / "run"))


def test_there_is_one_of_the_present_format_and_they_are_small() -> None:
    present = {name for name in GOLDEN if name.startswith(f"format_{checkpoint.FORMAT}_")}
    assert present == {f"format_{checkpoint.FORMAT}_{optimizer}" for optimizer in OPTIMIZERS}
    for name in GOLDEN:
        assert sum(path.stat().st_size for path in (HERE / name).iterdir()) < 200_000


def test_it_predicts_what_it_predicted(golden: Path) -> None:
    before = np.load(golden / "probability.npy")
    assert before.std() > 0.02 and before.shape == (1, 48, 48)
    np.testing.assert_allclose(probability_of(golden / "best.pt"), before, atol=1e-5)


def test_it_is_scored_as_it_was(golden: Path) -> None:
    scored = Forked(golden.parent, "eval", "checkpoint=run", "output=scores").result()
    assert (scored.returncode, scored.stderr) == (0, "")
    old, new = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (golden, golden.parent / "scores")
    )
    before, now = (m["protocols"][0]["structures"]["vessel"]["pooled"] for m in (old, new))
    for name in ("dice", "auc_roc", "sensitivity", "specificity"):
        # A later library may round a pixel to the other side of the threshold.
        assert now[name] == pytest.approx(before[name], abs=1e-3)


def test_it_is_continued(golden: Path) -> None:
    before = checkpoint.load(golden / "last.pt")
    log = (golden / "log.csv").read_text()
    if not (golden / "splits.json").exists():
        # Every run folder has it; the first golden ones were kept without. An earlier version held
        # out other images than this one would.
        ids = {
            split: [Path(name).stem for name in files if "_images/" in name]
            for split, files in before.manifest.items()
        }
        (golden / "splits.json").write_text(json.dumps(ids))
    keys = json.loads((golden / "made_with.json").read_text())["keys"]
    keys = [key for key in keys if not key.startswith("epochs=")]
    more = Forked(golden.parent, "train", *keys, "output=run", "epochs=3", "resume=auto").result()
    assert (more.returncode, more.stderr) == (0, "")
    rows = list(csv.DictReader((golden / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert (golden / "log.csv").read_text().startswith(log)
    after = checkpoint.load(golden / "last.pt")
    assert after.progress.step == before.progress.step * 3 // 2
    moved = [not after.model[name].equal(weight) for name, weight in before.model.items()]
    assert any(moved)
