"""Real images: no finding on CHASE_DB1 and HRF; every damage to CHASE_DB1 is found."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCommand
from PIL import Image

from fundus_cli.check.alignment import Darkness, Verdict, align
from fundus_cli.check.inspect_dataset import Survey, survey
from fundus_cli.config import DataConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.fov import find_fov
from fundus_cli.data.images import read_image
from fundus_cli.data.masks import PLAIN, read_mask

pytestmark = pytest.mark.slow


def config(name: str, root: Path) -> DataConfig:
    words = (f"data={name}", f"data.root={root}")
    return compose_config("train", words).data


def checked(name: str, root: Path) -> Survey:
    return survey(config(name, root), root, None, lambda total: None)


@pytest.mark.parametrize(
    ("name", "folder", "count"), [("chasedb1", "CHASE_DB1", 28), ("hrf", "HRF", 45)]
)
def test_the_official_sets_have_no_findings(
    real_data: Path, name: str, folder: str, count: int
) -> None:
    result = checked(name, real_data / folder)
    assert [(one.kind.code, one.files, one.found) for one in result.findings] == []
    assert len(result.images) == count
    alignments = [a for one in result.images for a in one.alignments.values()]
    assert {a.verdict for a in alignments} == {Verdict.aligned}
    assert min(a.correlation for a in alignments) > 0.4


def test_known_shifts_of_every_chase_image_are_found(real_data: Path) -> None:
    for path in sorted((real_data / "CHASE_DB1").glob("*.jpg")):
        image = read_image(path, 80)
        mask = read_mask(path.with_name(f"{path.stem}_1stHO.png"), PLAIN, 80)
        fov = find_fov(image)
        seen = Darkness(image, fov)
        for right, down in ((0, 0), (1, 0), (4, 0), (0, -4), (-9, 14), (50, 70)):
            found = align(image, np.roll(mask, (-down, -right), (0, 1)), fov, seen)
            is_moved = max(abs(right), abs(down)) > 1
            expected = Verdict.shifted if is_moved else Verdict.aligned
            assert found.verdict is expected, (path.name, right, down)
            if is_moved:
                assert max(abs(found.right_px - right), abs(found.down_px - down)) < 1.5


def plain_folders(source: Path, root: Path) -> None:
    """CHASE_DB1 in the layout of data=folder, the first 16 as train."""
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            (root / f"{split}_{kind}").mkdir(parents=True)
    for number, path in enumerate(sorted(source.glob("*.jpg"))):
        split = "train" if number < 16 else "test"
        shutil.copy(path, root / f"{split}_images" / path.name)
        mask = Image.open(path.with_name(f"{path.stem}_1stHO.png")).convert("L")
        mask.save(root / f"{split}_masks" / f"{path.stem}.png")


def damage(root: Path) -> dict[str, set[str]]:
    """Twenty kinds of damage; returns {code: files that must be reported}."""
    images, masks = root / "train_images", root / "train_masks"

    def mask(name: str) -> np.ndarray:
        return np.array(Image.open(masks / f"Image_{name}.png"))

    def put(name: str, pixels: np.ndarray) -> None:
        Image.fromarray(np.ascontiguousarray(pixels)).save(masks / f"Image_{name}.png")

    def rotate(name: str, orientation: int, method: Image.Transpose) -> None:
        tags = Image.Exif()
        tags[0x0112] = orientation
        path = images / f"Image_{name}.jpg"
        Image.open(path).transpose(method).save(path, quality=92, exif=tags)

    Image.fromarray(mask("01L")).save(masks / "Image_01L.jpg", quality=80)
    (masks / "Image_01L.png").unlink()
    low = Image.fromarray(mask("01R")).resize((500, 480), Image.Resampling.BICUBIC)
    low.resize((999, 960), Image.Resampling.BILINEAR).save(masks / "Image_01R.png")
    put("02L", (mask("02L") > 0).astype(np.uint8) * (1 + (np.arange(999) > 500).astype(np.uint8)))
    put("02R", 255 - mask("02R"))
    put("03L", mask("03L") * 0)
    put("03R", np.roll(mask("03R"), (9, -14), (0, 1)))
    put("04L", mask("04L")[:, ::-1])
    one, other = mask("04R"), mask("05L")
    put("04R", other), put("05L", one)
    image = images / "Image_05R.jpg"
    image.write_bytes(image.read_bytes()[:20_000])
    (masks / "Image_06L.png").rename(masks / "image_06l.png")
    (masks / "Image_06R.png").unlink()
    rotate("07L", 3, Image.Transpose.ROTATE_180)
    put("07L", mask("07L")[::-1, ::-1])
    rotate("07R", 6, Image.Transpose.ROTATE_90)
    put("08L", mask("08L")[::2, ::2])
    shutil.copy(masks / "Image_08R.png", masks / "nobody.png")
    Image.open(images / "Image_08R.jpg").save(images / "Image_08R.png")
    for name, source in (("near", "Image_09L"), ("same", "Image_10R")):
        shutil.copy(root / f"test_images/{source}.jpg", images / f"{name}.jpg")
        shutil.copy(root / f"test_masks/{source}.png", masks / f"{name}.png")
    Image.open(images / "near.jpg").resize((500, 480)).save(images / "near.jpg", quality=60)
    Image.open(masks / "near.png").resize((500, 480), 0).save(masks / "near.png")
    (root / "test_images/Image_09R.jpg").write_text("<html>not found</html>")
    return {
        "mask-not-two-valued": {
            *("train_masks/Image_01L.jpg", "train_masks/Image_01R.png"),
            "train_masks/Image_02L.png",
        },
        "mask-inverted": {"train_masks/Image_02R.png"},
        "mask-empty": {"train_masks/Image_03L.png"},
        "mask-shifted": {"train_masks/Image_03R.png"},
        "mask-turned": {"train_masks/Image_04L.png", "train_masks/Image_07L.png"},
        "mask-of-another": {"train_masks/Image_04R.png", "train_masks/Image_05L.png"},
        "unreadable": {"train_images/Image_05R.jpg"},
        "missing-file": {"train_images/Image_06L.jpg", "train_images/Image_06R.jpg"},
        "left-over-file": {"train_masks/image_06l.png", "train_masks/nobody.png"},
        "exif-turned": {"train_images/Image_07L.jpg", "train_images/Image_07R.jpg"},
        "size-differs": {"train_masks/Image_08L.png"},
        "doubled-file": {"train_images/Image_08R.jpg", "train_images/Image_08R.png"},
        "near-copy-across-splits": {"train_images/near.jpg", "test_images/Image_09L.jpg"},
        "copy-across-splits": {"train_images/same.jpg", "test_images/Image_10R.jpg"},
        "web-page": {"test_images/Image_09R.jpg"},
    }


def test_all_damage_to_chase_is_reported_and_its_repaired_copy_trains(
    real_data: Path, tmp_path: Path, command: RunCommand
) -> None:
    root = tmp_path / "damaged"
    plain_folders(real_data / "CHASE_DB1", root)
    expected = damage(root)
    result = command("check", f"data.root={root}", "fix=true", "output=repaired", timeout=280)
    assert result.returncode == 3, result.stderr
    report = json.loads((tmp_path / "repaired/report.json").read_text())
    reported: dict[str, set[str]] = {}
    for one in report["findings"]:
        reported.setdefault(one["code"], set()).update(one["files"])
    reported.pop("eyes-across-splits", None)
    assert reported == expected
    changes = report["repair"]["changes"]
    done = {(change["what"], change["source"]) for change in changes}
    assert {
        ("mask inverted", "train_masks/Image_02R.png"),
        ("mask paired by its name", "train_masks/image_06l.png"),
        ("mask rotated", "train_masks/Image_07L.png"),
        ("saved upright", "train_images/Image_07L.jpg"),
        ("saved upright", "train_images/Image_07R.jpg"),
        ("left out", "train_images/Image_05R.jpg"),
        ("left out", "train_images/same.jpg"),
    } <= done
    still = {one["code"] for one in report["repair"]["still_wrong"]}
    assert still - {"eyes-across-splits"} == {
        *("mask-empty", "mask-shifted", "mask-turned", "mask-of-another"),
        "near-copy-across-splits",
    }
    dataset = load_dataset(config("folder", tmp_path / "repaired"))
    assert sum(len(samples) for samples in dataset.samples.values()) == 22
    original = np.array(Image.open(real_data / "CHASE_DB1/Image_02R_1stHO.png"))
    repaired = np.array(Image.open(tmp_path / "repaired/train_masks/Image_02R.png"))
    assert np.array_equal(repaired > 0, original)
