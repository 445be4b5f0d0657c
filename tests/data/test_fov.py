"""Detection of the field of view, against masks marked by hand and against synthetic discs."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_cli.data.fov import find_fov, fov_diameter_px


def disc(height: int, width: int, cy: float, cx: float, radius: float) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    return (y - cy) ** 2 + (x - cx) ** 2 <= radius**2


def bright_disc(fov: np.ndarray, noise: float = 4.0) -> np.ndarray:
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
def test_synthetic_discs_are_found_and_measured(shape: tuple[int, ...]) -> None:
    height, width, cy, cx, radius = shape
    fov = disc(height, width, cy, cx, radius)
    found = find_fov(bright_disc(fov))
    assert iou(found, fov) >= 0.9995
    assert fov_diameter_px(fov) == pytest.approx(2 * radius, rel=0.002)
    assert fov_diameter_px(found) == pytest.approx(2 * radius, rel=0.002)


@pytest.mark.parametrize(
    "shape",
    [(64, 64, 32, 32, 29), (40, 48, 20, 24, 23), (36, 30, 18, 14, 12)],
    ids=["64 px", "48 px, cut", "36 px"],
)
def test_tiny_discs_are_found(shape: tuple[int, ...]) -> None:
    fov = disc(*shape)
    found = find_fov(bright_disc(fov))
    assert iou(found, fov) >= 0.97
    assert fov_diameter_px(found) == pytest.approx(2 * shape[-1], rel=0.05)


def test_a_small_disc_off_the_middle_is_found() -> None:
    fov = disc(800, 1200, 620, 900, 120)
    found = find_fov(bright_disc(fov))
    assert iou(found, fov) >= 0.99
    assert fov_diameter_px(found) == pytest.approx(240, rel=0.01)


def test_bright_marks_outside_do_not_count() -> None:
    fov = disc(600, 700, 300, 350, 270)
    image = bright_disc(fov)
    image[10:40, 10:120] = 250
    image[20:60, 480:540] = 220
    assert iou(find_fov(image), fov) >= 0.99


def test_black_bars_cut_the_disc_and_leave_its_diameter() -> None:
    fov = disc(600, 700, 300, 350, 290)
    fov[:90] = False
    fov[511:] = False
    found = find_fov(bright_disc(fov))
    assert iou(found, fov) >= 0.995
    assert not found[:89].any()
    assert not found[512:].any()
    assert fov_diameter_px(found) == pytest.approx(580, rel=0.01)
    assert fov_diameter_px(fov) == pytest.approx(580, rel=0.01)


def test_a_dark_side_of_the_retina_stays_inside() -> None:
    fov = disc(600, 600, 300, 300, 270)
    light = 0.04 + 0.96 * np.clip((np.arange(600) - 30) / 200, 0, 1)
    image = (bright_disc(fov, noise=1) * light[None, :, None]).astype(np.uint8)
    assert iou(find_fov(image), fov) >= 0.97


def square_field() -> np.ndarray:
    fov = np.zeros((600, 640), bool)
    fov[61:540, 80:559] = True
    return fov


def oval_field() -> np.ndarray:
    y, x = np.mgrid[:500, :700]
    return ((x - 350) / 315) ** 2 + ((y - 250) / 150) ** 2 <= 1


@pytest.mark.parametrize(
    ("fov", "longer"), [(square_field(), 479), (oval_field(), 631)], ids=["square", "oval"]
)
def test_a_field_that_is_not_round_keeps_its_shape(fov: np.ndarray, longer: int) -> None:
    image = bright_disc(fov)
    image[5:25, 5:60] = 250
    image[200:212, 200:420] = 10
    found = find_fov(image)
    assert iou(found, fov) >= 0.99
    assert found[200:212, 200:420].all(), "a dark vessel is part of the field"
    assert fov_diameter_px(fov) == longer
    assert fov_diameter_px(found) == pytest.approx(longer, abs=5)


def test_a_field_goes_on_to_the_frame_where_it_is_darker_there() -> None:
    fov = np.zeros((400, 480), bool)
    fov[40:360] = True
    image = bright_disc(fov)
    image[:, :5] //= 4
    found = find_fov(image)
    assert found[45:355].all()
    assert not found[:38].any()


def test_without_a_dark_surround_all_is_inside() -> None:
    everything = np.ones((200, 300), bool)
    assert find_fov(bright_disc(everything)).all()
    assert fov_diameter_px(everything) == 300


def test_a_vignetted_full_frame_is_all_inside() -> None:
    y, x = np.mgrid[-300:300, -300:300] / 424
    light = 200 * (1 - 0.85 * (y**2 + x**2))
    assert light.min() < 0.16 * light.max()
    image = np.stack([light, 0.6 * light, 0.3 * light], axis=-1).astype(np.uint8)
    assert find_fov(image).all()


def test_a_black_image_has_no_field_of_view() -> None:
    black = np.zeros((300, 400, 3), np.uint8)
    assert not find_fov(black).any()
    assert not find_fov(black[:1, :1]).any()
    noise = np.random.default_rng(0).normal(4, 4, black.shape).clip(0, 255).astype(np.uint8)
    assert not find_fov(noise).any()
    black[5:20, 5:60] = 255
    assert not find_fov(black).any()
    assert math.isnan(fov_diameter_px(np.zeros((5, 5), bool)))


@pytest.mark.parametrize("hw", [(1, 1), (3, 3), (2, 40), (1, 1300), (701, 1403)])
def test_any_size_is_answered_in_that_size(hw: tuple[int, int]) -> None:
    found = find_fov(np.full((*hw, 3), 120, np.uint8))
    assert found.shape == hw
    assert found.all()
    assert fov_diameter_px(found) == max(hw)


def test_every_small_size_is_answered() -> None:
    random = np.random.default_rng(0)
    for height in (*range(1, 9), 20, 33):
        for width in (*range(1, 9), 21, 64):
            fov = disc(height, width, height / 2, width / 2, min(height, width) / 2)
            noise, bright = random.integers(0, 256, (height, width, 3), np.uint8), bright_disc(fov)
            for image in (noise, bright):
                found = find_fov(image)
                assert found.shape == (height, width)
                assert found.dtype == bool
                if image is noise or min(height, width) > 1:
                    assert fov_diameter_px(found) >= 1


def chase(root: Path, identifier: str) -> tuple[float, int]:
    """Diameter that is found, and pixels of the vessel annotation outside."""
    stem = root / "CHASE_DB1" / f"Image_{identifier}"
    found = find_fov(np.asarray(Image.open(f"{stem}.jpg").convert("RGB")))
    vessels = np.asarray(Image.open(f"{stem}_1stHO.png").convert("L")) > 0
    return fov_diameter_px(found), int((vessels & ~found).sum())


@pytest.mark.parametrize("identifier", ["14R", "12L", "06L", "08L"])
def test_chase_db1_with_dark_sides(real_data: Path, identifier: str) -> None:
    diameter, lost = chase(real_data, identifier)
    assert 885 <= diameter <= 925
    assert lost <= 600


@pytest.mark.parametrize(("longer", "least"), [(300, 0.995), (64, 0.98), (48, 0.97), (20, 0.8)])
def test_chase_db1_reduced(real_data: Path, longer: int, least: float) -> None:
    image = Image.open(real_data / "CHASE_DB1" / "Image_14R.jpg")
    found = Image.fromarray(find_fov(np.asarray(image)).astype(np.uint8) * np.uint8(255))
    size = (longer, round(longer * image.height / image.width))
    expected = np.asarray(found.resize(size, Image.Resampling.BOX)) >= 128
    reduced = image.resize(size, Image.Resampling.LANCZOS)
    assert iou(find_fov(np.asarray(reduced)), expected) >= least


@pytest.mark.slow
def test_chase_db1_all(real_data: Path) -> None:
    names = [p.stem.removeprefix("Image_") for p in (real_data / "CHASE_DB1").glob("*.jpg")]
    found = {name: chase(real_data, name) for name in names}
    assert len(found) == 28
    outliers = {n: f for n, f in found.items() if not (885 <= f[0] <= 925 and f[1] <= 600)}
    assert outliers == {}


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
