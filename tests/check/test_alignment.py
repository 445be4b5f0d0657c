"""Shifted, mirrored, rotated, inverted and swapped masks are found; a mask that fits never is."""

from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_image

from fundus_cli.check.alignment import Alignment, Darkness, Orientation, Verdict, align, rotated
from fundus_cli.data.fov import find_fov
from fundus_cli.data.images import read_image
from fundus_cli.data.masks import PLAIN, read_mask

CHASE = ("01L", "04R", "09R", "13R")


def aligned(image: np.ndarray, mask: np.ndarray) -> Alignment:
    fov = find_fov(image)
    return align(image, mask.astype(np.uint8), fov, Darkness(image, fov))


def pair(root: Path, identifier: str) -> tuple[np.ndarray, np.ndarray]:
    folder = root / "CHASE_DB1"
    image = read_image(folder / f"Image_{identifier}.jpg", 80)
    return image, read_mask(folder / f"Image_{identifier}_1stHO.png", PLAIN, 80)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [64, 128])
def test_a_mask_that_fits_is_aligned(seed: int, size: int) -> None:
    image, mask = tiny_image(seed, size)
    found = aligned(image, mask)
    assert found.verdict is Verdict.aligned
    assert found.correlation > 0.4


@pytest.mark.parametrize("orientation", [o for o in Orientation if o is not Orientation.same])
def test_the_orientation_found_undoes_the_rotation(orientation: Orientation) -> None:
    image, mask = tiny_image(3, 128)
    back = {
        Orientation.rotated_90: Orientation.rotated_270,
        Orientation.rotated_270: Orientation.rotated_90,
    }.get(orientation, orientation)
    found = aligned(image, rotated(mask, back))
    assert (found.verdict, found.orientation) == (Verdict.rotated, orientation)
    assert np.array_equal(rotated(rotated(mask, back), orientation), mask)


def test_empty_full_and_other_sizes_are_unclear() -> None:
    image, mask = tiny_image(0)
    for other in (np.zeros((64, 64)), np.ones((64, 64)), mask[:32, :40]):
        assert aligned(image, other).verdict is Verdict.unclear


def test_a_flat_image_is_unclear_not_an_error() -> None:
    _, mask = tiny_image(0)
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert aligned(flat, mask).verdict in (Verdict.unclear, Verdict.unrelated)


@pytest.mark.parametrize("identifier", CHASE)
def test_real_shifts_are_measured_to_the_pixel(real_data: Path, identifier: str) -> None:
    image, mask = pair(real_data, identifier)
    assert aligned(image, mask).verdict is Verdict.aligned
    for right, down in ((4, 0), (0, -5), (-12, 9), (60, -85)):
        moved = np.roll(mask, (-down, -right), (0, 1))
        found = aligned(image, moved)
        assert found.verdict is Verdict.shifted, (right, down)
        assert abs(found.right_px - right) < 1
        assert abs(found.down_px - down) < 1


def test_real_rotated_inverted_and_swapped_masks(real_data: Path) -> None:
    image, mask = pair(real_data, "05L")
    for orientation in (Orientation.mirrored, Orientation.flipped, Orientation.rotated_180):
        found = aligned(image, rotated(mask, orientation))
        assert (found.verdict, found.orientation) == (Verdict.rotated, orientation)
    sideways = aligned(image, np.rot90(mask))
    assert sideways.orientation is Orientation.rotated_90
    assert aligned(image, 1 - mask).verdict is Verdict.inverted
    _, other = pair(real_data, "05R")
    assert aligned(image, other).verdict is Verdict.unrelated
