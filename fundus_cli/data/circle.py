"""Fit the circle that a region's border lies on, and the straight lines that cut it off."""

import math
from dataclasses import dataclass, replace

import numpy as np

MIN_BORDER_POINTS = 24
"""A border with fewer points is too short to distinguish a circle from another shape."""
MIN_CLOSE_POINTS = 12
"""Minimum number of border points within the tolerance of a circle."""
MAX_CANDIDATES = 180
"""Triples of border points that are tried for each of TRIPLES."""
TRIPLES = ((1 / 3, 2 / 3), (1 / 4, 1 / 2), (1 / 6, 1 / 3), (1 / 6, 2 / 3))
"""Distance of a triple's second and third point from its first, as shares of the border."""
CLEAR_SHARE = 0.95
"""With this share of the points near a circle, no further candidates are tried."""
MIN_ROUND_SHARE = 0.7
"""Share of the border that must lie on the circle (straight cuts and the frame left out)."""
MIN_ARC_BINS = 15
"""Minimum number of the 90 bins of 4 degrees that must hold border points on the circle."""


@dataclass(frozen=True, slots=True)
class Circle:
    """Centre, radius and cuts in pixels, with pixel centres at whole numbers.

    Points beyond a cut are outside. `share` is the part of the border that lies on the circle.
    """

    x: float
    y: float
    radius: float
    left: float = -np.inf
    right: float = np.inf
    top: float = -np.inf
    bottom: float = np.inf
    share: float = 1.0

    def enlarged(self, factor: int) -> "Circle":
        """The same circle in an image with `factor` times as many pixels along each side."""
        shift = (factor - 1) / 2
        places = (self.x, self.y, self.left, self.right, self.top, self.bottom)
        x, y, left, right, top, bottom = (factor * place + shift for place in places)
        return Circle(x, y, factor * self.radius, left, right, top, bottom, self.share)

    def filled(self, height: int, width: int) -> np.ndarray:
        """(height, width) bool, True where a pixel's centre lies in the circle and in its cuts."""
        rows, columns = np.arange(height), np.arange(width)
        squared = self.radius**2 - (rows - self.y) ** 2
        half_chord = np.sqrt(np.maximum(0.0, squared))
        left = np.maximum(self.x - half_chord, self.left)[:, None]
        right = np.minimum(self.x + half_chord, self.right)[:, None]
        inside = np.asarray((columns >= left) & (columns <= right))
        inside[(squared < 0) | (rows < self.top) | (rows > self.bottom)] = False
        return inside


def fit_circle(signed: np.ndarray) -> Circle | None:
    """The circle on which a region's border lies, also where the frame or straight bars cut it.

    Args:
        signed: (H, W), 0 or more inside the region and negative outside; between neighbours of
            different sign the border lies where the straight line through both crosses 0.

    Returns:
        None where the border is not round, too short or absent.
    """
    points = border_points(signed)
    if len(points) < MIN_BORDER_POINTS:
        return None
    tolerance = fit_tolerance(signed)
    circle = consensus_circle(points, tolerance)
    if circle is None:
        return None
    circle, on_cut = _with_cuts(circle, points, signed >= 0, tolerance)
    share = round_share(circle, points[~on_cut], tolerance)
    return replace(circle, share=share) if share >= MIN_ROUND_SHARE else None


def fit_tolerance(plane: np.ndarray) -> float:
    """How far from its circle a border point may lie, in pixels of this plane."""
    return 0.75 + 0.0025 * float(max(plane.shape))


def border_points(signed: np.ndarray) -> np.ndarray:
    """(n, 2) x and y where `signed` changes its sign between neighbours; none on the frame."""
    inside = signed >= 0
    y, x = np.nonzero(inside[:-1] != inside[1:])
    down = np.stack([x, y + _zero(signed[y, x], signed[y + 1, x])], axis=1)
    y, x = np.nonzero(inside[:, :-1] != inside[:, 1:])
    across = np.stack([x + _zero(signed[y, x], signed[y, x + 1]), y], axis=1)
    return np.concatenate([down, across])


