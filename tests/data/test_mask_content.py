"""Masks that hold nothing or nearly everything are refused or named, split by split."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCommand, small, write_tiny_set
from PIL import Image

from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.errors import DataError


def change(root: Path, split: str, *ids: str, invert: bool = False) -> None:
    """Empty (or invert) the masks of a split; all of them without ids."""
    for path in (root / f"{split}_masks").iterdir():
        if not ids or path.stem in ids:
            mask = np.asarray(Image.open(path))
            Image.fromarray(255 - mask if invert else mask * 0).save(path)


def warnings(root: Path, *more: str) -> tuple[str, ...]:
    words = [f"data.root={root}", *small(*more)]
    return load_dataset(compose_config("train", words).data).warnings


def test_empty_masks_of_train_are_refused_with_their_names(tiny_set: Path) -> None:
    change(tiny_set, "train")
    with pytest.raises(DataError) as error:
        warnings(tiny_set, "data.val_fraction=0")
    assert "vessel: train: every mask is empty" in str(error.value)
    assert "p0, p1, p2, p3, p4, p5" in str(error.value)
    assert "data.allow_odd_masks=true" in str(error.value)
    (line,) = warnings(tiny_set, "data.val_fraction=0", "data.allow_odd_masks=true")
    assert line.startswith("warning: vessel: train: every mask is empty")


def test_inverted_masks_are_refused(tiny_set: Path) -> None:
    change(tiny_set, "train", invert=True)
    with pytest.raises(DataError, match=r"more than half of the field of view \(8\d% on average"):
        warnings(tiny_set)
    # One image that is full is no sign of inverted masks.
    change(tiny_set, "train", "p0", "p1", "p3", "p4", "p5", invert=True)
    assert warnings(tiny_set) == ()


def test_empty_masks_of_the_other_splits_are_warned_of(tiny_set: Path) -> None:
    change(tiny_set, "test")
    change(tiny_set, "train", "p2")
    assert warnings(tiny_set, "data.val_fraction=0") == (
        "warning: vessel: train: 1 of 6 masks are empty: p2",
        "warning: vessel: test: every mask is empty, so its Dice is undefined: p6, p7",
    )


def test_masks_outside_the_field_of_view_are_not_called_empty(tiny_set: Path) -> None:
    path = tiny_set / "test_masks" / "p6.png"
    mask = np.zeros_like(np.asarray(Image.open(path)))
    mask[:3, :3] = 255
    Image.fromarray(mask).save(path)
    (line,) = warnings(tiny_set)
    assert line.startswith("warning: vessel: test: 1 of 2 masks lie outside the field of view")


def test_nothing_to_score_has_no_dice_anywhere(command: RunCommand, tmp_path: Path) -> None:
    data = write_tiny_set(tmp_path / "data")
    change(data, "test")
    result = command("train", f"data.root={data}", "output=run", *small("epochs=1"))
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for protocol in scores["protocols"]:
        found = protocol["structures"]["vessel"]
        for name in ("dice", "iou", "precision", "cldice"):
            assert found["pooled"][name] is None
            assert found["per_image"][name] == {"mean": None, "sd": None, "num_undefined": 2}
            assert found["interval_95"].get(name, [None, None]) == [None, None]
        assert found["pooled"]["specificity"] > 0
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[4] for row in rows] == ["dice", "", ""]
    # A warning is repeated below the results, is kept, and stands on the page.
    line = "warning: vessel: test: every mask is empty, so its Dice is undefined: p6, p7"
    assert result.stdout.count(line) == 2
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["warnings"] == [line]
    assert (
        "every mask is empty, so its Dice is undefined"
        in (tmp_path / "run" / "report.html").read_text()
    )


def test_an_empty_val_chooses_no_threshold_and_says_so(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    words = [f"data.root={tiny_set}", *small("epochs=1")]
    held_out = load_dataset(compose_config("train", words).data).samples["val"]
    change(tiny_set, "train", *(sample.id for sample in held_out))
    result = command("train", "output=run", *words)
    assert result.returncode == 0, result.stderr
    assert "warning: vessel: val: every mask is empty, so it chooses no threshold" in result.stdout
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (content["threshold"], content["threshold_origin"]) == (0.5, "fixed")
    assert "best Dice on validation" not in content["protocols"][0]["protocol"]
