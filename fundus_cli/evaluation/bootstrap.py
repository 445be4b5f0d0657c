"""Confidence intervals and paired tests by bootstrap over images (Efron 1979)."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fundus_cli.evaluation.counts import Counts, count_metrics, ratio
from fundus_cli.evaluation.histogram import CALIBRATION_BINS, ProbabilityHistogram, stacked
from fundus_cli.runtime.randomness import Purpose, generator

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]

DRAWS = 2000
CHUNK = 200
"""Bootstrap samples whose curves are kept in memory at a time."""
UNDEFINED: Interval = (math.nan, math.nan)


def times_sampled(num_images: int, draws: int = DRAWS, seed: int = 0) -> Floats:
    """(draws, num_images): how often each image is in each bootstrap sample.

    Args:
        num_images: images in a set.
        draws: how many sets are drawn.
        seed: the same seed gives the same sets.
    """
    chosen = generator(Purpose.bootstrap, seed).integers(num_images, size=(draws, num_images))
    places = chosen + num_images * np.arange(draws)[:, None]
    counted = np.bincount(places.ravel(), minlength=draws * num_images)
    return counted.reshape(draws, num_images).astype(np.float64)


def percentile_interval(values: Floats, level: float = 0.95) -> Interval:
    """The percentiles of a score over the sets; NaN where fewer than half of them define it."""
    defined = values[~np.isnan(values)]
    if len(defined) == 0 or len(defined) < len(values) / 2:
        return UNDEFINED
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def count_intervals(per_image: Sequence[Counts], drawn: Floats) -> dict[str, Interval]:
    """95 % intervals of the pooled metrics of COUNT_METRICS; NaN with fewer than two images.

    Args:
        per_image: counts of each image.
        drawn: from `times_sampled`.
    """
    metrics = count_metrics(drawn @ _table(per_image))
    if len(per_image) < 2:
        return dict.fromkeys(metrics, UNDEFINED)
    return {name: percentile_interval(values) for name, values in metrics.items()}


def area_intervals(per_image: Sequence[ProbabilityHistogram], drawn: Floats) -> dict[str, Interval]:
    """95 % intervals of the pooled auc_roc, auc_pr and ece; NaN with fewer than two images.

    Args:
        per_image: the pixels of each image; coarse histograms do.
        drawn: from `times_sampled`.
    """
    if len(per_image) < 2:
        return dict.fromkeys(("auc_roc", "auc_pr", "ece"), UNDEFINED)
    positives, negatives, sums = stacked(per_image)
    roc, pr, ece = [], [], []
    for start in range(0, len(drawn), CHUNK):
        some = drawn[start : start + CHUNK]
        tp = np.cumsum((some @ positives)[:, ::-1], axis=1)
        fp = np.cumsum((some @ negatives)[:, ::-1], axis=1)
        both = tp[:, -1] * fp[:, -1] > 0
        width = np.diff(fp, axis=1, prepend=0)
        rise = np.diff(tp, axis=1, prepend=0)
        # Half of what a bin adds lies under the slope that leads to it.
        area = (width * (tp - rise / 2)).sum(axis=1)
        # Bins are coarse here: the precision in a bin's middle stands for all of its pixels.
        precision = np.nan_to_num(ratio(tp - rise / 2, tp + fp - (rise + width) / 2))
        roc.append(np.where(both, ratio(area, tp[:, -1] * fp[:, -1]), math.nan))
        pr.append(np.where(both, ratio((rise * precision).sum(axis=1), tp[:, -1]), math.nan))
        ece.append(_ece(some, positives, positives + negatives, sums))
    found = {"auc_roc": roc, "auc_pr": pr, "ece": ece}
    return {name: percentile_interval(np.concatenate(parts)) for name, parts in found.items()}


def _ece(drawn: Floats, positives: Floats, total: Floats, sums: Floats) -> Floats:
    centres = ratio(sums.sum(axis=0), total.sum(axis=0))
    place = np.minimum(
        (np.nan_to_num(centres) * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1
    )
    member = (place[:, None] == np.arange(CALIBRATION_BINS)).astype(np.float64)
    error = np.abs(drawn @ ((positives - sums) @ member)).sum(axis=1)
    return ratio(error, drawn @ total.sum(axis=1))


def paired_bootstrap(
    one: Sequence[Counts], other: Sequence[Counts], draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float, float]:
    """Difference of two pooled Dice on the same images.

    Sets of images in which one of the two has no Dice (no positive pixel, none predicted)
    are left out.

    Args:
        one: counts of each image.
        other: another prediction's, in the same order.
        draws: how many sets of images are drawn.
        seed: the same seed gives the same answer.

    Returns:
        (difference one - other, low, high of its 95 % interval, two-sided p-value). The difference
        is NaN where either Dice is; the interval and p are NaN with fewer than two images and
        where fewer than half of the sets define both.

    Raises:
        ValueError: the two have not the same number of images.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} images against {len(other)}")
    total = sum(one, Counts.zero()).metrics()["dice"] - sum(other, Counts.zero()).metrics()["dice"]
    if len(one) < 2:
        return total, math.nan, math.nan, math.nan
    drawn = times_sampled(len(one), draws, seed)
    dice_one, dice_other = (count_metrics(drawn @ _table(c))["dice"] for c in (one, other))
    difference = dice_one - dice_other
    low, high = percentile_interval(difference)
    if math.isnan(low):
        return total, math.nan, math.nan, math.nan
    difference = difference[~np.isnan(difference)]
    # The share of sets on the far side of 0, never reported as smaller than the draws can show.
    tail = min(float(np.mean(difference <= 0)), float(np.mean(difference >= 0)))
    return total, low, high, min(1.0, 2 * max(tail, 1 / len(difference)))


def _table(per_image: Sequence[Counts]) -> Floats:
    return np.array([[c.tp, c.fp, c.fn, c.tn] for c in per_image], np.float64).reshape(-1, 4)
