"""Detect the field of view of an image: the bright disc on its dark surround."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy import ndimage

from fundus_cli.data.circle import MIN_CLOSE_POINTS, Circle, fit_circle, refined_circle

REDUCED_PX = 512
"""Longer side of the reduced copy on which the disc is detected."""
CONTRAST_SHARES = (0.12, 0.2, 0.06, 0.3, 0.45)
"""Thresholds to try, as shares of the way from the surround's level to the retina's."""
MIN_CONTRAST = 6.0
"""Minimum difference between retina and surround in grey levels (of 255)."""
MAX_BLACK = 16.0
"""An image without contrast and at or below this grey level counts as black."""
MAX_SURROUND_SHARE = 0.35
"""A corner brighter than this share of the retina's level does not count as dark surround."""
MAX_SLOPE_SHARE = 0.25
"""Share of the surround in the upper half of its levels, above which it is mere vignetting."""
MIN_AREA_SHARE = 0.01
"""A bright region smaller than this share of the image is a reflection or text."""
SMALL_PX = 150
"""In an image below this size, smoothing shifts the border by one pixel instead of two."""


def find_fov(image: np.ndarray) -> np.ndarray:
    """Detect the disc that shows the retina, without text or reflections.

    A reduced copy is thresholded at several levels between the surround's and the retina's. The
    first region whose border lies on a circle is taken, and that circle is moved to the edge's half
    height at full size. Where no circle fits (square or oval fields), the bright region itself is
    returned.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (H, W) bool; all True where there is no dark surround, all False where
        the image is black.
    """
    height, width = image.shape[:2]
    factor = _factor(image)
    full = Image.fromarray(image)
    reduced = np.asarray(full.reduce(factor) if factor > 1 else full)
    level = ndimage.uniform_filter(brightest(reduced).astype(np.float64), 3)

    surround, noise = _darkest_corner(level)
    floor = surround + max(MIN_CONTRAST, 4 * noise)
    lit = level > floor
    if not lit.any():
        return np.full((height, width), surround > MAX_BLACK)
    retina = float(_median(level[lit]))
    if surround > MAX_SURROUND_SHARE * retina:
        return np.ones((height, width), bool)

    fallback = None
    for share in CONTRAST_SHARES:
        threshold = max(floor, surround + share * (retina - surround))
        region = _largest_region(level >= threshold)
        is_large = np.count_nonzero(region) >= MIN_AREA_SHARE * region.size
        if not is_large or not _is_step(level, region, surround, threshold):
            continue
        above = _above_half_height(level, region, surround)
        circle = fit_circle(above)
        if circle is not None:
            circle = _at_half_height(image, circle.enlarged(factor), surround, factor)
            return circle.filled(height, width)
        fallback = above if fallback is None else fallback
    if fallback is None:
        return np.full((height, width), bool(lit.mean() >= MIN_AREA_SHARE))
    return _enlarged(fallback, factor)[:height, :width]


def fov_diameter_px(fov: np.ndarray) -> float:
    """Diameter of the circle that a field of view is part of, also where the frame cuts it.

    Where no circle fits (a mask without background, a square), the longer side of the bounding
    box is returned.

    Args:
        fov: (H, W) bool.

    Returns:
        Pixels; NaN when nothing is inside.
    """
    rows, columns = np.flatnonzero(fov.any(axis=1)), np.flatnonzero(fov.any(axis=0))
    if len(rows) == 0:
        return math.nan
    factor = _factor(fov)
    full = Image.fromarray(fov.astype(np.uint8) * np.uint8(255))
    reduced = np.asarray(full.reduce(factor) if factor > 1 else full)
    circle = fit_circle(reduced / 255 - 0.5)
    if circle is not None:
        return 2 * factor * circle.radius
    return float(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1)


def _factor(image: np.ndarray) -> int:
    return math.ceil(int(max(image.shape[:2])) / REDUCED_PX)