def _zero(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where the line through two values crosses 0, from 0 at the first to 1 at the second."""
    # Signs differ, and 0 counts as inside, so this never divides by 0.
    return np.asarray(first / (first - second))


def consensus_circle(points: np.ndarray, tolerance: float) -> Circle | None:
    """The circle with the most points within `tolerance` of it, then least squares on those.

    As in RANSAC (Fischler and Bolles 1981), each candidate passes through three points, but these
    are spread evenly along the border instead of sampled at random, so that the result is
    deterministic. The same points vote for the best candidate.

    Args:
        points: (n, 2) x and y.
        tolerance: pixels.

    Returns:
        None where fewer than MIN_CLOSE_POINTS points lie near any candidate.
    """
    if len(points) < MIN_CLOSE_POINTS:
        return None
    order = np.argsort(np.arctan2(*(points - points.mean(axis=0)).T))
    spread = np.linspace(0, len(order) - 1, min(MAX_CANDIDATES, len(order))).astype(int)
    some = points[order[spread]]
    twice = np.concatenate([some, some])
    most, best = 0, Circle(0, 0, 0)
    for parts in TRIPLES:
        second, third = (twice[int(part * len(some)) :][: len(some)] for part in parts)
        x, y, radius = _through(some, second, third)
        votes = _votes(x, y, radius, some, tolerance)
        first = int(votes.argmax())
        if votes[first] > most:
            most, best = int(votes[first]), Circle(*(float(v[first]) for v in (x, y, radius)))
        if most >= CLEAR_SHARE * len(some):
            break
    close = np.abs(distance_from(best, points)) <= tolerance
    if np.count_nonzero(close) < MIN_CLOSE_POINTS:
        return None
    circle = refined_circle(points, close, tolerance)
    return circle if math.isfinite(circle.radius) else None


def refined_circle(points: np.ndarray, close: np.ndarray, tolerance: float) -> Circle:
    """Circle by algebraic least squares (Kasa 1976) on the close points, reselected up to twice.

    Its radius is infinite where those points are in line.

    Args:
        points: (n, 2) x and y.
        close: (n) bool, the initial points, at least three.
        tolerance: points within this many pixels of a fit are used for the next.
    """
    circle = _least_squares(points[close])
    for _ in range(2):
        closer = np.abs(distance_from(circle, points)) <= tolerance
        if np.count_nonzero(closer) < MIN_CLOSE_POINTS or np.array_equal(closer, close):
            break
        close = closer
        circle = _least_squares(points[close])
    return circle


def _votes(
    x: np.ndarray, y: np.ndarray, radius: np.ndarray, points: np.ndarray, tolerance: float
) -> np.ndarray:
    """How many of the points lie within `tolerance` of each circle.

    |d - r| <= t is |d^2 - r^2 - t^2| <= 2 r t, as long as r > t, and the squared distances of all
    pairs are one product of matrices.
    """
    of_points = np.empty((4, len(points)))
    of_points[0:2], of_points[3] = points.T, 1
    of_points[2] = (points**2).sum(axis=1)
    of_circles = np.empty((len(x), 4))
    of_circles[:, 0], of_circles[:, 1], of_circles[:, 2] = -2 * x, -2 * y, 1
    of_circles[:, 3] = x**2 + y**2 - radius**2 - tolerance**2
    beyond = of_circles @ of_points
    near = np.abs(beyond, out=beyond) <= (2 * tolerance * radius)[:, None]
    return np.asarray(np.count_nonzero(near, axis=1))


def _through(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres and radii of the circles through three points each; NaN where they are in line."""
    u, v = b - a, c - a
    cross = 2 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    cross[np.abs(cross) < 1e-9] = np.nan
    uu, vv = u[:, 0] ** 2 + u[:, 1] ** 2, v[:, 0] ** 2 + v[:, 1] ** 2
    x = (v[:, 1] * uu - u[:, 1] * vv) / cross
    y = (u[:, 0] * vv - v[:, 0] * uu) / cross
    return a[:, 0] + x, a[:, 1] + y, np.hypot(x, y)


def _least_squares(points: np.ndarray) -> Circle:
    # Squares of coordinates relative to the mean lose no precision.
    origin = points.mean(axis=0)
    near = points - origin
    squares = near[:, 0] ** 2 + near[:, 1] ** 2
    # With the mean as origin, the two equations for the centre do not contain the radius.
    (xx, xy), (_, yy) = (2 * near.T @ near).tolist()
    along_x, along_y = (near.T @ squares).tolist()
    # 0 where all points are in line.
    determinant = xx * yy - xy**2
    if determinant <= 1e-12 * (xx + yy) ** 2:
        return Circle(float(origin[0]), float(origin[1]), math.inf)
    x = (yy * along_x - xy * along_y) / determinant
    y = (xx * along_y - xy * along_x) / determinant
    radius = math.sqrt(squares.mean() + x**2 + y**2)
    return Circle(float(origin[0] + x), float(origin[1] + y), float(radius))


def distance_from(circle: Circle, points: np.ndarray) -> np.ndarray:
    distance = np.sqrt((points[:, 0] - circle.x) ** 2 + (points[:, 1] - circle.y) ** 2)
    return np.asarray(distance - circle.radius)


def _with_cuts(
    circle: Circle, points: np.ndarray, inside: np.ndarray, tolerance: float
) -> tuple[Circle, np.ndarray]:
    """The circle with its straight cuts, and which points lie on those.

    Where the circle reaches beyond the border's bounding box, but the region does not reach the
    frame, the box is a cut if most of the chord there is border.
    """
    on_cut = np.zeros(len(points), bool)
    cuts: dict[str, float] = {}
    first, last = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    sides = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
    for side, (axis, sign) in sides.items():
        edge = (first if sign < 0 else last)[axis]
        depth = sign * ((circle.x, circle.y)[axis] - edge) + circle.radius
        # x runs along the columns, so axis 0 of a point is axis 1 of the image.
        if depth <= tolerance or inside.take(0 if sign < 0 else -1, axis=1 - axis).any():
            continue
        at_edge = np.abs(points[:, axis] - edge) <= 1
        half_chord = np.sqrt(max(0.0, circle.radius**2 - (circle.radius - depth) ** 2))
        length = np.ptp(points[at_edge, 1 - axis])
        if length >= 1.4 * half_chord and at_edge.sum() >= half_chord:
            cuts[side] = float(np.median(points[at_edge, axis]))
            on_cut |= at_edge
    return replace(circle, **cuts), on_cut


def round_share(
    circle: Circle, points: np.ndarray, tolerance: float, min_bins: int = MIN_ARC_BINS
) -> float:
    """Share of the points that lie on the circle; 0 where they do not go far enough around it."""
    on_circle = points[np.abs(distance_from(circle, points)) <= tolerance]
    angles = np.arctan2(on_circle[:, 1] - circle.y, on_circle[:, 0] - circle.x)
    bins = (angles / np.radians(4)).round().astype(int)
    arc_bins = int(np.count_nonzero(np.bincount(bins - bins.min(initial=0))))
    return len(on_circle) / len(points) if arc_bins >= min_bins else 0.0
