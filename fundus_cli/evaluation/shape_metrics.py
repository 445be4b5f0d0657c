"""Shape metrics of one structure in one image: clDice and distances between outlines."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree
from skimage import morphology

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MAX_THINNING_WORK = 500_000_000
"""Pixels that thinning may visit: a vessel tree of the largest cameras asks for a quarter of it."""

# scikit-image leaves its signature untyped.
_skeleton: Callable[[Bools], Bools] = morphology.skeletonize


class Shape:
    """One mask inside its region, with its centreline and outline computed once.

    Args:
        mask: (H, W).
        region: (H, W), True where a pixel counts; the mask is cut to it before anything else.

    Attributes:
        mask: (H + 2, W + 2), with a line of background around it, because pixels beyond the image
            are outside.
    """

    def __init__(self, mask: Bools, region: Bools) -> None:
        self.mask: Bools = np.pad(mask & region, 1)

    @cached_property
    def is_empty(self) -> bool:
        """Whether no pixel of the region belongs to the mask."""
        return not self.mask.any()

    @cached_property
    def is_too_thick(self) -> bool:
        """Whether thinning would take too long, as when an untrained network predicts everything.

        Thinning passes over the image once per pixel of half the greatest width.
        """
        box = self.mask[self._box]
        return bool(box.size * _half_width(box) > MAX_THINNING_WORK)

    @cached_property
    def _box(self) -> tuple[slice, slice]:
        """Rows and columns that hold the mask, with a line of background around it."""
        found = ndimage.find_objects(self.mask.view(np.uint8), 1)[0]
        rows, columns = found or (slice(1, 1), slice(1, 1))
        return slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1)

    @cached_property
    def skeleton(self) -> Bools:
        """Centrelines one pixel wide, by thinning (Zhang and Suen 1984, as in scikit-image)."""
        line = np.zeros_like(self.mask)
        line[self._box] = _skeleton(self.mask[self._box])
        return line

    @cached_property
    def outline(self) -> Floats:
        """(N, 2) pixels with one of their four neighbours outside the mask."""
        return _points(self.mask & ~ndimage.binary_erosion(self.mask))

    @cached_property
    def widths(self) -> Floats:
        """Width in pixels at each pixel of the mask, in the order of `mask` read row by row.

        Twice the distance from the nearest centreline pixel to the background (Euclidean, between
        pixel centres), so that a straight vessel 2k - 1 or 2k pixels wide has width 2k.
        """
        if self.is_empty:
            return np.empty(0)
        line = _points(self.skeleton)
        # The background pixel nearest to a mask pixel always has a neighbour in the mask.
        around = _points(ndimage.binary_dilation(self.mask) & ~self.mask)
        line_width = 2 * _distances(line, around)
        nearest = KDTree(line).query(_points(self.mask))[1]
        return np.asarray(line_width[nearest])


def _half_width(mask: Bools) -> int:
    return int(ndimage.distance_transform_cdt(mask, "chessboard").max(initial=0))


def _points(mask: Bools) -> Floats:
    return np.argwhere(mask).astype(np.float64)


def _distances(points: Floats, others: Floats) -> Floats:
    """From each point to the nearest of the others; a tree asks less than a map of the picture."""
    return np.asarray(KDTree(others).query(points)[0])


@dataclass(frozen=True, slots=True)
class CentrelineCounts:
    """Pixels of both centrelines, and how many of them lie inside the other mask; they sum."""

    predicted: int = 0
    predicted_inside: int = 0
    present: int = 0
    present_inside: int = 0

    def __add__(self, other: "CentrelineCounts") -> "CentrelineCounts":
        return CentrelineCounts(
            self.predicted + other.predicted,
            self.predicted_inside + other.predicted_inside,
            self.present + other.present,
            self.present_inside + other.present_inside,
        )

    def cldice(self) -> float:
        """Share of the centrelines that lie inside the other mask (Shit et al. 2021, eqs. 1, 2).

        cldice = 2 p s / (p + s), p the share of the prediction's skeleton inside the target and s
        the share of the target's skeleton inside the prediction. It is 0 where only one of the two
        is empty or neither skeleton meets the other mask, and NaN where both are empty.
        """
        if not self.predicted and not self.present:
            return math.nan
        precision = self.predicted_inside / self.predicted if self.predicted else 0.0
        sensitivity = self.present_inside / self.present if self.present else 0.0
        if precision + sensitivity == 0:
            return 0.0
        return 2 * precision * sensitivity / (precision + sensitivity)


def count_centrelines(prediction: Shape, target: Shape) -> CentrelineCounts | None:
    """Count the pixels of both skeletons, in all and inside the other mask.

    None where a mask is too thick to be thinned.
    """
    if prediction.is_too_thick or target.is_too_thick:
        return None
    return CentrelineCounts(
        predicted=int(np.count_nonzero(prediction.skeleton)),
        predicted_inside=int(np.count_nonzero(prediction.skeleton & target.mask)),
        present=int(np.count_nonzero(target.skeleton)),
        present_inside=int(np.count_nonzero(target.skeleton & prediction.mask)),
    )


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances between the outlines of prediction and target, in pixels; NaN if one is empty.

    Attributes:
        hd95: 95th percentile of the distances in each direction, the larger of the two.
        mean: mean over the outline pixels of both (average symmetric surface distance).
    """

    hd95: float
    mean: float


def surface_distances(prediction: Shape, target: Shape) -> SurfaceDistances:
    """Euclidean distances from each outline to the nearest pixel of the other.

    An outline is every pixel of a mask with one of its four neighbours outside the mask, as in
    MONAI; pixels beyond the image count as outside.
    """
    if prediction.is_empty or target.is_empty:
        return SurfaceDistances(math.nan, math.nan)
    to_target = _distances(prediction.outline, target.outline)
    to_prediction = _distances(target.outline, prediction.outline)
    hd95 = max(np.percentile(to_target, 95), np.percentile(to_prediction, 95))
    mean = np.concatenate([to_target, to_prediction]).mean()
    return SurfaceDistances(float(hd95), float(mean))
