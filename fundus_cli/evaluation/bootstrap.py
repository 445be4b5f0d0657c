"""How far a score depends on which photographs were scored: resampling them (Efron 1979)."""

import math
from collections.abc import Sequence

import numpy as np

from fundus_cli.evaluation.counts import Counts
from fundus_cli.randomness import Purpose, generator


def bootstrap_interval(
    per_image: Sequence[Counts], draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the pooled Dice over photographs drawn with replacement.

    Args:
        per_image: counts of each photograph.
        draws: how many sets of photographs are drawn.
        level: probability that the interval is meant to cover.
        seed: the same seed gives the same interval.

    Returns:
        (low, high); (NaN, NaN) with fewer than two photographs or without any positive pixel.
    """
    if len(per_image) < 2:
        return math.nan, math.nan
    dice = _resampled_dice(per_image, _choices(len(per_image), draws, seed))
    dice = dice[~np.isnan(dice)]
    if len(dice) == 0:
        return math.nan, math.nan
    low, high = np.quantile(dice, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    one: Sequence[Counts], other: Sequence[Counts], draws: int = 2000, seed: int = 0
) -> tuple[float, float, float, float]:
    """Difference of two networks' pooled Dice on the same photographs.

    Draws of photographs in which one of the two has no Dice (no positive pixel, none predicted)
    are left out.

    Args:
        one: counts of each photograph.
        other: the other network's, in the same order.
        draws: how many sets of photographs are drawn.
        seed: the same seed gives the same answer.

    Returns:
        (difference one - other, low, high of its 95 % interval, two-sided p-value). The difference
        is NaN where either Dice is; the interval and p are NaN with fewer than two photographs and
        where fewer than half of the draws are defined.

    Raises:
        ValueError: the two have not the same number of photographs.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} photographs against {len(other)}")
    total = sum(one, Counts.zero()).metrics()["dice"] - sum(other, Counts.zero()).metrics()["dice"]
    if len(one) < 2:
        return total, math.nan, math.nan, math.nan
    chosen = _choices(len(one), draws, seed)
    difference = _resampled_dice(one, chosen) - _resampled_dice(other, chosen)
    difference = difference[~np.isnan(difference)]
    if len(difference) < draws / 2:
        return total, math.nan, math.nan, math.nan
    low, high = np.quantile(difference, [0.025, 0.975])
    # The share of draws on the far side of 0, never reported as smaller than the draws can show.
    tail = max(min(np.mean(difference <= 0), np.mean(difference >= 0)), 1 / len(difference))
    return total, float(low), float(high), float(min(1.0, 2 * tail))


def _choices(number: int, draws: int, seed: int) -> np.ndarray:
    return generator(Purpose.bootstrap, seed).integers(number, size=(draws, number))


def _resampled_dice(per_image: Sequence[Counts], chosen: np.ndarray) -> np.ndarray:
    double_tp = np.array([2 * c.tp for c in per_image], np.float64)[chosen].sum(axis=1)
    errors = np.array([c.fp + c.fn for c in per_image], np.float64)[chosen].sum(axis=1)
    whole = double_tp + errors
    undefined = np.full(len(whole), np.nan)
    return np.asarray(np.divide(double_tp, whole, out=undefined, where=whole > 0))
