"""Probabilities of any number of pixels in fixed memory, and the curves and areas they give."""

import math

import numpy as np

SHIFT = 13
"""Bits of a float32 that a bin leaves out: 1024 bins for every halving of p or of 1 - p."""
HALF = 0x3F000000 >> SHIFT
SMALLEST_REST = 0x33800000 >> SHIFT
"""Bins of 0.5 and of 2**-24, which is how close to 1 a float32 can come."""
NUM_BINS = 2 * HALF - SMALLEST_REST + 2
CALIBRATION_BINS = 15
"""As in Guo et al. 2017."""


def bin_of(probability: np.ndarray) -> np.ndarray:
    """The bin of each float32 probability; bins rise with it and are finest near 0 and near 1.

    The bit pattern of a positive float rises with its value and is even on a logarithmic scale,
    so its leading bits are the bin: those of p below a half, those of 1 - p above.
    """
    # Adding 0 turns -0.0, whose bit pattern is that of a negative number, into 0.0.
    probability = np.ascontiguousarray(probability, np.float32) + np.float32(0)
    low = probability.view(np.int32) >> SHIFT
    rest = (np.float32(1) - probability).view(np.int32) >> SHIFT
    high = 2 * HALF - np.maximum(rest, SMALLEST_REST - 1)
    return np.where(probability < 0.5, low, high)


def _edges() -> np.ndarray:
    """The smallest float32 probability of each bin."""
    low = (np.arange(HALF, dtype=np.int32) << SHIFT).view(np.float32)
    rest_bin = np.arange(HALF, SMALLEST_REST - 2, -1, dtype=np.int32)
    beyond = ((rest_bin + 1) << SHIFT).view(np.float32).astype(np.float64)
    # Above a half float32 values lie 2**-24 apart; the largest rest of a bin is the last of these.
    largest_rest = (np.ceil(np.minimum(beyond, 0.5 + 2.0**-24) * 2**24) - 1) / 2**24
    return np.concatenate([low, (1 - largest_rest).astype(np.float32)])


EDGES = _edges()


