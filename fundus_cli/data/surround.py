"""Find the colours of an image that may be those of a uniform surround."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

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


def surrounds_of(reduced: np.ndarray) -> Iterator[Surround]:
    """Uniform surrounds, the most frequent colour first.

    Args:
        reduced: (h, w, 3) uint8.
    """
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
