"""Detect the field of view of an image: the disc that shows the retina."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from fundus_cli.data.bright_field import MIN_AREA_SHARE, Contrast, Field, find_field
from fundus_cli.data.circle import fit_circle
from fundus_cli.data.regions import brightest, median
from fundus_cli.data.surrounded_field import field_on_surround

REDUCED_PX = 512
"""Longer side of the reduced copy on which the disc is detected."""
MAX_BLACK = 16.0
"""An image without contrast and at or below this grey level counts as black."""
MIN_LIT_SHARE = 0.2
"""Share of the bright pixels below which a region is a part of the retina or a mark beside it."""
MAX_SURROUND_SHARE = 0.35
"""A corner brighter than this share of the retina's level does not count as dark surround."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOfView:
    """The field of view of an image, detected or given.

    Attributes:
        mask: (H, W) bool; all True where no border is visible, all False in a black image.
        confidence: share of the visible border that lies on one circle, 0 to 1; 0 where the field
            is not round or no border is visible.
        num_fields: number of fields of view in the image; the mask is that of one of them.
        diameter_px: of that circle, in pixels; NaN where there is none.
    """

    mask: np.ndarray
    confidence: float = 0.0
    num_fields: int = 1
    diameter_px: float = math.nan


def find_fov(image: np.ndarray) -> np.ndarray:
    """The mask of `field_of_view`, (H, W) bool."""
    return field_of_view(image).mask


def field_of_view(image: np.ndarray) -> FieldOfView:
    """Detect the disc that shows the retina, without text, lines, frames or reflections.

    First it is sought as what is bright on a dark surround; where that finds no disc, as what
    stands out of a uniform surround of any colour.

    Args:
        image: (H, W, 3) uint8.
    """
    factor = _factor(image)
    full = Image.fromarray(image)
    reduced = np.asarray(full.reduce(factor) if factor > 1 else full)
    field, everywhere = _on_dark(image, reduced, factor)
    if field is None or field.circle is None:
        other = field_on_surround(image, reduced, factor)
        if other is not None and (field is None or other.circle is not None):
            field = other
    if field is None:
        return FieldOfView(mask=np.full(image.shape[:2], everywhere))
    if field.circle is None:
        return FieldOfView(mask=field.mask)
    return FieldOfView(
        mask=field.mask,
        confidence=field.circle.share,
        num_fields=field.num_fields,
        diameter_px=2 * field.circle.radius,
    )


def _on_dark(image: np.ndarray, reduced: np.ndarray, factor: int) -> tuple[Field | None, bool]:
    """The bright field on a dark surround; without one, whether all is inside or nothing."""
    level = ndimage.uniform_filter(brightest(reduced).astype(np.float64), 3)
    surround, noise = _darkest_corner(level)

    def sample(indices: np.ndarray) -> np.ndarray:
        # Flat indices are looked up several times faster than pairs of them.
        return brightest(image.reshape(-1, 3).take(indices, axis=0))

    height, width = image.shape[:2]
    contrast = Contrast(
        level=level,
        surround=surround,
        noise=noise,
        factor=factor,
        hw=(height, width),
        sample=sample,
    )
    lit = level > contrast.floor
    if not lit.any():
        return None, surround > MAX_BLACK
    retina = float(median(level[lit]))
    if surround > MAX_SURROUND_SHARE * retina:
        return None, True
    field = find_field(contrast, retina)
    num_lit = np.count_nonzero(lit)
    if field is not None:
        num_found = np.count_nonzero(field.mask[::factor, ::factor])
        if num_found < MIN_LIT_SHARE * num_lit:
            return None, True
    return field, bool(num_lit >= MIN_AREA_SHARE * lit.size)


def fov_diameter_px(fov: np.ndarray) -> float:
    """Diameter of the circle that a field of view is part of, also where the frame cuts it.

    Where no circle fits (a mask without background, a square), the longer side of the bounding
    box is returned.

    Args:
        fov: (H, W) bool.

    Returns:
        Pixels; NaN when nothing is inside.
    """
    diameter = circle_diameter_px(fov)
    return longer_side_px(fov) if math.isnan(diameter) else diameter


def longer_side_px(fov: np.ndarray) -> float:
    """Longer side of the bounding box in pixels; NaN when nothing is inside."""
    if not fov.any():
        return math.nan
    sides = [np.flatnonzero(fov.any(axis=axis)) for axis in (0, 1)]
    return float(max(at[-1] - at[0] for at in sides) + 1)


def circle_diameter_px(fov: np.ndarray) -> float:
    """As `fov_diameter_px`, but NaN where no circle fits."""
    factor = _factor(fov)
    full = Image.fromarray(fov.astype(np.uint8) * np.uint8(255))
    reduced = np.asarray(full.reduce(factor) if factor > 1 else full)
    circle = fit_circle(reduced / 255 - 0.5)
    return math.nan if circle is None else 2 * factor * circle.radius


def _factor(image: np.ndarray) -> int:
    return math.ceil(int(max(image.shape[:2])) / REDUCED_PX)


def _darkest_corner(level: np.ndarray) -> tuple[float, float]:
    """Level and noise of the surround. A disc that does not fill the image leaves out a corner."""
    side = max(2, min(level.shape) // 40)
    near, far = slice(None, side), slice(-side, None)
    corners = [level[rows, columns] for rows in (near, far) for columns in (near, far)]
    medians = median(np.reshape(corners, (4, -1)))
    darkest = int(medians.argmin())
    return float(medians[darkest]), float(corners[darkest].std())
