"""Widths of drawn bars, and what is found and right by width, by hand."""

import math

import numpy as np
import pytest
from scipy import ndimage

from fundus_cli.evaluation.shape_metrics import Shape
from fundus_cli.evaluation.widths import EDGES_PX, NUM_BINS, WidthCounts, count_by_width


def bars(*rows: tuple[int, int]) -> np.ndarray:
    """Bars (first row, width) across the whole picture but for 30 pixels at both ends."""
    drawn = np.zeros((120, 200), bool)
    for top, width in rows:
        drawn[top : top + width, 30:170] = True
    return drawn


def shape(drawn: np.ndarray) -> Shape:
    return Shape(drawn, np.ones_like(drawn))


@pytest.mark.parametrize(
    ("width", "expected"), [(1, 2), (2, 2), (3, 4), (4, 4), (7, 8), (8, 8), (15, 16), (24, 24)]
)
def test_a_straight_bar_has_its_own_width(width: int, expected: int) -> None:
    drawn = bars((40, width))
    widths = np.zeros(drawn.shape)
    widths[drawn] = shape(drawn).widths
    # Far from the ends, where the centreline of a bar forks or stops.
    assert np.all(widths[:, 70:130][drawn[:, 70:130]] == expected)


def test_widths_equal_the_distance_map_at_the_nearest_centreline_pixel() -> None:
    random = np.random.default_rng(5)
    drawn = ndimage.gaussian_filter(random.normal(size=(90, 110)), 4) > 0.05
    own = shape(drawn)
    depth = 2 * ndimage.distance_transform_edt(own.mask)
    line = np.argwhere(own.skeleton)
    for width, point in zip(own.widths, np.argwhere(own.mask), strict=True):
        distance = ((line - point) ** 2).sum(axis=1)
        nearest = line[distance == distance.min()]
        # Of centreline pixels at equal distance any may be taken.
        assert any(width == pytest.approx(depth[tuple(pixel)]) for pixel in nearest)


def test_found_and_right_by_width_by_hand() -> None:
    # A thin vessel missed, a middle one found whole, a wide one of which a thin line is found.
    target = bars((10, 2), (40, 6), (80, 16))
    prediction = bars((40, 6), (87, 2), (110, 2))
    found = count_by_width(shape(prediction), shape(target)).to_plain()
    at = {low: i for i, low in enumerate(found["low_px"])}
    assert found["sensitivity"][at[0.0]] == 0
    assert found["sensitivity"][at[5.0]] == pytest.approx(1)
    assert found["num_target_px"][at[0.0]] >= 2 * 140
    assert found["precision"][at[5.0]] == 1
    # Of the two thin predicted lines one lies inside the wide vessel, one on nothing.
    assert found["precision"][at[0.0]] == pytest.approx(0.5, abs=0.02)
    assert sum(found["num_target_px"]) == target.sum()
    assert sum(found["num_predicted_px"]) == prediction.sum()
    wide = at[12.0]
    assert found["sensitivity"][wide] == pytest.approx(2 / 16, abs=0.02)
    assert math.isnan(found["precision"][wide])
    assert math.isnan(found["dice"][wide])
    assert found["dice"][at[0.0]] == 0
    assert found["dice"][at[5.0]] == pytest.approx(1)


def test_edges_belong_to_the_bin_below_and_counts_add() -> None:
    widths = [2.0, 2.1, 3.0, 5.0, 20.0, 20.1, 400.0]
    bins = np.searchsorted(EDGES_PX[1:], widths, side="left")
    assert bins.tolist() == [0, 1, 1, 2, 5, 6, 6]
    one = count_by_width(shape(bars((10, 2))), shape(bars((10, 6))))
    double = one + one
    assert (double.target == 2 * one.target).all()
    assert (double.predicted_right == 2 * one.predicted_right).all()
    assert double.to_plain()["sensitivity"][:3] == pytest.approx(
        one.to_plain()["sensitivity"][:3], nan_ok=True
    )


def test_nothing_predicted_of_nothing_is_undefined_everywhere() -> None:
    empty = shape(np.zeros((20, 20), bool))
    found = count_by_width(empty, empty)
    for counts in (found, WidthCounts()):
        plain = counts.to_plain()
        assert plain["num_target_px"] == [0] * NUM_BINS
        assert all(math.isnan(v) for key in ("sensitivity", "dice") for v in plain[key])


def test_only_the_region_counts() -> None:
    target, region = bars((40, 6)), np.zeros((120, 200), bool)
    region[:, :100] = True
    found = count_by_width(Shape(target, region), Shape(target, region))
    assert found.target.sum() == 70 * 6
