"""Histograms of probabilities in bounded memory, and the curves and areas computed from them."""

import math
from collections.abc import Sequence

import numpy as np

from fundus_cli.evaluation.counts import Counts
from fundus_cli.evaluation.probability_grid import Grid, code_of

MAX_BINS = 2**18
"""6 MB; at least 1024 bins for every halving of p or of 1 - p, more where fewer occur."""
CALIBRATION_BINS = 15
"""As in Guo et al. 2017."""


class ProbabilityHistogram:
    """Pixels of one structure by probability, positives and negatives apart.

    The bins follow what was seen: a trained network's spread over many powers of two; those of an
    untrained one, whose probabilities all lie within a thousandth, hold one value each.

    Args:
        max_bins: 256 or more.
    """

    def __init__(self, max_bins: int = MAX_BINS) -> None:
        assert max_bins >= 256
        self.max_bins = max_bins
        self._grid: Grid | None = None
        self.positives = np.zeros(1, np.int64)
        self.negatives = np.zeros(1, np.int64)
        self.probability_sum = np.zeros(1, np.float64)

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        total = ProbabilityHistogram(self.max_bins)
        total._merge(self)
        total._merge(other)
        return total

    def coarsened(self, max_bins: int) -> "ProbabilityHistogram":
        """The same pixels in fewer bins."""
        total = ProbabilityHistogram(max_bins)
        total._merge(self)
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
        values, present = probability[region].astype(np.float32, copy=False), target[region]
        outside = ~((values >= 0) & (values <= 1))
        if outside.any():
            raise ValueError(f"probability {values[outside][0]} is not in 0 to 1")
        above_zero = values > 0
        codes = code_of(values[above_zero])
        if codes.size:
            self._make_room(Grid(int(codes.min()), int(codes.max()), self.max_bins))
        bins = np.zeros(values.shape, np.int32)
        if self._grid is not None:
            bins[above_zero] = self._grid.place(codes)
        num_bins = len(self.positives)
        self.positives += np.bincount(bins[present], minlength=num_bins)
        self.negatives += np.bincount(bins[~present], minlength=num_bins)
        self.probability_sum += np.bincount(bins, weights=values, minlength=num_bins)

    def _make_room(self, seen: Grid) -> None:
        old = self._grid
        grid = seen if old is None else old.cover(seen)
        if grid == old:
            return
        places = np.zeros(1, np.int64) if old is None else grid.place_bins_of(old)
        for name in ("positives", "negatives", "probability_sum"):
            own = getattr(self, name)
            moved = np.zeros(grid.num_bins, own.dtype)
            np.add.at(moved, places, own)
            setattr(self, name, moved)
        self._grid = grid

    def _merge(self, other: "ProbabilityHistogram") -> None:
        places = np.zeros(1, np.int64)
        if other._grid is not None:
            self._make_room(Grid(other._grid.lowest, other._grid.highest, self.max_bins))
            assert self._grid is not None
            places = self._grid.place_bins_of(other._grid)
        for name in ("positives", "negatives", "probability_sum"):
            np.add.at(getattr(self, name), places, getattr(other, name))

    def edges(self) -> np.ndarray:
        """The smallest float32 probability of each bin; the first is 0 and holds nothing else."""
        return np.zeros(1, np.float32) if self._grid is None else self._grid.edges()

    def mean(self) -> float:
        """Mean probability of all pixels; NaN without any."""
        num_pixels = int(self.positives.sum() + self.negatives.sum())
        return float(self.probability_sum.sum()) / num_pixels if num_pixels else math.nan

    def counts_at(self, threshold: float) -> Counts:
        """Counts when a pixel counts from the first bin edge that is not below the threshold.

        Exact where the threshold is an edge, as 0.5 and best_dice_threshold are.
        """
        start = int(np.searchsorted(self.edges(), np.float32(threshold)))
        tp, fp = int(self.positives[start:].sum()), int(self.negatives[start:].sum())
        return Counts(tp, fp, int(self.positives.sum()) - tp, int(self.negatives.sum()) - fp)

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
        """Dice when a pixel counts from each bin's edge on."""
        tp, fp = (c[::-1] for c in self._above())
        fn = self.positives.sum() - tp
        whole = (2 * tp + fp + fn).astype(np.float64)
        return np.asarray(np.divide(2 * tp, whole, out=np.full(len(tp), np.nan), where=whole > 0))

    def best_dice_threshold(self) -> tuple[float, float]:
        """The threshold with the highest Dice and that Dice; (NaN, NaN) without positives.

        Counting `probability >= threshold` in float32 gives this very Dice again. Of equal ones the
        threshold nearest to 0.5 is taken.
        """
        edges, dice = self.edges().astype(np.float64), self._dice()
        # The lowest bin begins where the probabilities do; any smaller threshold counts the same.
        edges[1:2] = np.minimum(edges[1:2], 0.5)
        usable = (edges > 0) & (edges < 1)
        if self.positives.sum() == 0:
            return math.nan, math.nan
        if not usable.any():
            return 0.5, float(self.counts_at(0.5).metrics()["dice"])
        edges, dice = edges[usable], dice[usable]
        candidates = edges[dice == dice.max()]
        return float(candidates[np.argmin(np.abs(candidates - 0.5))]), float(dice.max())

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
        """Thresholds from 0 to 1 and the Dice that each gives, thinned to about `points`.

        Both are empty without both positives and negatives.
        """
        if not self._has_both():
            return np.empty(0), np.empty(0)
        edges = np.append(self.edges().astype(np.float64), 1.0)
        dice = np.append(self._dice(), self.counts_at(1.0).metrics()["dice"])
        keep = _spread(edges, points)
        return edges[keep], dice[keep]


def stacked(
    histograms: Sequence[ProbabilityHistogram],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positives, negatives and sums of probability in common bins, each (N, bins) float64."""
    common = sum(histograms[1:], histograms[0])
    rows: list[list[np.ndarray]] = []
    for histogram in histograms:
        own = ProbabilityHistogram(common.max_bins)
        if common._grid is not None:
            own._make_room(common._grid)
        own._merge(histogram)
        rows.append([own.positives, own.negatives, own.probability_sum])
    positives, negatives, sums = np.array(rows, np.float64).transpose(1, 0, 2)
    return positives, negatives, sums


def _spread(rising: np.ndarray, points: int) -> np.ndarray:
    """Indices of about `points` elements spread evenly over the range of a rising array."""
    wanted = np.linspace(rising[0], rising[-1], points)
    found = np.searchsorted(rising, wanted).clip(0, len(rising) - 1)
    return np.unique(np.concatenate([[0], found, [len(rising) - 1]]))
