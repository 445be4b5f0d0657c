"""Findings about unmatched files, and pairs suggested by unambiguous names only."""

from pathlib import Path

import pytest

from fundus_cli.check.pairing import pairing_findings, suggested_pairs
from fundus_cli.config import SplitConfig
from fundus_cli.data.templates import FileIndex, Pairing, pair_files

SPLIT = SplitConfig(image="images/{id}.*", targets={"vessel": "masks/{id}.*"})
ROLE = "vessel mask"


def pairing(root: Path, images: list[str], masks: list[str]) -> Pairing:
    for folder, names in (("images", images), ("masks", masks)):
        for name in names:
            (root / folder).mkdir(exist_ok=True)
            (root / folder / name).touch()
    return pair_files(FileIndex(root), SPLIT, "train")


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        (["a.png"], ["A.png"], {"a": "A.png"}),
        (["1.png", "2.png"], ["01.png", "002.png"], {"1": "01.png", "2": "002.png"}),
        (["a.png", "b.png"], ["a_mask.png", "b_mask.png"], {"a": "a_mask.png", "b": "b_mask.png"}),
        (
            ["img_01.png", "img_02.png", "img_10.png"],
            ["mask_01.png", "mask_02.png", "mask_10.png"],
            {"img_01": "mask_01.png", "img_02": "mask_02.png", "img_10": "mask_10.png"},
        ),
        (["a.png", "b.png"], ["x.png", "y.png"], {}),
        (["a.png", "b.png"], ["A.png", "á.png"], {"a": "A.png"}),
        (["1.png"], ["01.png", "001.png"], {}),
    ],
)
def test_pairs_by_name(
    tmp_path: Path, images: list[str], masks: list[str], expected: dict[str, str]
) -> None:
    pairs = suggested_pairs(pairing(tmp_path, images, masks))
    assert {identifier: path.name for (_, identifier), path in pairs.items()} == expected
    assert {role for role, _ in pairs} <= {ROLE}


def test_every_mismatch_is_a_finding_with_its_files(tmp_path: Path) -> None:
    found = pairing(tmp_path, ["a.png", "a.jpg", "b.png", "c.png"], ["a.png", "B.png", "d.png"])
    findings = pairing_findings(found, suggested_pairs(found), tmp_path)
    found = {(one.kind.code, one.files): one for one in findings}
    assert set(found) == {
        ("doubled-file", ("images/a.jpg", "images/a.png")),
        ("missing-file", ("images/b.png",)),
        ("missing-file", ("images/c.png",)),
        ("left-over-file", ("masks/B.png",)),
        ("left-over-file", ("masks/d.png",)),
    }
    assert "suggests masks/B.png" in found["missing-file", ("images/b.png",)].found
    assert "fix=true" in found["left-over-file", ("masks/B.png",)].todo
    assert "suggests" not in found["missing-file", ("images/c.png",)].found


def test_other_folder_names_are_reported_with_the_overrides(tmp_path: Path) -> None:
    for name in ("pictures/a.png", "annotations/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    found = pair_files(FileIndex(tmp_path), SPLIT, "train")
    (one,) = pairing_findings(found, {}, tmp_path)
    assert one.kind.code == "no-image"
    assert "annotations/ (1), pictures/ (1)" in one.found
    assert "'data.train.image=\"pictures/{id}.*\"'" in one.todo
    assert "'data.train.targets.vessel=\"annotations/{id}.*\"'" in one.todo
