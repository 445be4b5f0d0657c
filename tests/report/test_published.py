"""Published figures stand beside a run of the same data set, and differences are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from fundus_cli.evaluation.counts import Counts
from fundus_cli.report.published import compare_with_published, published_figures
from fundus_cli.report.run_files import read_run

from .conftest import MakeRun

TWENTY = {f"{n:02d}": Counts(801, 199, 199, 9000) for n in range(20)}
"""Dice 0.801 on as many images as the CHASE_DB1 test split has."""


def change(folder: Path, **keys: Any) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**content, **keys}))


def score_whole_image(folder: Path, mean_dice: float) -> None:
    """Give a run another mean Dice over the whole image than its pooled one in the FOV."""
    content = json.loads((folder / "metrics.json").read_text())
    vessel = content["protocols"][1]["structures"]["vessel"]
    vessel["per_image"] = {"dice": {"mean": mean_dice, "sd": 0.02}}
    (folder / "metrics.json").write_text(json.dumps(content))


def test_a_run_is_placed_among_them(make_run: MakeRun) -> None:
    folder = make_run("run", "data=chasedb1_last8", counts=TWENTY)
    score_whole_image(folder, 0.81)
    found = compare_with_published(read_run(folder))
    assert found is not None
    assert found.differences == []
    assert [(row.name.split(" (")[0], row.dice, row.own_dice) for row in found.rows] == [
        ("Little W-Net", 0.820, 0.801),
        ("DRIU", 0.812, 0.81),
        ("U-Net with VGG encoder", 0.807, 0.81),
        ("this run", 0.801, 0.801),
        ("M2U-Net", 0.798, 0.81),
        ("second human observer", 0.768, 0.81),
    ]
    assert "0.019 below" in found.sentence and "Little W-Net" in found.sentence
    # DRIU by the mean over whole images: .810 against .812.
    assert "2 of 4 published networks are higher" in found.sentence
    assert "above the second human observer (0.768)" in found.sentence


def test_a_figure_without_a_stated_region_is_shown_and_not_compared(make_run: MakeRun) -> None:
    eight = dict(list(TWENTY.items())[:8])
    found = compare_with_published(read_run(make_run("run", "data=chasedb1_20_8", counts=eight)))
    assert found is not None
    assert all(row.own_dice is None for row in found.rows if row.kind == "network")
    assert "no published figure states both" in found.sentence


def test_another_split_of_the_same_images_is_not_compared(make_run: MakeRun) -> None:
    """Nobody published a readable figure for training on children 01 to 04."""
    assert compare_with_published(read_run(make_run("run", "data=chasedb1", counts=TWENTY))) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"split": "val"}, "scored on val images"),
        ({"num_images": 8}, "8 test images instead of 20"),
        ({"threshold_origin": "given"}, "threshold was given by hand"),
        ({"threshold_origin": "fixed"}, "threshold was fixed beforehand"),
    ],
)
def test_another_protocol_is_named(make_run: MakeRun, keys: dict[str, Any], words: str) -> None:
    folder = make_run("run", "data=chasedb1_last8", counts=TWENTY)
    change(folder, **keys)
    found = compare_with_published(read_run(folder))
    assert found is not None
    assert words in found.sentence
    assert "Not the same protocol" in found.sentence


def test_an_observer_measured_in_the_run_is_the_one_compared_with(make_run: MakeRun) -> None:
    folder = make_run("run", "data=chasedb1_last8", counts=TWENTY)
    content = json.loads((folder / "metrics.json").read_text())
    vessel = content["protocols"][0]["structures"]["vessel"]
    vessel["observer2"] = {"num_images": 20, "pooled": {"dice": 0.82}}
    (folder / "metrics.json").write_text(json.dumps(content))
    found = compare_with_published(read_run(folder))
    assert found is not None
    assert "below the second observer, measured in this run (0.820)" in found.sentence


def test_nothing_is_said_where_nothing_is_published(make_run: MakeRun) -> None:
    assert compare_with_published(read_run(make_run("run"))) is None
    folder = make_run("other", "data=chasedb1_last8", structures=("artery",))
    assert compare_with_published(read_run(folder)) is None


def test_every_set_has_sizes_and_figures_between_0_and_1() -> None:
    content = published_figures()
    assert set(content["sets"]) == {"drive", "stare", "chasedb1_last8", "chasedb1_20_8", "hrf"}
    assert {name: s["num_images"] for name, s in content["sets"].items()} == {
        "drive": 20,
        "stare": 10,
        "chasedb1_last8": 20,
        "chasedb1_20_8": 8,
        "hrf": 30,
    }
    for of_set in content["sets"].values():
        assert all(0.5 < row["dice"] < 0.9 for row in of_set["rows"])
