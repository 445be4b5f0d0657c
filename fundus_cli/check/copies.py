"""Photographs that are copies of each other, also when saved again, resized or mirrored.

The field of view is cropped and reduced to 32x32; what is left after taking away the local mean is
compared by correlation. On CHASE_DB1 and HRF, copies saved as JPEG of quality 40, at .15 of the
size or brightened correlate at .96 and more; two different photographs, both eyes of one person
among them, at .74 at most.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fundus_cli.check.shift import Orientation, turned

SIDE_PX = 32
SIGMA_PX = 2.0
MIN_COPY = 0.9
"""Correlation from which two photographs are one."""
BLOCK = 1024
"""Rows of the table of all pairs that are computed at a time."""
MAX_PARTNERS = 32
"""Copies of one photograph that are noted per block; its group holds them all the same."""
VERSIONS = (*(Orientation.same, Orientation.mirrored, Orientation.flipped, Orientation.turned_180),)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyGroup:
    """Photographs that show the same.

    Attributes:
        members: their indices, rising.
        correlation: the lowest of those that link them.
        orientations: how some of them are mirrored or turned.
    """

    members: tuple[int, ...]
    correlation: float
    orientations: tuple[str, ...]


def descriptor(image: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """The photograph's pattern as SIDE_PX^2 float16 of length 1; zeros where it shows nothing.

    Args:
        image: (H, W, 3) uint8.
        fov: (H, W) bool, not empty.
    """
    rows, columns = np.flatnonzero(fov.any(axis=1)), np.flatnonzero(fov.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    green = _reduced(np.ascontiguousarray(image[..., 1]), box)
    inside = ndimage.binary_erosion(_reduced(fov.view(np.uint8) * np.uint8(255), box) > 250)
    weight = ndimage.gaussian_filter(inside.astype(np.float32), SIGMA_PX)
    around = ndimage.gaussian_filter(green * inside, SIGMA_PX) / np.maximum(weight, 1e-3)
    pattern = (green - around) * inside
    spread = float(pattern[inside].std()) if inside.any() else 0.0
    if spread < 0.25:
        return np.zeros(SIDE_PX**2, np.float16)
    pattern = np.clip(pattern / spread, -3, 3)
    return np.asarray((pattern / np.linalg.norm(pattern)).ravel(), dtype=np.float16)


def find_copies(descriptors: np.ndarray) -> list[CopyGroup]:
    """Groups of copies among (N, SIDE_PX^2) descriptors, compared in blocks of bounded memory."""
    picture = descriptors.reshape(-1, SIDE_PX, SIDE_PX)
    pairs: list[np.ndarray] = []
    for start in range(0, len(descriptors), BLOCK):
        rows = descriptors[start : start + BLOCK].astype(np.float32)
        for other in range(start, len(descriptors), BLOCK):
            block = picture[other : other + BLOCK].astype(np.float32)
            tables = [rows @ _version(block, o).reshape(len(block), -1).T for o in VERSIONS]
            best = np.maximum.reduce(tables)
            i, j = np.nonzero(best >= MIN_COPY)
            is_pair = (start + i < other + j) & (_rank(i) < MAX_PARTNERS)
            i, j = i[is_pair], j[is_pair]
            which = np.argmax([table[i, j] for table in tables], axis=0) if len(i) else i
            pairs.append(np.stack([start + i, other + j, best[i, j], which], axis=1))
    return _groups(np.concatenate(pairs), len(descriptors)) if pairs else []


def _version(block: np.ndarray, orientation: Orientation) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(turned(np.moveaxis(block, 0, 2), orientation), 2, 0))


def _rank(rows: np.ndarray) -> np.ndarray:
    """How many equal numbers stand before each one of a rising sequence."""
    return np.asarray(np.arange(len(rows)) - np.searchsorted(rows, rows))


def _groups(pairs: np.ndarray, count: int) -> list[CopyGroup]:
    first, second = pairs[:, 0].astype(int), pairs[:, 1].astype(int)
    graph = coo_array((np.ones(len(pairs)), (first, second)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    groups = []
    for name in np.unique(label[first]):
        of_group = pairs[label[first] == name]
        which = {VERSIONS[int(w)] for w in of_group[:, 3]} - {Orientation.same}
        groups.append(
            CopyGroup(
                members=tuple(int(k) for k in np.flatnonzero(label == name)),
                correlation=min(1.0, float(of_group[:, 2].min())),
                orientations=tuple(sorted(o.value for o in which)),
            )
        )
    return groups


def _reduced(channel: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    picture = Image.fromarray(channel)
    small = picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX, box=box)
    return np.asarray(small, dtype=np.float32)
