"""Members of an ensemble agree on images and structures, or are refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest

from fundus_cli.config.compose import compose_config
from fundus_cli.errors import DataError
from fundus_cli.evaluation.protocol import ORIGIN
from fundus_cli.inference.ensembles import (
    MEAN_OF_MEMBERS,
    check_agreement,
    shared_threshold,
    shared_tta,
)
from fundus_cli.run.checkpoint import Checkpoint, Progress, Threshold


def saved(name: str, *overrides: str, threshold: float = 0.5, origin: str = "val") -> Checkpoint:
    return Checkpoint(
        config=compose_config("train", overrides),
        model={},
        averaged=None,
        optimizer={},
        progress=Progress(),
        threshold=Threshold(threshold, origin),
        manifest={},
        path=Path(name),
    )


def test_networks_of_any_size_may_join_when_they_see_the_same() -> None:
    check_agreement([saved("a.pt"), saved("b.pt", "model.base_channels=32", "seed=3")])


def test_every_difference_is_named_with_both_values() -> None:
    other = saved("b.pt", "data.fov_diameter_px=300", "data.normalisation=unit")
    with pytest.raises(DataError) as caught:
        check_agreement([saved("a.pt"), other])
    check_agreement([saved("a.pt"), other], on=("structures",))
    text = str(caught.value)
    assert "data.fov_diameter_px=None in a.pt, but 300 in b.pt" in text
    assert "data.normalisation=fov in a.pt, but unit in b.pt" in text
    assert "\n" not in text


def test_other_structures_are_refused() -> None:
    first = saved("a.pt")
    targets = {"vein": "v/{id}.png", "artery": "a/{id}.png"}
    data = replace(
        first.config.data, train=replace(first.config.data.train, targets=targets), test=None
    )
    other = replace(first, config=replace(first.config, data=data), path=Path("b.pt"))
    with pytest.raises(DataError, match=r"structures=vessel in a\.pt, but vein, artery in b\.pt"):
        check_agreement([first, other])


def test_the_threshold_is_the_members_mean() -> None:
    one = saved("a.pt", threshold=0.3)
    other = saved("b.pt", origin="train")
    assert shared_threshold([one]) == Threshold(0.3, "val")
    shared = shared_threshold([one, other])
    assert shared.value == pytest.approx(0.4)
    assert shared.origin == MEAN_OF_MEMBERS
    assert MEAN_OF_MEMBERS in ORIGIN


def test_mirrors_are_as_in_training_unless_members_differ() -> None:
    plain, mirrored = saved("a.pt"), saved("b.pt", "tta=true")
    assert shared_tta([mirrored], None) is True
    assert shared_tta([mirrored], False) is False
    assert shared_tta([plain, mirrored], True) is True
    with pytest.raises(DataError, match="tta=true or tta=false"):
        shared_tta([plain, mirrored], None)
