"""Detect the disc or other region that stands out of a uniform surround."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from fundus_cli.data.circle import MIN_CLOSE_POINTS, Circle, fit_circle, refined_circle
from fundus_cli.data.regions import dilated, eroded, largest_region, median
from fundus_cli.data.several_fields import circles_in, num_others

CONTRAST_SHARES = (0.12, 0.2, 0.06, 0.3, 0.45)
"""Thresholds to try, as shares of the way from the surround's level to the retina's."""
MIN_CONTRAST = 6.0
"""Minimum difference between retina and surround in grey levels (of 255)."""
MAX_SLOPE_SHARE = 0.25
"""Share of the surround in the upper half of its levels, above which it is mere vignetting."""
MIN_AREA_SHARE = 0.01
"""A bright region smaller than this share of the image is a reflection or text."""
SMALL_PX = 150
"""In an image below this size, smoothing shifts the border by one pixel instead of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How far the pixels of an image stand out of its surround.

    Attributes:
        level: (h, w) float64, at reduced size and smoothed; larger inside the field.
        surround: level of the surround.
        noise: standard deviation of the surround's level.
        factor: full size divided by reduced size.
        hw: full height and width.
        sample: levels of full-size pixels, given by their indices in the flattened image.
    """

    level: np.ndarray
    surround: float
    noise: float
    factor: int
    hw: tuple[int, int]
    sample: Callable[[np.ndarray], np.ndarray]

    @property
    def floor(self) -> float:
        """The level from which a pixel may belong to the field."""
        return self.surround + max(MIN_CONTRAST, 4 * self.noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A region that stands out of the surround.

    Attributes:
        mask: (H, W) bool at full size.
        circle: the circle on which its border lies, at full size; None where there is none.
        num_fields: number of discs of a similar size in the image, this one included.
    """

    mask: np.ndarray
    circle: Circle | None
    num_fields: int = 1


def find_field(contrast: Contrast, retina: float) -> Field | None:
    """The largest region above the surround, thresholded at several levels.

    The first region whose border lies on a circle is taken, and that circle is moved to the edge's
    half height at full size. Where no circle fits (square or oval fields), it is the region itself.

    Args:
        contrast: the image.
        retina: typical level of the retina.

    Returns:
        None where nothing stands out, or nothing that has an edge.
    """
    level, surround, factor = contrast.level, contrast.surround, contrast.factor
    height, width = contrast.hw
    fallback = None
    for share in CONTRAST_SHARES:
        threshold = max(contrast.floor, surround + share * (retina - surround))
        bright = level >= threshold
        region = largest_region(bright)
        is_large = np.count_nonzero(region) >= MIN_AREA_SHARE * region.size
        if not is_large or not _is_step(level, region, surround, threshold):
            continue
        above = _above_half_height(level, region, surround)
        circle = fit_circle(above)
        if circle is not None:
            return _round_field(contrast, [circle], bright)
        fallback = (above, bright) if fallback is None else fallback
    if fallback is None:
        return None
    above, bright = fallback
    circles = circles_in(above)
    if circles:
        return _round_field(contrast, circles, bright)
    mask = _enlarged(above, factor)[:height, :width]
    return Field(mask=mask, circle=None)


def _round_field(contrast: Contrast, circles: list[Circle], bright: np.ndarray) -> Field:
    """The field in the first of these circles, which are given at reduced size."""
    circle = circles[0]
    num_fields = max(len(circles), 1 + num_others(bright, circle))
    circle = _at_half_height(contrast, circle.enlarged(contrast.factor))
    mask = circle.filled(*contrast.hw)
    return Field(mask=mask, circle=circle, num_fields=num_fields)


def _is_step(level: np.ndarray, region: np.ndarray, surround: float, threshold: float) -> bool:
    """Whether the outside is flat up to the border, unlike the slope of a vignetted frame."""
    outside = level[~region & (level < threshold)]
    num_upper = np.count_nonzero(outside > (surround + threshold) / 2)
    return outside.size > 0 and bool(num_upper <= MAX_SLOPE_SHARE * outside.size)


