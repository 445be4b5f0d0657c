"""Images of one pixel, strips and mixed sizes through the whole command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reliability.forks import Forked
from reliability.kit import train

SIZES = {
    "train": {"p0": (1, 1), "p1": (3, 3), "p2": (65, 47), "p3": (8, 500)},
    "test": {"p6": (1, 1), "p7": (3, 40)},
}
"""Height and width of images that take the place of ordinary ones."""


@pytest.fixture
def odd_set(tiny_set: Path) -> Path:
    """Six images to train on and two to test on, most of odd sizes."""
    chance = np.random.default_rng(0)
    for split, sizes in SIZES.items():
        for name, size in sizes.items():
            image = chance.integers(60, 220, (*size, 3), dtype=np.uint8)
            mask = (image[..., 1] < 120).astype(np.uint8) * np.uint8(255)
            mask.flat[0] = 0
            Image.fromarray(image).save(tiny_set / f"{split}_images" / f"{name}.png")
            Image.fromarray(mask).save(tiny_set / f"{split}_masks" / f"{name}.png")
    return tiny_set


@pytest.mark.parametrize(
    "more",
    [
        ("augment=standard",),
        # Whole images, one at a time: batch norm sees a single one of a single pixel.
        ("data.patch_px=null", "batch_size=1", "data.fov_diameter_px=64"),
    ],
)
def test_images_of_any_size_train_score_and_predict(
    tmp_path: Path, odd_set: Path, more: tuple[str, ...]
) -> None:
    trained = Forked(tmp_path, *train(odd_set, "run", "epochs=1", *more)).result()
    assert (trained.returncode, trained.stderr) == (0, "")
    with (tmp_path / "run" / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert 0 < float(row["train_loss"]) < 10
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "NaN" not in json.dumps(metrics)

    source = f"input={odd_set}/test_images"
    predicted = Forked(tmp_path, "predict", "checkpoint=run", source, "output=masks").result()
    assert (predicted.returncode, predicted.stderr) == (0, "")
    for name, (height, width) in SIZES["test"].items():
        with Image.open(tmp_path / "masks" / f"{name}.png") as mask:
            assert (mask.size, mask.mode) == ((width, height), "L")
