"""Image quality checks: signs that an image is unlike the fundus images of training."""

import math

import numpy as np

from fundus_cli.data.regions import brightest
from fundus_cli.data.samples import FundusImage, level_counts

MIN_LEVEL = 50.0
"""Minimum median of the brightest channel inside the FOV; CHASE_DB1 has 89 and more, HRF 161."""
MIN_VISIBLE_SHARE = 0.6
"""Minimum visible share of the round field of view; HRF, cut above and below, shows 0.83."""
MIN_RED_SHARE = 0.9
"""Minimum ratio of mean red to green and of green to blue; a retina is more red than green and more
green than blue, and in a grey image all are equal."""
MIN_AREA_SHARE = 0.2
"""Minimum share of the image that the FOV covers; the smallest of CHASE_DB1 covers 0.65."""
MIN_DIAMETER_PX = 100.0
"""Minimum diameter of the FOV; below it a vessel is narrower than a pixel."""


def quality_warnings(fundus_image: FundusImage, image: np.ndarray) -> list[str]:
    """Reasons why a prediction may be wrong; empty for an ordinary fundus image.

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
        found.append("not a fundus image? no dark surround or any other, so the scale is unknown")
    elif num_inside < MIN_AREA_SHARE * fov.size:
        share = num_inside / fov.size
        found.append(f"not a fundus image? only {share:.0%} of the image is bright")
    elif num_inside < MIN_VISIBLE_SHARE * math.pi * diameter**2 / 4:
        share = num_inside / (math.pi * diameter**2 / 4)
        found.append(f"cut off? {share:.0%} of the round field of view can be seen")
    elif not fundus_image.is_round:
        found.append("the field of view is not round, so the scale is unknown")
    if fundus_image.num_fields > 1:
        found.append(f"{fundus_image.num_fields} fields of view, of which one is predicted")
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
