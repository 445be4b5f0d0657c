"""Find duplicates and near-duplicates: images saved again, resized, brightened or mirrored.

The field of view is cropped and reduced to a square, and its local mean is subtracted. Images are
compared by correlation, first at 32x32, where all are kept in memory, then at 96x96. On CHASE_DB1
and HRF, copies saved as JPEG of quality 40, at .15 of the size or brightened correlate at .96 and
more, then at .89 and more; two different images, among them both eyes of one person, at .74 and at
.28 at most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fundus_cli.check.alignment import Orientation, rotated

SIDE_PX, SIGMA_PX = 32, 2.0
FINE_SIDE_PX, FINE_SIGMA_PX = 96, 3.0
MIN_ALIKE = 0.9
"""Correlation at 32x32 from which two images are compared again."""
MIN_COPY, MIN_SMALL_COPY = 0.75, 0.85
"""Correlation at 96x96 from which they count as near-duplicates, in general and for a field of
view below 96 pixels, which has less to compare."""
BLOCK = 1024
"""Rows of the table of all pairs that are computed at a time."""
MAX_PARTNERS = 8
"""Maximum number of near-duplicates of one image that are kept per block."""
MAX_PAIRS = 20_000
"""Maximum number of pairs that are compared again; only synthetic sets have more."""
KEPT = 512
"""Number of fine patterns kept in memory."""
VERSIONS = (Orientation.same, Orientation.mirrored, Orientation.flipped, Orientation.rotated_180)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyGroup:
    """A group of near-duplicates.

    Attributes:
        members: their indices, ascending.
        correlation: the lowest of the pairs that link them.
        orientations: how some of them are mirrored or rotated.
    """

    members: tuple[int, ...]
    correlation: float
    orientations: tuple[str, ...]


def descriptor(image: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """The image's pattern as (32, 32) float16 of length 1; zeros where it shows nothing.

    Args:
        image: (H, W, 3) uint8.
        fov: (H, W) bool, not empty.
    """
    return _pattern(image, fov, SIDE_PX, SIGMA_PX).astype(np.float16)


def fine_pattern(image: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """As `descriptor`, (96, 96) float32."""
    return _pattern(image, fov, FINE_SIDE_PX, FINE_SIGMA_PX)


def find_copies(
    descriptors: np.ndarray, is_small: np.ndarray, fine: Callable[[int], np.ndarray]
) -> list[CopyGroup]:
    """Find groups of near-duplicates.

    Args:
        descriptors: (N, 32, 32).
        is_small: (N) bool, the field of view is below FINE_SIDE_PX.
        fine: the fine pattern of the n-th image, read again for those that are similar.
    """
    similar = _similar(descriptors)[:MAX_PAIRS]
    kept = lru_cache(maxsize=KEPT)(fine)
    pairs = []
    for first, second, which in similar:
        version = rotated(kept(second), VERSIONS[which])
        found = float((kept(first) * version).sum())
        least = MIN_SMALL_COPY if is_small[first] or is_small[second] else MIN_COPY
        if found >= least:
            pairs.append((first, second, found, which))
    return _groups(pairs, len(descriptors)) if pairs else []


def _similar(descriptors: np.ndarray) -> list[tuple[int, int, int]]:
    """(first, second, index of VERSIONS) of similar pairs, in blocks of bounded memory."""
    pairs: list[tuple[int, int, int, int]] = []
    for start in range(0, len(descriptors), BLOCK):
        rows = descriptors[start : start + BLOCK].astype(np.float32).reshape(-1, SIDE_PX**2)
        for other in range(start, len(descriptors), BLOCK):
            block = np.moveaxis(descriptors[other : other + BLOCK].astype(np.float32), 0, 2)
            versions = (rotated(block, o).reshape(SIDE_PX**2, -1) for o in VERSIONS)
            tables = [rows @ version for version in versions]
            i, j = np.nonzero(np.maximum.reduce(tables) >= MIN_ALIKE)
            later = start + i < other + j
            i, j = i[later], j[later]
            for a, b, rank in zip(i, j, _rank(i), strict=True):
                if rank < MAX_PARTNERS:
                    which = int(np.argmax([table[a, b] for table in tables]))
                    pairs.append((int(rank), start + int(a), other + int(b), which))
    # Nearest partners first: they link a group even where MAX_PAIRS cuts the list.
    return [(first, second, which) for _, first, second, which in sorted(pairs)]


def _rank(rows: np.ndarray) -> np.ndarray:
    """Number of equal values before each value of a sorted sequence."""
    return np.asarray(np.arange(len(rows)) - np.searchsorted(rows, rows))


def _groups(pairs: list[tuple[int, int, float, int]], count: int) -> list[CopyGroup]:
    first, second, found, which = (np.array(column) for column in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(pairs)), (first, second)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    groups = []
    for name in np.unique(label[first]):
        here = label[first] == name
        orientations = {VERSIONS[int(w)] for w in which[here]} - {Orientation.same}
        groups.append(
            CopyGroup(
                members=tuple(int(k) for k in np.flatnonzero(label == name)),
                correlation=min(1.0, float(found[here].min())),
                orientations=tuple(sorted(one.value for one in orientations)),
            )
        )
    return groups


def _pattern(image: np.ndarray, fov: np.ndarray, side_px: int, sigma_px: float) -> np.ndarray:
    rows, columns = np.flatnonzero(fov.any(axis=1)), np.flatnonzero(fov.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    green = _reduced(np.ascontiguousarray(image[..., 1]), box, side_px)
    inside = _reduced(fov.view(np.uint8) * np.uint8(255), box, side_px) > 250
    inside = ndimage.binary_erosion(inside, iterations=max(1, side_px // 24))
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma_px)
    local_mean = ndimage.gaussian_filter(green * inside, sigma_px) / np.maximum(weight, 1e-3)
    pattern = (green - local_mean) * inside
    spread = float(pattern[inside].std()) if inside.any() else 0.0
    if spread < 0.25:
        return np.zeros((side_px, side_px), np.float32)
    pattern = np.clip(pattern / spread, -3, 3)
    return np.asarray(pattern / np.linalg.norm(pattern), dtype=np.float32)


def _reduced(channel: np.ndarray, box: tuple[int, int, int, int], side_px: int) -> np.ndarray:
    small = Image.fromarray(channel).resize((side_px, side_px), Image.Resampling.BOX, box=box)
    return np.asarray(small, dtype=np.float32)
