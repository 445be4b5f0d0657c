"""Count TP, FP, FN and TN pixels, and compute the metrics that follow from the counts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

COUNT_METRICS = ("dice", "iou", "sensitivity", "specificity", "precision", "accuracy", "mcc")


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
        """The metrics of COUNT_METRICS; what is undefined is NaN, see `count_metrics`."""
        numbers = count_metrics(np.array([self.tp, self.fp, self.fn, self.tn]))
        return {name: float(value) for name, value in numbers.items()}


def count_metrics(counts: np.ndarray) -> dict[str, Floats]:
    """dice, iou, sensitivity, specificity, precision, accuracy, mcc of counts.

    dice = 2 tp / (2 tp + fp + fn), the same number as F1. What is 0 / 0 is NaN: the dice of an
    empty prediction of an empty target, the sensitivity without a positive, and so on. MCC is
    NaN where any of its four margins is empty (Matthews 1975).

    Args:
        counts: (..., 4), tp fp fn tn, numbers of pixels.

    Returns:
        {name: (...)}.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "iou": ratio(tp, tp + fp + fn),
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "precision": ratio(tp, tp + fp),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
        "mcc": ratio(tp * tn - fp * fn, np.sqrt(margins)),
    }


def ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """part / whole, NaN where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    undefined = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.asarray(np.divide(part, whole, out=undefined, where=whole > 0))


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