def _above_half_height(level: np.ndarray, region: np.ndarray, surround: float) -> np.ndarray:
    """Brightness above half of the way from the surround to the retina beside each pixel.

    Smoothing and a low threshold make the region too large, never too small; so its border may
    move inwards to the half height, but only a little: vessels, shadows and dark retina stay in.
    """
    depth = 1 if max(level.shape) < SMALL_PX else 2
    beside = ndimage.maximum_filter(np.where(region, level, surround), 2 * depth + 3)
    above = level - (surround + beside) / 2
    deep = region
    for _ in range(depth):
        deep = eroded(deep, beyond=True)
    above[deep] = np.maximum(above[deep], 0.0)
    # Text outside the region is bright too and must not count as inside.
    above[~region] = np.minimum(above[~region], -1e-3)
    return np.asarray(above)


def _at_half_height(contrast: Contrast, circle: Circle) -> Circle:
    """Move the circle to where the full-size image is halfway from surround to retina."""
    (height, width), surround, factor = contrast.hw, contrast.surround, contrast.factor
    reach = 2.0 * factor + 0.01 * circle.radius
    steps = np.arange(-reach, reach + 0.25, 0.5)
    # Four angles per pixel of the border are enough.
    num_angles = min(720, math.ceil(8 * np.pi * circle.radius))
    angles = np.linspace(0, 2 * np.pi, num_angles, endpoint=False)
    x = np.rint(circle.x + np.cos(angles)[:, None] * (circle.radius + steps)).astype(int)
    y = np.rint(circle.y + np.sin(angles)[:, None] * (circle.radius + steps)).astype(int)
    seen = _stays_within(x, width) & _stays_within(y, height)
    if not seen.any():
        return circle
    # Flat indices are looked up several times faster than pairs of them.
    profile = contrast.sample((y * width + x)[seen])
    retina = median(profile[:, : len(steps) // 4])
    # Counting bright samples, instead of taking the first dark one, is robust to noise.
    bright = np.count_nonzero(profile >= (retina[:, None] + surround) / 2, axis=1)
    radius = circle.radius - reach + 0.5 * bright - 0.25
    usable = (retina - surround >= MIN_CONTRAST) & (bright > 0) & (bright < len(steps))
    angles, radius = angles[seen][usable], radius[usable]
    if len(radius) < MIN_CLOSE_POINTS:
        return circle
    points = np.stack([circle.x + radius * np.cos(angles), circle.y + radius * np.sin(angles)], 1)
    close = np.abs(radius - median(radius)) <= reach
    better = refined_circle(points, close, max(1.0, 0.004 * circle.radius))
    if not math.isfinite(better.radius):
        return circle
    return replace(circle, x=better.x, y=better.y, radius=better.radius)


def _stays_within(rays: np.ndarray, length: int) -> np.ndarray:
    """Which of the straight rays, one per row, stay from 0 to below `length`."""
    first, last = rays[:, 0], rays[:, -1]
    return np.asarray((np.minimum(first, last) >= 0) & (np.maximum(first, last) < length))


def _enlarged(above: np.ndarray, factor: int) -> np.ndarray:
    """`above` >= 0 at full size, linear between the reduced pixels along the border."""
    inside = above >= 0
    if factor == 1:
        return inside
    full = inside.repeat(factor, axis=0).repeat(factor, axis=1)
    y, x = np.nonzero(dilated(inside) & ~eroded(inside, beyond=True))
    offset = np.arange(factor)
    fine_y = (y[:, None, None] * factor + offset[:, None]).repeat(factor, axis=2)
    fine_x = (x[:, None, None] * factor + offset[None, :]).repeat(factor, axis=1)
    at = np.stack([fine_y, fine_x]) / factor + (1 - factor) / (2 * factor)
    full[fine_y, fine_x] = ndimage.map_coordinates(above, at, order=1, mode="nearest") >= 0
    return full
