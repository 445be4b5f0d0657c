"""Circles through border points, against points whose circle is known."""

import numpy as np
import pytest

from fundus_cli.data.circle import (
    Circle,
    border_points,
    consensus_circle,
    fit_circle,
    refined_circle,
)


def around(x: float, y: float, radius: float, number: int, arc: float = 1.0) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi * arc, number, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def depth(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """How deep inside a circle each pixel lies."""
    rows, columns = np.mgrid[:height, :width]
    return radius - np.hypot(columns - x, rows - y)


@pytest.mark.parametrize("arc", [1.0, 0.5, 0.3])
def test_points_of_a_circle_give_that_circle(arc: float) -> None:
    circle = consensus_circle(around(100.25, -7.5, 33.3, 200, arc), tolerance=0.5)
    assert circle is not None
    assert (circle.x, circle.y, circle.radius) == pytest.approx((100.25, -7.5, 33.3), abs=1e-6)


def test_a_mean_far_from_zero_loses_no_precision() -> None:
    circle = consensus_circle(around(1e6, 2e6, 50, 100), tolerance=0.5)
    assert circle is not None
    assert (circle.x - 1e6, circle.y - 2e6, circle.radius) == pytest.approx((0, 0, 50), abs=1e-6)


def test_outliers_are_ignored() -> None:
    random = np.random.default_rng(0)
    good = around(60, 50, 40, 120)
    wild = random.uniform(0, 120, (200, 2))
    wild = wild[np.abs(np.hypot(wild[:, 0] - 60, wild[:, 1] - 50) - 40) > 3]
    assert len(wild) > 100
    points = random.permutation(np.concatenate([good, wild]))
    circle = consensus_circle(points, tolerance=0.5)
    assert circle is not None
    assert (circle.x, circle.y, circle.radius) == pytest.approx((60, 50, 40), abs=1e-6)
    assert consensus_circle(points, tolerance=0.5) == circle


def test_a_fit_to_some_points_is_refined_on_all_that_lie_near() -> None:
    points = around(60, 50, 40, 300) + np.random.default_rng(0).normal(0, 0.3, (300, 2))
    points[::10] += 15
    wild = np.arange(300) % 10 == 0
    some = ~wild & (np.arange(300) < 150)
    refined = refined_circle(points, some, tolerance=3)
    assert refined != refined_circle(points, some, tolerance=0)
    assert refined == refined_circle(points, ~wild, tolerance=3)
    assert (refined.x, refined.y, refined.radius) == pytest.approx((60, 50, 40), abs=0.1)


@pytest.mark.parametrize(
    "points",
    [np.zeros((0, 2)), around(0, 0, 9, 11), np.stack([np.arange(50.0), np.arange(50.0)], axis=1)],
    ids=["none", "too few", "in line"],
)
def test_without_a_circle_the_answer_is_none(points: np.ndarray) -> None:
    assert consensus_circle(points, tolerance=0.5) is None


def test_the_border_lies_where_the_straight_line_crosses_zero() -> None:
    signed = np.array([[-1.0, 3.0, 1.0, -1.0], [-1.0, 0.0, -4.0, -2.0]])
    # First row: a quarter of the way from 0 to 1, half from 2 to 3; second: at 1, twice.
    across = [(0.25, 0.0), (2.5, 0.0), (1.0, 1.0), (1.0, 1.0)]
    down = [(2.0, 0.2)]
    assert sorted(map(tuple, border_points(signed).tolist())) == sorted(across + down)
    assert border_points(np.ones((3, 4))).shape == (0, 2)
    assert border_points(-np.ones((1, 1))).shape == (0, 2)


@pytest.mark.parametrize(
    "geometry",
    [
        (200, 240, 118.4, 99.7, 80.0),
        (160, 240, 118.4, 79.7, 110.0),
        (200, 240, 40.3, 99.7, 90.0),
        (30, 32, 15.2, 14.6, 11.0),
        (54, 15, 9.2, 30.0, 6.5),
    ],
    ids=["whole", "cut above and below", "cut at the left", "small", "small, cut at the right"],
)
def test_the_circle_of_a_region_is_fitted(geometry: tuple[int, int, float, float, float]) -> None:
    _, _, *expected = geometry
    circle = fit_circle(depth(*geometry))
    assert circle is not None
    assert (circle.x, circle.y, circle.radius) == pytest.approx(expected, abs=0.02)
    assert (circle.left, circle.right, circle.top, circle.bottom) == (-np.inf, np.inf) * 2


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_bar_is_a_cut_and_not_part_of_the_circle(side: str) -> None:
    bar = {"left": (30, "x", 1), "right": (170, "x", -1), "top": (40, "y", 1)}
    place, axis, sign = bar.get(side, (165, "y", -1))
    rows, columns = np.mgrid[:200, :200]
    beyond = sign * ((columns if axis == "x" else rows) - place)
    circle = fit_circle(np.minimum(depth(200, 200, 100, 102, 85), beyond - 0.5))
    assert circle is not None
    assert (circle.x, circle.y, circle.radius) == pytest.approx((100, 102, 85), abs=0.1)
    cuts = {name: getattr(circle, name) for name in ("left", "right", "top", "bottom")}
    assert cuts.pop(side) == pytest.approx(place + 0.5 * sign)
    assert all(np.isinf(cut) for cut in cuts.values())


def test_marks_beside_the_region_do_not_move_the_circle() -> None:
    signed = depth(200, 200, 100, 100, 80)
    signed[5:12, 5:30] = 3
    signed[185:195, 150:190] = 3
    circle = fit_circle(signed)
    assert circle is not None
    assert (circle.x, circle.y, circle.radius) == pytest.approx((100, 100, 80), abs=0.05)


def shape(name: str) -> np.ndarray:
    rows, columns = np.mgrid[-50:50, -60:60]
    shapes = {
        "empty": np.zeros((100, 120), bool),
        "all": np.ones((100, 120), bool),
        "half plane": columns < 3,
        "square": np.maximum(np.abs(rows), np.abs(columns)) < 35,
        "oval": (rows / 30) ** 2 + (columns / 50) ** 2 < 1,
        "triangle": (rows < 40) & (rows > 2 * np.abs(columns) - 45),
        "short arc": rows**2 + (columns + 160) ** 2 < 140**2,
        "tiny disc": rows**2 + columns**2 < 8,
    }
    return np.where(shapes[name], 0.5, -0.5)


@pytest.mark.parametrize(
    "name", ["empty", "all", "half plane", "square", "oval", "triangle", "short arc", "tiny disc"]
)
def test_what_is_not_round_has_no_circle(name: str) -> None:
    assert fit_circle(shape(name)) is None


def test_filled_holds_the_pixels_whose_centres_lie_inside() -> None:
    plus = [[0, 0, 1, 0], [0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert np.array_equal(Circle(2, 1, 1).filled(4, 4), np.array(plus, bool))
    cut = [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert np.array_equal(Circle(2, 1, 1, right=2.5, top=0.5).filled(4, 4), np.array(cut, bool))
    assert not Circle(2, 1, 1, left=2.5, bottom=0.9).filled(4, 4)[:, :3].any()


def test_enlarged_keeps_its_position_in_an_image_with_more_pixels() -> None:
    # Pixel 0 becomes pixels 0 to 3, whose middle is 1.5.
    assert Circle(0, 1, 2, left=-0.5).enlarged(4) == Circle(1.5, 5.5, 8, left=-0.5)
    circle = Circle(20.3, 17.8, 12.4, bottom=25.5)
    blocks = circle.enlarged(4).filled(160, 160).reshape(40, 4, 40, 4).mean(axis=(1, 3))
    assert np.count_nonzero((blocks >= 0.5) != circle.filled(40, 40)) <= 6
    assert blocks[26:].sum() == 0


@pytest.mark.parametrize("height", [0.0, 1e-9])
def test_points_in_line_give_no_circle(height: float) -> None:
    x = np.linspace(0, 99, 100)
    points = np.stack([x, 7 + height * (x % 2)], axis=1)
    assert consensus_circle(points, tolerance=0.5) is None
    assert refined_circle(np.stack([x, 2 * x], axis=1), x >= 0, 0.5).radius == np.inf
