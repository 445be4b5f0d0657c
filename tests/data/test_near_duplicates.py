"""Near-duplicates are found after any change to the file; different images are not reported."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import small, tiny_image, write_tiny_set
from PIL import Image

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data import near_duplicates
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.near_duplicates import (
    MIN_CORRELATION,
    SIGNATURE_PX,
    duplicates_across_splits,
    near_duplicates_across_splits,
    signature,
)


def synthetic(seed: int) -> tuple[Image.Image, np.ndarray]:
    image, _ = tiny_image(seed, 256)
    y, x = np.mgrid[:256, :256]
    return Image.fromarray(image), (y - 128) ** 2 + (x - 128) ** 2 < (0.46 * 256) ** 2


def signature_of(image: Image.Image, fov: np.ndarray) -> np.ndarray:
    mask = np.asarray(Image.fromarray(fov).resize(image.size))
    return signature(np.asarray(image).transpose(2, 0, 1), mask)


def as_jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded": as_jpeg,
    "smaller": lambda image: image.resize((190, 190)),
    "brighter": lambda image: Image.eval(image, lambda v: min(255, round(v * 1.2))),
    "gamma": lambda image: Image.eval(image, lambda v: round(255 * (v / 255) ** 0.7)),
}


def test_a_signature_is_a_unit_vector_and_flat_images_have_none() -> None:
    image, fov = synthetic(0)
    own = signature_of(image, fov)
    assert own.shape == (SIGNATURE_PX**2,)
    assert float(own @ own) == pytest.approx(1, abs=1e-5)
    flat = signature(np.full((3, 64, 64), 90, np.uint8), np.ones((64, 64), bool))
    assert abs(float(flat @ own)) < 0.5


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_correlates_and_another_image_does_not(change: str) -> None:
    image, fov = synthetic(0)
    copy = signature_of(CHANGES[change](image), fov)
    assert float(signature_of(image, fov) @ copy) > MIN_CORRELATION
    others = [float(signature_of(*synthetic(seed)) @ copy) for seed in range(1, 8)]
    assert max(others) < MIN_CORRELATION


def test_blocks_of_the_table_leave_no_pair_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tiny_set(tmp_path / "data", train=7, test=5)
    for copy, original in ((8, 0), (11, 6)):
        pixels = np.asarray(Image.open(root / f"train_images/p{original}.png"))
        brighter = np.minimum(pixels.astype(int) * 5 // 4, 255).astype(np.uint8)
        Image.fromarray(brighter).save(root / f"test_images/p{copy}.png")
    data = config_of(root, "data=folder", "data.val_fraction=0").data
    samples = load_dataset(data).samples
    whole = near_duplicates_across_splits(samples)
    assert [line.split(" (")[0] for line in whole] == [
        "train/p0.png ~ test/p8.png",
        "train/p6.png ~ test/p11.png",
    ]
    monkeypatch.setattr(near_duplicates, "BLOCK", 2)
    assert sorted(near_duplicates_across_splits(samples)) == sorted(whole)


def config_of(root: Path, *overrides: str) -> TrainConfig:
    return compose_config("train", (f"data.root={root}", "output=x", *overrides))


def test_a_near_duplicate_in_another_split_warns_and_a_duplicate_is_refused(tmp_path: Path) -> None:
    root = write_tiny_set(tmp_path / "data", size=128)
    with Image.open(root / "test_images" / "p6.png") as image:
        as_jpeg(image).save(root / "train_images" / "renamed.jpg", quality=90)
    mask = (root / "test_masks" / "p6.png").read_bytes()
    (root / "train_masks" / "renamed.png").write_bytes(mask)
    config = config_of(root, "data=folder", *small("data.val_fraction=0"))
    dataset = load_dataset(config.data)
    warnings = [line for line in dataset.warnings if "near-duplicates in two splits" in line]
    assert len(warnings) == 1
    assert "train/renamed.jpg ~ test/p6.png" in warnings[0]
    assert "p7" not in warnings[0]

    samples = dict(dataset.samples)
    twin = replace(samples["test"][0], id="twin")
    samples["train"] = [*samples["train"], twin]
    assert duplicates_across_splits(samples) == ["train/p6.png = test/p6.png"]
    assert duplicates_across_splits(dataset.samples) == []


def test_persons_in_several_splits_are_reported(tmp_path: Path) -> None:
    root = write_tiny_set(tmp_path / "data", train=2, test=1)
    for kind in ("images", "masks"):
        (root / f"train_{kind}" / "p0.png").rename(root / f"train_{kind}" / "07_left.png")
        (root / f"test_{kind}" / "p2.png").rename(root / f"test_{kind}" / "07_right.png")
    config = config_of(root, "data=folder", *small("data.val_fraction=0"))
    data = replace(config.data, person=r"(\d+)_(?:left|right)")
    assert load_dataset(data).warnings[-1].endswith("of one person in several splits: 07")


@pytest.mark.parametrize(("name", "folder"), [("chasedb1", "CHASE_DB1"), ("hrf", "HRF")])
@pytest.mark.slow
def test_no_false_alarm_on_real_images(real_data: Path, name: str, folder: str) -> None:
    config = config_of(real_data / folder, f"data={name}")
    dataset = load_dataset(config.data)
    assert near_duplicates_across_splits(dataset.samples) == []
    everyone = [sample for of_split in dataset.samples.values() for sample in of_split]
    found = near_duplicates_across_splits({"one": everyone, "other": everyone})
    assert len(found) == len(everyone)
