"""The field of view, found in the photograph: the bright disc on its dark surround, for any camera."""

import numpy as np
from PIL import Image
from scipy import ndimage

WORKING_PX = 700
"""The search runs on a copy whose longer side is about this long."""
CORNER_SHARE = 1 / 25
"""Side of the squares in the four corners that show the surround, as a share of the picture."""
LEVEL = 0.2
"""The border lies where the brightness has risen this far from the surround to the middle."""
DARK = 0.5
"""A surround brighter than this share of the middle is no surround: the retina fills the frame."""
MIN_BRIGHTNESS = 12.0
"""Grey level of the middle below which the picture is black."""


def find_fov(image: np.ndarray) -> np.ndarray:
    """The disc in which the retina is seen.

    The brightest channel of a reduced copy is cut between the level of the corners and that of
    the middle; the largest region is taken and its holes are filled. No circle is forced, so
    discs clipped at the frame keep their shape. A picture without dark corners is all inside; a
    black one is all outside.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (H, W) bool.
    """
    height, width = image.shape[:2]
    factor = max(1, round(max(height, width) / WORKING_PX))
    picture = Image.fromarray(image)
    reduced = np.asarray(picture.reduce(factor) if factor > 1 else picture).astype(np.float32)
    brightness = ndimage.gaussian_filter(reduced.max(axis=2), max(reduced.shape) / WORKING_PX)
    surround, middle = _levels(brightness)
    if middle < MIN_BRIGHTNESS:
        return np.zeros((height, width), bool)
    if surround > DARK * middle:
        return np.ones((height, width), bool)
    cut = surround + LEVEL * (middle - surround)
    inside = _largest_region(brightness > cut)
    if factor == 1:
        return inside
    soft = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))
    # The reduced copy may end with a partial block; give it the size of whole blocks.
    whole = soft.resize((soft.width * factor, soft.height * factor), Image.Resampling.BILINEAR)
    return np.asarray(whole)[:height, :width] >= 128


def _levels(brightness: np.ndarray) -> tuple[float, float]:
    """Brightness of the surround, from the darker corners, and of the picture's middle."""
    height, width = brightness.shape
    side = max(1, round(min(height, width) * CORNER_SHARE))
    corners = [
        float(np.median(brightness[rows, columns]))
        for rows in (slice(None, side), slice(-side, None))
        for columns in (slice(None, side), slice(-side, None))
    ]
    # Two dark corners suffice: marks and reflections may light up the others.
    surround = sorted(corners)[1]
    rows = slice(height // 4, max(height // 4 + 1, 3 * height // 4))
    columns = slice(width // 4, max(width // 4 + 1, 3 * width // 4))
    return surround, float(np.median(brightness[rows, columns]))


def _largest_region(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    filled: np.ndarray = ndimage.binary_fill_holes(labels == sizes.argmax())
    return filled


def fov_diameter_px(fov: np.ndarray) -> float:
    """Diameter of the circle that a field of view is part of, also when the frame clips it.

    A circle is fitted by least squares (Kasa 1976) to the border pixels that do not lie on the
    frame; where there are too few of them, the longer side of the bounding box is the answer.

    Args:
        fov: (H, W) bool.

    Returns:
        Pixels; NaN when nothing is inside.
    """
    rows, columns = np.flatnonzero(fov.any(axis=1)), np.flatnonzero(fov.any(axis=0))
    if len(rows) == 0:
        return float("nan")
    longer = float(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1)
    y, x = _free_border(fov, rows, columns)
    if len(y) < longer / 2:
        return longer
    system = np.stack([x, y, np.ones_like(x)], axis=1)
    (a, b, c), *_ = np.linalg.lstsq(system, x**2 + y**2, rcond=None)
    diameter = 2 * float(np.sqrt(max(c + (a / 2) ** 2 + (b / 2) ** 2, 0.0)))
    # A circle much wider than what is seen of it is a bad fit to a shape that is none.
    return diameter if longer * 0.9 <= diameter <= longer * 1.5 else longer


def _free_border(
    fov: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last inside pixel of each row and column, those on the frame left out."""
    height, width = fov.shape
    left, right = fov.argmax(axis=1)[rows], width - 1 - fov[:, ::-1].argmax(axis=1)[rows]
    top, bottom = fov.argmax(axis=0)[columns], height - 1 - fov[::-1].argmax(axis=0)[columns]
    # Edges lie half a pixel outside the centres of the outermost pixels.
    y = np.concatenate([rows, rows, top - 0.5, bottom + 0.5]).astype(np.float64)
    x = np.concatenate([left - 0.5, right + 0.5, columns, columns]).astype(np.float64)
    free = (x > 0.5) & (x < width - 1.5) & (y > 0.5) & (y < height - 1.5)
    return y[free], x[free]
