"""The field of view that is found, against masks drawn by hand and against drawn discs."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_cli.data.fov import find_fov, fov_diameter_px


def disc(height: int, width: int, cy: float, cx: float, radius: float) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    return (y - cy) ** 2 + (x - cx) ** 2 <= radius**2


def photograph(fov: np.ndarray, noise: float = 4.0) -> np.ndarray:
    random = np.random.default_rng(0)
    y, x = np.mgrid[: fov.shape[0], : fov.shape[1]] / max(fov.shape)
    colour = np.stack([150 + 60 * x, 70 + 30 * y, 30 + 10 * x], axis=-1)
    image = np.where(fov[..., None], colour, 6) + random.normal(0, noise, (*fov.shape, 3))
    return image.clip(0, 255).astype(np.uint8)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(
    "shape",
    [
        (584, 565, 290, 282, 268),
        (600, 900, 300, 450, 420),
        (1200, 1000, 560, 520, 480),
        (256, 256, 128, 120, 118),
        (300, 500, 160, 180, 210),
    ],
    ids=["round", "cut above and below", "shifted", "small", "cut at the left"],
)
def test_drawn_discs_are_found_and_measured(shape: tuple[int, ...]) -> None:
    height, width, cy, cx, radius = shape
    fov = disc(height, width, cy, cx, radius)
    found = find_fov(photograph(fov))
    assert iou(found, fov) >= 0.99
    assert fov_diameter_px(fov) == pytest.approx(2 * radius, rel=0.01)
    assert fov_diameter_px(found) == pytest.approx(2 * radius, rel=0.02)


def test_bright_marks_outside_do_not_count() -> None:
    fov = disc(600, 700, 300, 350, 270)
    image = photograph(fov)
    image[10:40, 10:120] = 250
    assert iou(find_fov(image), fov) >= 0.99


def test_without_a_dark_surround_all_is_inside() -> None:
    everything = np.ones((200, 300), bool)
    assert find_fov(photograph(everything)).all()
    assert fov_diameter_px(everything) == 300


def test_a_black_picture_has_no_field_of_view() -> None:
    assert not find_fov(np.zeros((120, 90, 3), np.uint8)).any()
    assert math.isnan(fov_diameter_px(np.zeros((5, 5), bool)))


@pytest.mark.parametrize("hw", [(1, 1), (3, 3), (2, 40), (701, 1403)])
def test_any_size_is_answered_in_that_size(hw: tuple[int, int]) -> None:
    assert find_fov(np.full((*hw, 3), 120, np.uint8)).shape == hw


def hrf_iou(root: Path, identifier: str) -> float:
    (image,) = (root / "HRF" / "images").glob(f"{identifier}.*")
    own = np.asarray(Image.open(root / "HRF" / "mask" / f"{identifier}_mask.tif").convert("L"))
    return iou(find_fov(np.asarray(Image.open(image).convert("RGB"))), own > 127)


@pytest.mark.parametrize("identifier", ["01_h", "05_dr", "07_g", "12_dr", "15_h"])
def test_hrf_some(real_data: Path, identifier: str) -> None:
    assert hrf_iou(real_data, identifier) >= 0.99


@pytest.mark.slow
def test_hrf_all(real_data: Path) -> None:
    names = [p.stem.removesuffix("_mask") for p in (real_data / "HRF" / "mask").glob("*.tif")]
    scores = {name: hrf_iou(real_data, name) for name in names}
    assert len(scores) == 45
    assert min(scores.values()) >= 0.99, min(scores, key=lambda name: scores[name])