def brightest(image: np.ndarray) -> np.ndarray:
    """(H, W) of (H, W, 3): the largest of the three, many times faster than max(axis=2)."""
    return np.asarray(np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2]))


def _darkest_corner(level: np.ndarray) -> tuple[float, float]:
    """Level and noise of the surround. A disc that does not fill the image leaves out a corner."""
    side = max(2, min(level.shape) // 40)
    near, far = slice(None, side), slice(-side, None)
    corners = [level[rows, columns] for rows in (near, far) for columns in (near, far)]
    medians = _median(np.reshape(corners, (4, -1)))
    darkest = int(medians.argmin())
    return float(medians[darkest]), float(corners[darkest].std())


def _median(values: np.ndarray) -> np.ndarray:
    """np.median along the last axis, of finite values; several times faster where they are few."""
    length = values.shape[-1]
    middle = [(length - 1) // 2, length // 2]
    low, high = np.moveaxis(np.partition(values, middle, axis=-1)[..., middle], -1, 0)
    return np.asarray((low.astype(np.float64) + high) / 2)


def _largest_region(bright: np.ndarray) -> np.ndarray:
    """The largest connected part, without thin attachments and holes."""
    opened = _dilated(_eroded(bright, beyond=False))
    labels, count = ndimage.label(opened)
    if count == 0:
        return opened
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    parts, count = ndimage.label(labels != sizes.argmax())
    is_filled = np.ones(count + 1, bool)
    for at_frame in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        is_filled[at_frame] = False
    is_filled[0] = True
    return np.asarray(is_filled[parts])


def _eroded(inside: np.ndarray, *, beyond: bool) -> np.ndarray:
    """Where a pixel and its eight neighbours are inside; beyond the frame, `beyond` holds."""
    height, width = inside.shape
    framed = np.full((height + 2, width + 2), beyond)
    framed[1:-1, 1:-1] = inside
    rows = framed[:-2] & framed[1:-1] & framed[2:]
    return np.asarray(rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:])


def _dilated(inside: np.ndarray) -> np.ndarray:
    """Where a pixel or one of its eight neighbours is inside."""
    return ~_eroded(~inside, beyond=True)


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
        deep = _eroded(deep, beyond=True)
    above[deep] = np.maximum(above[deep], 0.0)
    # Text outside the region is bright too and must not count as inside.
    above[~region] = np.minimum(above[~region], -1e-3)
    return np.asarray(above)


def _at_half_height(image: np.ndarray, circle: Circle, surround: float, factor: int) -> Circle:
    """Move the circle to where the full-size image is halfway from surround to retina."""
    height, width = image.shape[:2]
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
    profile = brightest(image.reshape(-1, 3).take((y * width + x)[seen], axis=0))
    retina = _median(profile[:, : len(steps) // 4])
    # Counting bright samples, instead of taking the first dark one, is robust to noise.
    bright = np.count_nonzero(profile >= (retina[:, None] + surround) / 2, axis=1)
    radius = circle.radius - reach + 0.5 * bright - 0.25
    usable = (retina - surround >= MIN_CONTRAST) & (bright > 0) & (bright < len(steps))
    angles, radius = angles[seen][usable], radius[usable]
    if len(radius) < MIN_CLOSE_POINTS:
        return circle
    points = np.stack([circle.x + radius * np.cos(angles), circle.y + radius * np.sin(angles)], 1)
    close = np.abs(radius - _median(radius)) <= reach
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
    y, x = np.nonzero(_dilated(inside) & ~_eroded(inside, beyond=True))
    offset = np.arange(factor)
    fine_y = (y[:, None, None] * factor + offset[:, None]).repeat(factor, axis=2)
    fine_x = (x[:, None, None] * factor + offset[None, :]).repeat(factor, axis=1)
    at = np.stack([fine_y, fine_x]) / factor + (1 - factor) / (2 * factor)
    full[fine_y, fine_x] = ndimage.map_coordinates(above, at, order=1, mode="nearest") >= 0
    return full
