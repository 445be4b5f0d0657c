"""Find the field of view on a uniform surround of any colour, inside lines, frames and pages."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from fundus_cli.data.bright_field import (
    Contrast,
    Field,
    brightest,
    dilated,
    eroded,
    find_field,
    median,
)

MAX_CANDIDATES = 6
"""Colours that are tried as the surround's, the most frequent first."""
MAX_PLACES = 6000
"""Number of flat places that a surround's colour is fitted to."""
BIN_LEVELS = 16
"""Width of the bins in which colours are counted."""
MIN_SHARE = 0.02
"""A colour that covers less of the image is no surround."""
MIN_PART_SHARE = 0.002
"""A patch of the surround smaller than this share of the image is a letter or a reflection."""
FLAT_LEVELS = 10.0
"""Range of the levels in 3 by 3 smoothed pixels up to which a place counts as flat."""
NEAR_LEVELS = 12.0
"""Difference from the surround's colour up to which a pixel supports it."""
MAX_NOISE = 6.0
"""Standard deviation from which a colour is no longer uniform; a retina varies more."""
MIN_RIM_SHARE = 0.25
"""Share of the frame that the surround touches; a colour of the retina touches less."""
MIN_RING_SHARE = 0.8
"""Share of the ring around the field that is surround."""
MAX_INSIDE_SHARE = 0.5
"""Share of the field that may look like the surround, as in a grey image on grey."""
MIN_FIELD_SHARE = 0.1
"""A field smaller than this share of the area inside the frames is a disc or a reflection."""
MAX_STRIP_SHARE = 0.015
"""A strip beyond the surround thinner than this is a line, without a closer look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surround:
    """A nearly uniform surround: its colour rises linearly along the columns and rows.

    Attributes:
        colour: (3, 3), the three channels' levels at the first pixel, then their change per
            reduced column and per reduced row.
        distance: (h, w) float32, each reduced pixel's largest difference from it in a channel.
        is_near: (h, w) bool, which reduced pixels belong to it.
        level, noise: median and standard deviation of their distance.
    """

    colour: np.ndarray
    distance: np.ndarray
    is_near: np.ndarray
    level: float
    noise: float


def field_on_surround(image: np.ndarray, reduced: np.ndarray, factor: int) -> Field | None:
    """The field of view that stands out of a uniform surround, whatever the surround's colour.

    Every frequent colour of flat places is tried as the surround's. The part of the image in which
    it occurs is cut out, without the lines, frames and pages around it, and the distance from the
    colour is searched for the field as brightness is on a black surround. What is found counts if
    the surround encloses it. A round field is preferred.

    Args:
        image: (H, W, 3) uint8.
        reduced: (h, w, 3) uint8, the same `factor` times smaller.
        factor: 1 or more.

    Returns:
        None where there is no such field.
    """
    fallback = None
    for surround in _candidates(reduced):
        field = _field_inside(image, surround, factor)
        if field is not None and field.circle is not None:
            return field
        fallback = fallback or field
    return fallback


def _candidates(reduced: np.ndarray) -> Iterator[Surround]:
    """Uniform surrounds, the most frequent colour first."""
    planes = [reduced[..., channel].astype(np.float32) for channel in range(3)]
    smooth = np.stack([ndimage.uniform_filter(plane, 3) for plane in planes])
    is_flat = np.max([_range(plane) for plane in smooth], axis=0) <= FLAT_LEVELS
    y, x = np.nonzero(is_flat)
    num_bins = 256 // BIN_LEVELS
    red, green, blue = (smooth[:, y, x] // BIN_LEVELS).astype(int)
    bins = (red * num_bins + green) * num_bins + blue
    counts = np.bincount(bins, minlength=1)
    every = max(1, len(y) // MAX_PLACES)
    y, x, bins = y[::every], x[::every], bins[::every]
    places, colours = np.stack([np.ones(len(y)), x, y], axis=1), smooth[:, y, x].T
    seen = np.zeros(reduced.shape[:2], bool)
    for code in counts.argsort()[::-1][:MAX_CANDIDATES]:
        if counts[code] < MIN_SHARE * seen.size or not (bins == code).any():
            return
        surround = _surround(smooth, places, colours, np.median(colours[bins == code], axis=0))
        if surround is None:
            continue
        num_new = np.count_nonzero(surround.is_near & ~seen)
        if num_new > 0.5 * np.count_nonzero(surround.is_near):
            seen |= surround.is_near
            yield surround


def _range(plane: np.ndarray) -> np.ndarray:
    """Range of each pixel and its eight neighbours."""
    high = low = np.pad(plane, 1, mode="edge")
    high = np.maximum(np.maximum(high[:-2], high[1:-1]), high[2:])
    high = np.maximum(np.maximum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    low = np.minimum(np.minimum(low[:-2], low[1:-1]), low[2:])
    low = np.minimum(np.minimum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    return np.asarray(high - low)


def _surround(
    smooth: np.ndarray, places: np.ndarray, colours: np.ndarray, centre: np.ndarray
) -> Surround | None:
    """The surround around this colour; None where it is not uniform."""
    colour = np.zeros((3, 3))
    colour[0] = centre
    for _ in range(4):
        near = brightest(np.abs(colours - places @ colour)) <= NEAR_LEVELS
        some = np.flatnonzero(near)
        if len(some) < 24:
            return None
        colour = np.linalg.lstsq(places[some], colours[some], rcond=None)[0]
    height, width = smooth.shape[1:]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    planes = [a + b * x + c * y for a, b, c in colour.T.astype(np.float32)]
    difference = np.abs(smooth - planes)
    distance = np.maximum(np.maximum(difference[0], difference[1]), difference[2])
    supports = distance[distance <= NEAR_LEVELS]
    if len(supports) == 0:
        return None
    level, noise = float(median(supports)), float(supports.std())
    is_near = distance <= level + max(6.0, 4 * noise)
    parts, _ = ndimage.label(dilated(eroded(is_near, beyond=False)))
    is_large = np.bincount(parts.ravel()) >= MIN_PART_SHARE * parts.size
    is_large[0] = False
    is_near = is_large[parts]
    if noise > MAX_NOISE or not is_near.any():
        return None
    return Surround(colour=colour, distance=distance, is_near=is_near, level=level, noise=noise)


def _field_inside(image: np.ndarray, surround: Surround, factor: int) -> Field | None:
    """The field that this surround encloses."""
    height, width = image.shape[:2]
    rows = np.flatnonzero(surround.is_near.any(axis=1))
    columns = np.flatnonzero(surround.is_near.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    is_near, distance = surround.is_near[box], surround.distance[box]
    if min(is_near.shape) < 8 or _rim(is_near).mean() < MIN_RIM_SHARE:
        return None
    top, left = rows[0] * factor, columns[0] * factor
    bottom, right = min(height, top + len(is_near) * factor), columns[-1] * factor + factor
    right = min(width, right)

    def sample(indices: np.ndarray) -> np.ndarray:
        y, x = np.divmod(indices, right - left)
        y, x = y + top, x + left
        pixels = image.reshape(-1, 3).take(y * width + x, axis=0)
        shift = (factor - 1) / 2
        at = np.stack([np.ones(x.shape), (x - shift) / factor, (y - shift) / factor], axis=-1)
        return brightest(np.abs(pixels - at @ surround.colour))

    contrast = Contrast(
        level=distance.astype(np.float64),
        surround=surround.level,
        noise=surround.noise,
        factor=factor,
        hw=(bottom - top, right - left),
        sample=sample,
    )
    lit = distance > contrast.floor
    if not lit.any():
        return None
    field = find_field(contrast, float(median(distance[lit])))
    if field is None or not _is_enclosed(field.reduced, is_near):
        return None
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = field.mask
    return replace(field, mask=mask)


def _rim(plane: np.ndarray) -> np.ndarray:
    """The values along the frame."""
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def _is_enclosed(region: np.ndarray, is_near: np.ndarray) -> bool:
    """Whether the surround lies around the region and not in it."""
    if np.count_nonzero(region) < MIN_FIELD_SHARE * region.size:
        return False
    inner = dilated(dilated(region))
    ring = dilated(dilated(dilated(inner))) & ~inner
    if np.count_nonzero(ring) < 24:
        return False
    is_around = is_near[ring].mean() >= MIN_RING_SHARE
    return bool(is_around and is_near[region].mean() <= MAX_INSIDE_SHARE)
