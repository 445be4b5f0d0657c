"""Metrics of shape, for one structure of one photograph: centrelines kept, distance of outlines."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import morphology

Bools = npt.NDArray[np.bool_]

# scikit-image leaves its signature untyped.
_skeleton: Callable[[Bools], Bools] = morphology.skeletonize


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances between the outlines of prediction and target, in pixels; NaN if one is empty.

    Attributes:
        hd95: 95th percentile of the distances in each direction, the larger of the two.
        mean: mean over the outline pixels of both (average symmetric surface distance).
    """

    hd95: float
    mean: float


def cldice(prediction: Bools, target: Bools, region: Bools) -> float:
    """Share of the centrelines that lie inside the other mask (Shit et al. 2021, eqs. 1 and 2).

    cldice = 2 p s / (p + s), p the share of the prediction's skeleton inside the target and s the
    share of the target's skeleton inside the prediction. It is 0 where only one of the two is empty
    or neither skeleton meets the other mask, and NaN where both are empty.

    Args:
        prediction: (H, W).
        target: (H, W).
        region: (H, W), True where a pixel counts; both masks are cut to it before thinning.
    """
    predicted, present = _cropped(prediction, target, region)
    if not predicted.any() and not present.any():
        return math.nan
    if not predicted.any() or not present.any():
        return 0.0
    predicted_line, present_line = _skeleton(predicted), _skeleton(present)
    precision = np.count_nonzero(predicted_line & present) / np.count_nonzero(predicted_line)
    sensitivity = np.count_nonzero(present_line & predicted) / np.count_nonzero(present_line)
    if precision + sensitivity == 0:
        return 0.0
    return float(2 * precision * sensitivity / (precision + sensitivity))


def surface_distances(prediction: Bools, target: Bools, region: Bools) -> SurfaceDistances:
    """Euclidean distances from each outline to the nearest pixel of the other.

    An outline is every pixel of a mask with one of its four neighbours outside the mask, as in
    MONAI; the picture's frame counts as outside.

    Args:
        prediction: (H, W).
        target: (H, W).
        region: (H, W), True where a pixel counts; both masks are cut to it.
    """
    predicted, present = _cropped(prediction, target, region)
    if not predicted.any() or not present.any():
        return SurfaceDistances(math.nan, math.nan)
    predicted_edge, present_edge = _outline(predicted), _outline(present)
    to_target = ndimage.distance_transform_edt(~present_edge)[predicted_edge]
    to_prediction = ndimage.distance_transform_edt(~predicted_edge)[present_edge]
    hd95 = max(np.percentile(to_target, 95), np.percentile(to_prediction, 95))
    mean = np.concatenate([to_target, to_prediction]).mean()
    return SurfaceDistances(float(hd95), float(mean))


def _cropped(prediction: Bools, target: Bools, region: Bools) -> tuple[Bools, Bools]:
    """Both masks inside the region, cut to the box that holds them: time goes with its area.

    One empty line is kept around them: skeletonize and the outline treat what is beyond the array
    as background, and this makes the result independent of where the box ends.
    """
    predicted, present = prediction & region, target & region
    either = predicted | present
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if rows.size == 0:
        return predicted, present
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(predicted[box], 1), np.pad(present[box], 1)


def _outline(mask: Bools) -> Bools:
    outline: Bools = mask & ~ndimage.binary_erosion(mask)
    return outline
