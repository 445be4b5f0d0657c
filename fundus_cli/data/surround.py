"""Find the field of view on a uniform surround of any colour, inside lines, frames and pages."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from fundus_cli.data.bright_field import Contrast, Field, find_field
from fundus_cli.data.regions import brightest, dilated, eroded, median

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
MAX_LEVEL, MAX_NOISE = 3.2, 3.5
"""Median and standard deviation of the differences from a colour, above which it is not uniform;
a retina varies more."""
CLEAN_LEVEL = 1.5
"""Median difference up to which a surround is so clean that no retina can be taken for it."""
MIN_RIM_SHARE, MIN_SHAPE_RIM_SHARE = 0.25, 0.75
"""Share of the frame that the surround touches, around a round field and, inside a frame or page,
around another one; a colour of the retina touches less, and so does a corner of a surround."""
MIN_RING_SHARE = 0.7
"""Share of the ring around the field that is surround."""
BLUR_SHARE = 0.2
"""Difference from the surround in that ring, as a share of the field's."""
MAX_INSIDE_SHARE = 0.5
"""Share of the field that may look like the surround, as in a grey image on grey."""
MIN_FIELD_SHARE, MIN_NOISY_FIELD_SHARE = 0.02, 0.2
"""Minimum share of the area inside the frames that a field covers, on a clean and on a noisy
surround; an optic disc on a smooth retina is smaller."""
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

    @property
    def limit(self) -> float:
        """Largest distance of a pixel that belongs to it."""
        return self.level + max(6.0, 4 * self.noise)


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
        field = _field_inside(image, reduced, surround, factor)
        if field is not None and field.circle is not None:
            return field
        fallback = fallback or field
    return fallback


def _candidates(reduced: np.ndarray) -> Iterator[Surround]:
    """Uniform surrounds, the most frequent colour first."""
    planes = [reduced[..., channel].astype(np.float32) for channel in range(3)]
    smooth = np.stack([ndimage.uniform_filter(plane, 3) for plane in planes])
    y, x = np.nonzero(np.max([_range(plane) for plane in smooth], axis=0) <= FLAT_LEVELS)
    num_flat, every = len(y), max(1, len(y) // MAX_PLACES)
    y, x = y[::every], x[::every]
    places, colours = np.stack([np.ones(len(y)), x, y], axis=1), smooth[:, y, x].T
    bins = (colours // BIN_LEVELS).astype(int)
    is_left = np.ones(len(y), bool)
    for _ in range(MAX_CANDIDATES):
        # A colour at the limit of a bin is split, so neighbouring bins are counted together.
        counts = np.zeros(3 * [256 // BIN_LEVELS + 1])
        np.add.at(counts, tuple(bins[is_left].T), 1)
        together = ndimage.uniform_filter(counts, 2, mode="constant", origin=-1)
        first = np.unravel_index(together.argmax(), counts.shape)
        here = is_left & ((bins == first) | (bins == np.add(first, 1))).all(axis=1)
        least = max(1, MIN_SHARE * smooth[0].size * len(y) / max(1, num_flat))
        if np.count_nonzero(here) < least:
            return
        surround = _surround(smooth, places, colours, np.median(colours[here], axis=0))
        is_left &= ~here
        if surround is not None:
            is_left &= ~surround.is_near[y, x]
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
    if level > MAX_LEVEL or noise > MAX_NOISE:
        return None
    found = Surround(
        colour=colour, distance=distance, is_near=distance <= 0, level=level, noise=noise
    )
    parts, _ = ndimage.label(dilated(eroded(distance <= found.limit, beyond=False)))
    is_large = np.bincount(parts.ravel()) >= MIN_PART_SHARE * parts.size
    is_large[0] = False
    return replace(found, is_near=is_large[parts]) if is_large.any() else None


def _field_inside(
    image: np.ndarray, reduced: np.ndarray, surround: Surround, factor: int
) -> Field | None:
    """The field that this surround encloses."""
    height, width = image.shape[:2]
    top, bottom = _extent(surround.is_near.max(axis=1))
    left, right = _extent(surround.is_near.max(axis=0))
    is_near = surround.is_near[top:bottom, left:right]
    rim_share = np.mean(_rim(is_near))
    if min(is_near.shape) < 8 or rim_share < MIN_RIM_SHARE:
        return None
    if not _is_frame(reduced[:top, left:right]):
        top = 0
    if not _is_frame(reduced[bottom:, left:right]):
        bottom = len(reduced)
    if not _is_frame(reduced[top:bottom, :left].swapaxes(0, 1)):
        left = 0
    if not _is_frame(reduced[top:bottom, right:].swapaxes(0, 1)):
        right = reduced.shape[1]
    distance = surround.distance[top:bottom, left:right].copy()
    distance[np.ptp(distance, axis=1) <= MAX_LEVEL] = surround.level
    distance[:, np.ptp(distance, axis=0) <= MAX_LEVEL] = surround.level
    top, bottom, left, right = (factor * at for at in (top, bottom, left, right))
    bottom, right = min(height, bottom), min(width, right)

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
    if field is None or not _is_enclosed(field.reduced, distance, surround):
        return None
    is_cut_out = (bottom - top, right - left) != (height, width)
    if field.circle is None and is_cut_out and rim_share < MIN_SHAPE_RIM_SHARE:
        return None
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = field.mask
    return replace(field, mask=mask)


def _extent(is_there: np.ndarray) -> tuple[int, int]:
    """Start and end of what is there."""
    at = np.flatnonzero(is_there)
    return int(at[0]), int(at[-1]) + 1


def _is_frame(strip: np.ndarray) -> bool:
    """Whether what lies beyond the surround is no part of the retina.

    Args:
        strip: (thickness, length, 3) of the image along one side.
    """
    thickness, length = strip.shape[:2]
    if thickness <= MAX_STRIP_SHARE * length + 1:
        return True
    # Tool bars and captions change from row to row, but most rows have one colour.
    rows = strip[:, :: max(1, length // 100)].swapaxes(1, 2).astype(np.float32)
    difference = np.abs(rows - median(rows)[..., None]).max(axis=1)
    return float(median(median(difference))) <= MAX_LEVEL


def _rim(plane: np.ndarray) -> np.ndarray:
    """The values along the frame."""
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def _is_enclosed(region: np.ndarray, distance: np.ndarray, surround: Surround) -> bool:
    """Whether the surround lies around the region and not in it."""
    least = MIN_FIELD_SHARE if surround.level <= CLEAN_LEVEL else MIN_NOISY_FIELD_SHARE
    if np.count_nonzero(region) < least * region.size:
        return False
    inner = dilated(dilated(region))
    ring = dilated(dilated(dilated(inner))) & ~inner
    if np.count_nonzero(ring) < 24:
        return False
    # JPEG blurs the border, more so the more the field stands out.
    blurred = max(surround.limit, BLUR_SHARE * float(median(distance[region])))
    is_around = np.mean(distance[ring] <= blurred) >= MIN_RING_SHARE
    return bool(is_around and np.mean(distance[region] <= surround.limit) <= MAX_INSIDE_SHARE)
