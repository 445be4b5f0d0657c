"""Pixels counted as hits, misses and false alarms, and the metrics that follow from the counts."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Counts:
    """True and false positives and negatives of one structure; sums of them are counts again."""

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def zero(cls) -> "Counts":
        """Nothing counted."""
        return cls(0, 0, 0, 0)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    def metrics(self) -> dict[str, float]:
        """dice, iou, sensitivity, specificity, precision, accuracy, mcc.

        dice = 2 tp / (2 tp + fp + fn), the same number as F1. What is 0 / 0 is NaN: the dice of an
        empty prediction of an empty target, the sensitivity without a positive, and so on. MCC is
        NaN where any of its four margins is empty.
        """
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return {
            "dice": _ratio(2 * tp, 2 * tp + fp + fn),
            "iou": _ratio(tp, tp + fp + fn),
            "sensitivity": _ratio(tp, tp + fn),
            "specificity": _ratio(tn, tn + fp),
            "precision": _ratio(tp, tp + fp),
            "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
            "mcc": (tp * tn - fp * fn) / math.sqrt(margins) if margins else math.nan,
        }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def count(prediction: np.ndarray, target: np.ndarray, region: np.ndarray) -> Counts:
    """Count the pixels of `region`.

    Args:
        prediction: (H, W) bool.
        target: (H, W) bool.
        region: (H, W) bool, True where a pixel counts.
    """
    predicted, present = prediction & region, target & region
    tp = int(np.count_nonzero(predicted & present))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(present)) - tp
    return Counts(tp, fp, fn, int(np.count_nonzero(region)) - tp - fp - fn)
