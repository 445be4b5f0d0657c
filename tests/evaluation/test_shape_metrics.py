"""Shape metrics by hand, and against distances taken between every pair of outline pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_cli.evaluation.shape_metrics import (
    Shape,
    SurfaceDistances,
    count_centrelines,
)
from fundus_cli.evaluation.shape_metrics import surface_distances as distances_of_shapes


def cldice(prediction: np.ndarray, target: np.ndarray, region: np.ndarray) -> float:
    return count_centrelines(Shape(prediction, region), Shape(target, region)).cldice()


def surface_distances(
    prediction: np.ndarray, target: np.ndarray, region: np.ndarray
) -> SurfaceDistances:
    return distances_of_shapes(Shape(prediction, region), Shape(target, region))


def mask(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Boxes (top, bottom, left, right), last row and column left out."""
    drawn = np.zeros((height, width), bool)
    for top, bottom, left, right in boxes:
        drawn[top:bottom, left:right] = True
    return drawn


def everywhere(like: np.ndarray) -> np.ndarray:
    return np.ones_like(like)


def outline_points(drawn: np.ndarray) -> np.ndarray:
    """Pixels with one of four neighbours outside, found one pixel at a time."""
    height, width = drawn.shape
    points = []
    for y, x in zip(*np.nonzero(drawn), strict=True):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        if any(not (0 <= v < height and 0 <= u < width) or not drawn[v, u] for v, u in around):
            points.append((y, x))
    return np.array(points, float)


def distances_by_pairs(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    a, b = outline_points(one), outline_points(other)
    pairs = np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1])
    forth, back = pairs.min(axis=1), pairs.min(axis=0)
    hd95 = max(np.percentile(forth, 95), np.percentile(back, 95))
    return float(hd95), float((forth.sum() + back.sum()) / (len(forth) + len(back)))


def test_equal_masks_score_one_and_zero() -> None:
    drawn = mask(40, 40, (5, 8, 3, 35), (10, 30, 18, 21))
    assert cldice(drawn, drawn, everywhere(drawn)) == 1.0
    same = surface_distances(drawn, drawn, everywhere(drawn))
    assert (same.hd95, same.mean) == (0.0, 0.0)


def test_two_single_pixels_by_hand() -> None:
    one, other = mask(10, 10, (2, 3, 1, 2)), mask(10, 10, (5, 6, 5, 6))
    apart = surface_distances(one, other, everywhere(one))
    assert (apart.hd95, apart.mean) == (5.0, 5.0)
    assert cldice(one, other, everywhere(one)) == 0.0


def test_a_line_found_by_half_by_hand() -> None:
    # A line one pixel wide is its own skeleton: all 10 predicted of the 20 pixels are right.
    target, prediction = mask(9, 30, (4, 5, 5, 25)), mask(9, 30, (4, 5, 5, 15))
    assert cldice(prediction, target, everywhere(target)) == pytest.approx(2 * 0.5 / 1.5)
    distances = surface_distances(prediction, target, everywhere(target))
    # Missing pixels are 1 to 10 away from the prediction's end; 20 distances, of which 10 are 0.
    assert distances.mean == pytest.approx(55 / 30)
    assert distances.hd95 == pytest.approx(np.percentile([*[0] * 10, *range(1, 11)], 95))


def test_a_thicker_vessel_keeps_its_centreline_but_not_its_outline() -> None:
    target, prediction = mask(15, 60, (7, 8, 5, 55)), mask(15, 60, (5, 10, 5, 55))
    # Thinning leaves a pixel or two at a box's end beside its middle line.
    assert cldice(prediction, target, everywhere(target)) > 0.95
    distances = surface_distances(prediction, target, everywhere(target))
    # Outline pixels of the long sides are 2 from the line, and so is the line from them.
    assert distances.hd95 == 2.0
    assert 1.8 < distances.mean <= 2.0


def test_a_gap_costs_the_centreline_what_it_is_long() -> None:
    target = mask(9, 108, (4, 5, 4, 104))
    prediction = target.copy()
    prediction[:, 50:60] = False
    assert cldice(prediction, target, everywhere(target)) == pytest.approx(2 * 0.9 / 1.9)


def test_what_lies_outside_the_region_does_not_count() -> None:
    target = mask(30, 60, (10, 13, 5, 25))
    prediction = target | mask(30, 60, (20, 24, 40, 55))
    region = mask(30, 60, (0, 30, 0, 30))
    assert cldice(prediction, target, region) == 1.0
    assert surface_distances(prediction, target, region).hd95 == 0.0
    assert cldice(prediction, target, everywhere(target)) < 0.8
    assert surface_distances(prediction, target, everywhere(target)).hd95 > 10


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (7, 3)])
def test_empty_masks(shape: tuple[int, int]) -> None:
    nothing, something = np.zeros(shape, bool), np.ones(shape, bool)
    assert math.isnan(cldice(nothing, nothing, something))
    assert cldice(nothing, something, something) == 0.0
    assert cldice(something, nothing, something) == 0.0
    assert math.isnan(cldice(something, something, nothing))
    for one, other in [(nothing, nothing), (nothing, something), (something, nothing)]:
        distances = surface_distances(one, other, something)
        assert math.isnan(distances.hd95)
        assert math.isnan(distances.mean)


def test_a_full_picture_has_the_frame_as_its_outline() -> None:
    full, dot = np.ones((5, 5), bool), mask(5, 5, (2, 3, 2, 3))
    distances = surface_distances(full, dot, everywhere(full))
    # 16 frame pixels at 2 (4 of them), sqrt(5) (8) and sqrt(8) (4); the dot is 2 from the frame.
    expected = (4 * 2 + 8 * math.sqrt(5) + 4 * math.sqrt(8) + 2) / 17
    assert distances.mean == pytest.approx(expected)
    assert distances.hd95 == pytest.approx(math.sqrt(8))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24))
def test_against_every_pair_of_outline_pixels(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.random((2, height, width)) < random.uniform(0.05, 0.95)
    region = random.random((height, width)) < 0.9
    found = surface_distances(one, other, region)
    if not (one & region).any() or not (other & region).any():
        assert math.isnan(found.hd95)
        return
    hd95, mean = distances_by_pairs(one & region, other & region)
    assert found.hd95 == pytest.approx(hd95)
    assert found.mean == pytest.approx(mean)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_range_and_symmetry(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.random((2, 20, 30)) < random.uniform(0.1, 0.9)
    region = everywhere(one)
    score = cldice(one, other, region)
    assert 0 <= score <= 1
    assert cldice(other, one, region) == pytest.approx(score)
    forth, back = surface_distances(one, other, region), surface_distances(other, one, region)
    assert forth.hd95 == back.hd95
    assert forth.mean == pytest.approx(back.mean)


def test_the_place_in_the_picture_does_not_matter() -> None:
    random = np.random.default_rng(3)
    small = random.random((2, 15, 20)) < 0.5
    large = np.zeros((2, 80, 90), bool)
    large[:, 31:46, 57:77] = small
    region = np.ones((80, 90), bool)
    inner = np.ones((15, 20), bool)
    assert cldice(*large, region) == cldice(*small, inner)
    assert surface_distances(*large, region) == surface_distances(*small, inner)