class ProbabilityHistogram:
    """Pixels of one structure by probability, positives and negatives apart."""

    def __init__(self) -> None:
        self.positives = np.zeros(NUM_BINS, np.int64)
        self.negatives = np.zeros(NUM_BINS, np.int64)
        self.probability_sum = np.zeros(NUM_BINS, np.float64)

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        total = ProbabilityHistogram()
        total.positives = self.positives + other.positives
        total.negatives = self.negatives + other.negatives
        total.probability_sum = self.probability_sum + other.probability_sum
        return total

    def add(self, probability: np.ndarray, target: np.ndarray, region: np.ndarray) -> None:
        """Count the pixels of `region`.

        Args:
            probability: (H, W) float32, 0 to 1.
            target: (H, W) bool.
            region: (H, W) bool.

        Raises:
            ValueError: a probability in the region is not a number from 0 to 1; nothing is counted.
        """
        values, present = probability[region], target[region]
        outside = ~((values >= 0) & (values <= 1))
        if outside.any():
            raise ValueError(f"probability {values[outside][0]} is not in 0 to 1")
        bins = bin_of(values)
        self.positives += np.bincount(bins[present], minlength=NUM_BINS)
        self.negatives += np.bincount(bins[~present], minlength=NUM_BINS)
        self.probability_sum += np.bincount(bins, weights=values, minlength=NUM_BINS)

    def _above(self) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives when a pixel counts from each bin's edge on, highest first."""
        return np.cumsum(self.positives[::-1]), np.cumsum(self.negatives[::-1])

    def _has_both(self) -> bool:
        return bool(self.positives.any() and self.negatives.any())

    def auc_roc(self) -> float:
        """Area under the ROC curve, ties within a bin counted half; NaN without both kinds."""
        if not self._has_both():
            return math.nan
        tp, fp = (np.concatenate([[0], c]).astype(np.float64) for c in self._above())
        return float(np.trapezoid(tp, fp) / (tp[-1] * fp[-1]))

    def auc_pr(self) -> float:
        """Average precision: precision summed over the steps of recall; NaN without both kinds.

        Without negatives it would be 1 for any network.
        """
        if not self._has_both():
            return math.nan
        tp, fp = (c.astype(np.float64) for c in self._above())
        precision = np.divide(tp, tp + fp, out=np.ones_like(tp), where=tp + fp > 0)
        return float(np.sum(np.diff(tp, prepend=0.0) * precision) / tp[-1])

    def calibration(
        self, bins: int = CALIBRATION_BINS
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean probability, share of positives and number of pixels in even bins of probability.

        The first two are NaN where a bin has no pixel.
        """
        total = self.positives + self.negatives
        centres = np.divide(self.probability_sum, total, out=np.zeros(len(total)), where=total > 0)
        place = np.minimum((centres * bins).astype(int), bins - 1)
        num_pixels = np.bincount(place, weights=total, minlength=bins).astype(np.int64)
        sums = np.stack(
            [
                np.bincount(place, weights=w, minlength=bins)
                for w in (self.probability_sum, self.positives)
            ]
        )
        undefined = np.full(sums.shape, np.nan)
        probability, observed = np.divide(sums, num_pixels, out=undefined, where=num_pixels > 0)
        return probability, observed, num_pixels

    def ece(self, bins: int = CALIBRATION_BINS) -> float:
        """Expected calibration error over even bins of probability (Guo et al. 2017, eq. 3).

        |share of positives - mean probability| of each bin, weighted by its pixels; NaN without
        any pixel.
        """
        probability, observed, num_pixels = self.calibration(bins)
        if num_pixels.sum() == 0:
            return math.nan
        return float(np.nansum(np.abs(observed - probability) * num_pixels) / num_pixels.sum())

    def _dice(self) -> np.ndarray:
        """Dice when a pixel counts from EDGES[i] on."""
        tp, fp = (c[::-1] for c in self._above())
        fn = self.positives.sum() - tp
        whole = (2 * tp + fp + fn).astype(np.float64)
        return np.asarray(np.divide(2 * tp, whole, out=np.full(len(tp), np.nan), where=whole > 0))

    def best_dice_threshold(self) -> tuple[float, float]:
        """The threshold with the highest Dice and that Dice; (NaN, NaN) without positives.

        Counting `probability >= threshold` in float32 gives this very Dice again. Of equal ones the
        threshold nearest to 0.5 is taken.
        """
        inside = (EDGES > 0) & (EDGES < 1)
        dice = np.where(inside, self._dice(), np.nan)
        if self.positives.sum() == 0 or np.isnan(dice).all():
            return math.nan, math.nan
        best = np.nanmax(dice)
        candidates = EDGES[dice == best]
        threshold = candidates[np.argmin(np.abs(candidates.astype(np.float64) - 0.5))]
        return float(threshold), float(best)

    def roc_curve(self, points: int = 500) -> tuple[np.ndarray, np.ndarray]:
        """False and true positive rate, from (0, 0) to (1, 1), thinned to about `points`.

        Both are empty without both positives and negatives.
        """
        if not self._has_both():
            return np.empty(0), np.empty(0)
        tp, fp = (np.concatenate([[0], c]) / c[-1] for c in self._above())
        keep = _spread(tp + fp, points)
        return fp[keep], tp[keep]

    def pr_curve(self, points: int = 500) -> tuple[np.ndarray, np.ndarray]:
        """Recall and precision, thinned to about `points`.

        Both are empty without both positives and negatives.
        """
        if not self._has_both():
            return np.empty(0), np.empty(0)
        tp, fp = (c.astype(np.float64) for c in self._above())
        seen = tp + fp > 0
        recall, precision = tp[seen] / tp[-1], tp[seen] / (tp[seen] + fp[seen])
        keep = _spread(recall, points)
        return recall[keep], precision[keep]

    def dice_by_threshold(self, points: int = 500) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds and the Dice that each gives, thinned to about `points`.

        Both are empty without both positives and negatives.
        """
        if not self._has_both():
            return np.empty(0), np.empty(0)
        keep = _spread(EDGES.astype(np.float64), points)
        return EDGES[keep], self._dice()[keep]


def _spread(rising: np.ndarray, points: int) -> np.ndarray:
    """Indices of about `points` elements spread evenly over the range of a rising array."""
    wanted = np.linspace(rising[0], rising[-1], points)
    found = np.searchsorted(rising, wanted).clip(0, len(rising) - 1)
    return np.unique(np.concatenate([[0], found, [len(rising) - 1]]))
