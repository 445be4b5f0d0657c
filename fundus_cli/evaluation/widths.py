"""Sensitivity and precision by vessel width."""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fundus_cli.evaluation.counts import ratio
from fundus_cli.evaluation.shape_metrics import Bools, Floats, Shape

EDGES_PX = (0.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, math.inf)
"""A bin holds widths above its lower edge, up to and including its upper one."""
NUM_BINS = len(EDGES_PX) - 1

Ints = npt.NDArray[np.int64]


def _nothing() -> Ints:
    return np.zeros(NUM_BINS, np.int64)


@dataclass(frozen=True, slots=True)
class WidthCounts:
    """Pixels of target and prediction by the width of what they belong to; they sum.

    Attributes:
        target: (NUM_BINS,) target pixels by the target's width at native size.
        target_found: those that are predicted too.
        predicted: predicted pixels by the prediction's width.
        predicted_right: those that belong to the target.
    """

    target: Ints = field(default_factory=_nothing)
    target_found: Ints = field(default_factory=_nothing)
    predicted: Ints = field(default_factory=_nothing)
    predicted_right: Ints = field(default_factory=_nothing)

    def __add__(self, other: "WidthCounts") -> "WidthCounts":
        return WidthCounts(
            self.target + other.target,
            self.target_found + other.target_found,
            self.predicted + other.predicted,
            self.predicted_right + other.predicted_right,
        )

    def to_plain(self) -> dict[str, list[float]]:
        """Sensitivity by the target's width, precision by the prediction's, per bin of width.

        `dice` is their harmonic mean: no Dice of one set of pixels, since a pixel can belong to a
        thin target and a wide prediction. What is 0 / 0 is NaN; the last upper edge is infinite.
        """
        sensitivity = ratio(self.target_found, self.target)
        precision = ratio(self.predicted_right, self.predicted)
        both = sensitivity + precision
        dice = np.where(both == 0, 0.0, 2 * sensitivity * precision / np.where(both == 0, 1, both))
        return {
            "low_px": list(EDGES_PX[:-1]),
            "high_px": list(EDGES_PX[1:]),
            "num_target_px": self.target.tolist(),
            "sensitivity": sensitivity.tolist(),
            "num_predicted_px": self.predicted.tolist(),
            "precision": precision.tolist(),
            "dice": dice.tolist(),
        }


def count_by_width(prediction: Shape, target: Shape) -> WidthCounts:
    """Count the pixels of both masks by width, in all and inside the other mask.

    Nothing is counted where a mask is too thick to be thinned.

    Args:
        prediction: the predicted mask, cut to the same region as the target.
        target: the annotation.
    """
    if prediction.is_too_thick or target.is_too_thick:
        return WidthCounts()
    found, right = prediction.mask[target.mask], target.mask[prediction.mask]
    return WidthCounts(
        *_binned(target.widths, found),
        *_binned(prediction.widths, right),
    )


def _binned(widths: Floats, inside: Bools) -> tuple[Ints, Ints]:
    """How many pixels each bin has, and how many of them lie inside the other mask."""
    bins = np.searchsorted(EDGES_PX[1:], widths, side="left")
    return np.bincount(bins, minlength=NUM_BINS), np.bincount(bins[inside], minlength=NUM_BINS)
