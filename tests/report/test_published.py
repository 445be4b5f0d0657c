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


def test_a_run_is_placed_among_them(make_run: MakeRun) -> None:
    found = compare_with_published(read_run(make_run("run", "data=chasedb1", counts=TWENTY)))
    assert found is not None
    assert found.differences == []
    assert [(name.split(" (")[0], dice) for name, dice, _ in found.rows] == [
        ("Little W-Net", 0.820),
        ("DRIU", 0.812),
        ("U-Net with VGG encoder", 0.807),
        ("this run", 0.801),
        ("M2U-Net", 0.798),
        ("second human observer", 0.768),
    ]
    assert "0.019 below the best published network" in found.sentence
    assert "3 of 4 published networks are higher" in found.sentence
    assert "above the second human observer (0.768)" in found.sentence


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
    folder = make_run("run", "data=chasedb1", counts=TWENTY)
    change(folder, **keys)
    found = compare_with_published(read_run(folder))
    assert found is not None
    assert words in found.sentence
    assert "Not the same protocol" in found.sentence


def test_an_observer_measured_in_the_run_is_the_one_compared_with(make_run: MakeRun) -> None:
    folder = make_run("run", "data=chasedb1", counts=TWENTY)
    content = json.loads((folder / "metrics.json").read_text())
    vessel = content["protocols"][0]["structures"]["vessel"]
    vessel["observer2"] = {"num_images": 20, "pooled": {"dice": 0.82}}
    (folder / "metrics.json").write_text(json.dumps(content))
    found = compare_with_published(read_run(folder))
    assert found is not None
    assert "below the second observer, measured in this run (0.820)" in found.sentence


def test_nothing_is_said_where_nothing_is_published(make_run: MakeRun) -> None:
    assert compare_with_published(read_run(make_run("run"))) is None
    folder = make_run("other", "data=chasedb1", structures=("artery",))
    assert compare_with_published(read_run(folder)) is None


def test_every_set_has_sizes_and_figures_between_0_and_1() -> None:
    content = published_figures()
    assert set(content["sets"]) == {"drive", "stare", "chasedb1", "hrf"}
    assert {name: s["num_images"] for name, s in content["sets"].items()} == {
        "drive": 20,
        "stare": 10,
        "chasedb1": 20,
        "hrf": 30,
    }
    for of_set in content["sets"].values():
        assert all(0.5 < row["dice"] < 0.9 for row in of_set["rows"])
