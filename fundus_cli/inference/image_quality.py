"""Signs that an image is not what a network for fundus images was made for."""

import math

import numpy as np

from fundus_cli.data.fov import brightest
from fundus_cli.data.samples import FundusImage, level_counts

MIN_LEVEL = 50.0
"""Median of the brightest channel inside the field of view; CHASE_DB1 has 89 and more, HRF 161."""
MIN_VISIBLE_SHARE = 0.6
"""Of the disc that the field of view is part of; HRF, cut above and below, shows 0.83."""
MIN_RED_SHARE = 0.9
"""Mean red over green and green over blue; a retina is red before it is green before it is blue,
and in a grey image all are equal."""
MIN_AREA_SHARE = 0.2
"""Of the picture; the smallest field of CHASE_DB1 covers 0.65 of it."""
MIN_DIAMETER_PX = 100.0
"""Below this a vessel is narrower than a pixel."""


def quality_warnings(fundus_image: FundusImage, image: np.ndarray) -> list[str]:
    """Why this picture's prediction may mean nothing; empty for an ordinary fundus image.

    Args:
        image: as prepared for the network.
        image: (h, w, 3) uint8 at native size.
    """
    fov = fundus_image.native_fov.unpack()[0]
    num_inside = int(np.count_nonzero(fov))
    red, green, blue = level_counts(image, fov) @ np.arange(256) / num_inside
    level = _median(level_counts(brightest(image), fov)[0])
    diameter = fundus_image.fov_diameter_px
    found = []
    if fundus_image.fov_origin == "found" and fov.all():
        found.append("not a fundus image? no dark surround")
    elif num_inside < MIN_AREA_SHARE * fov.size:
        share = num_inside / fov.size
        found.append(f"not a fundus image? only {share:.0%} of the picture is bright")
    elif num_inside < MIN_VISIBLE_SHARE * math.pi * diameter**2 / 4:
        share = num_inside / (math.pi * diameter**2 / 4)
        found.append(f"cut off? {share:.0%} of the round field of view can be seen")
    if red < MIN_RED_SHARE * green or green < MIN_RED_SHARE * blue:
        found.append(
            f"not a fundus image? mean red, green, blue {red:.0f}, {green:.0f}, {blue:.0f}"
        )
    if level < MIN_LEVEL:
        found.append(f"too dark: median brightness {level:.0f} of 255")
    if diameter < MIN_DIAMETER_PX:
        found.append(f"too small: the field of view is {diameter:.0f} pixels wide")
    return found


def _median(counts: np.ndarray) -> float:
    """Of numbers 0 to 255 that occur so often, at least one of them."""
    up_to = np.cumsum(counts)
    num = int(up_to[-1])
    low, high = np.searchsorted(up_to, ((num - 1) // 2, num // 2), side="right")
    return (int(low) + int(high)) / 2
