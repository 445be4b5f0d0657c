"""Recognise images that show several fields of view, side by side or touching."""

import math

import numpy as np
from scipy import ndimage

from fundus_cli.data.circle import (
    MIN_ROUND_SHARE,
    Circle,
    border_points,
    consensus_circle,
    distance_from,
    fit_circle,
    fit_tolerance,
    round_share,
)
from fundus_cli.data.regions import dilated, eroded, filled

MIN_SECOND_SHARE = 0.3
"""Area from which another disc beside the first counts as a field, as a share of the first."""
MAX_RADIUS_RATIO = 1.7
"""Ratio of two radii up to which both discs count as fields."""
CLOSED_BINS, MIN_CLOSED_SHARE = 70, 0.4
"""Number of the 90 bins of 4 degrees in which a disc that touches something has its border, and the
share of the region's border that lies on its circle."""
MAX_FIELDS = 6
"""Number of discs that are sought in one region."""


def num_others(bright: np.ndarray, circle: Circle) -> int:
    """Number of further bright discs of a similar size, outside the one that was found.

    Args:
        bright: (h, w) bool.
        circle: that of the disc.
    """
    # A sixteenth of the pixels tell that there is nothing else, as in almost every image.
    coarse = bright[::4, ::4]
    quarter = Circle(circle.x / 4, circle.y / 4, circle.radius / 4).filled(*coarse.shape)
    num_beyond = np.count_nonzero(coarse & ~quarter)
    if num_beyond < 0.5 * MIN_SECOND_SHARE * np.count_nonzero(quarter):
        return 0
    found = circle.filled(*bright.shape)
    least = MIN_SECOND_SHARE * np.count_nonzero(found)
    beyond = bright & ~found
    if np.count_nonzero(beyond) < least:
        return 0
    labels, _ = ndimage.label(dilated(eroded(beyond, beyond=False)))
    large = np.flatnonzero(np.bincount(labels.ravel())[1:] >= least) + 1
    others = [fit_circle(np.where(filled(labels == one), 0.5, -0.5)) for one in large]
    return sum(one is not None and _is_similar(one, circle) for one in others)


def circles_in(signed: np.ndarray) -> list[Circle]:
    """The circles of a region whose border does not lie on one circle alone.

    A disc that touches a bar has an almost closed circle; touching discs have one each.

    Args:
        signed: (h, w), as for `fit_circle`.

    Returns:
        Empty where there is no such circle.
    """
    left = points = border_points(signed)
    tolerance, circles = fit_tolerance(signed), list[Circle]()
    while len(circles) < MAX_FIELDS and len(left) > (1 - MIN_ROUND_SHARE) * len(points):
        circle = consensus_circle(left, tolerance)
        if circle is None or round_share(circle, left, tolerance) == 0:
            break
        if not all(_is_similar(circle, one) and _are_apart(circle, one) for one in circles):
            break
        circles.append(circle)
        left = left[np.abs(distance_from(circle, left)) > 2 * tolerance]
    else:
        if 1 < len(circles) < MAX_FIELDS:
            return circles
    first = circles[:1]
    is_closed = first and round_share(first[0], points, tolerance, CLOSED_BINS) >= MIN_CLOSED_SHARE
    return first if is_closed else []


def _is_similar(one: Circle, other: Circle) -> bool:
    return 1 / MAX_RADIUS_RATIO <= one.radius / other.radius <= MAX_RADIUS_RATIO


def _are_apart(one: Circle, other: Circle) -> bool:
    """Whether the discs overlap little, unlike those that fit parts of an oval."""
    return math.hypot(one.x - other.x, one.y - other.y) > 0.8 * (one.radius + other.radius)
