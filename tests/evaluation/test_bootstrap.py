"""Intervals over images."""

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from fundus_cli.evaluation.bootstrap import (
    area_intervals,
    count_intervals,
    paired_bootstrap,
    percentile_interval,
    times_sampled,
)
from fundus_cli.evaluation.counts import COUNT_METRICS, Counts
from fundus_cli.evaluation.histogram import ProbabilityHistogram


def bootstrap_interval(images: list[Counts], draws: int = 2000) -> tuple[float, float]:
    return count_intervals(images, times_sampled(len(images), draws))["dice"]


def counts(seed: int, shift: int = 0, number: int = 20) -> list[Counts]:
    random = np.random.default_rng(seed)
    return [
        Counts(int(tp) + shift, int(fp), int(fn) - shift, 1000)
        for tp, fp, fn in random.integers([60, 10, 40], [120, 30, 60], size=(number, 3))
    ]


def test_the_interval_holds_the_pooled_dice_and_repeats() -> None:
    images = counts(0)
    low, high = bootstrap_interval(images)
    dice = sum(images, Counts.zero()).metrics()["dice"]
    assert low < dice < high
    assert high - low < 0.1
    assert bootstrap_interval(images) == (low, high)


def test_equal_images_have_no_spread() -> None:
    assert bootstrap_interval([Counts(3, 1, 1, 9)] * 5) == (0.75, 0.75)


@pytest.mark.parametrize("images", [[], [Counts(1, 1, 1, 1)], [Counts(0, 0, 0, 5)] * 3])
def test_too_little_to_resample_is_nan(images: list[Counts]) -> None:
    assert all(math.isnan(v) for v in bootstrap_interval(images))


def test_the_spread_is_that_of_the_normal_approximation() -> None:
    # With one denominator for all, the pooled dice is the mean of independent values.
    random = np.random.default_rng(1)
    tp = random.integers(30, 71, size=200)
    images = [Counts(int(t), 0, 2 * (100 - int(t)), 0) for t in tp]
    low, high = bootstrap_interval(images, draws=4000)
    se = tp.std() / 100 / math.sqrt(200)
    assert (high - low) / 2 == pytest.approx(1.96 * se, rel=0.1)


def test_a_clear_difference_is_significant_and_none_is_not() -> None:
    one, better = counts(0), counts(0, shift=10)
    difference, low, high, p = paired_bootstrap(better, one)
    assert 0 < low < difference < high
    assert p == pytest.approx(2 / 2000)
    same = paired_bootstrap(one, one)
    assert same == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="20 images against 19"):
        paired_bootstrap(one, one[1:])


EMPTY = Counts(0, 0, 0, 9)


def test_undefined_draws_are_left_out() -> None:
    one, other = Counts(8, 2, 2, 9), Counts(5, 5, 5, 9)
    # A draw without the one image that has vessels has no Dice; all others have the same.
    difference, low, high, p = paired_bootstrap([one] + [EMPTY] * 4, [other] + [EMPTY] * 4)
    assert (difference, low, high) == pytest.approx((0.3, 0.3, 0.3))
    defined = 2000 * (1 - 0.8**5)
    assert p == pytest.approx(2 / defined, rel=0.1)


def test_less_than_half_of_the_draws_are_no_interval() -> None:
    false_alarm = Counts(0, 1, 0, 8)
    # Both networks have a Dice in the 12 of 27 draws that hold both false alarms.
    one, other = [false_alarm, EMPTY, EMPTY], [EMPTY, false_alarm, EMPTY]
    difference, *rest = paired_bootstrap(one, other)
    assert difference == 0
    assert all(math.isnan(v) for v in rest)
    # With the same false alarm it is 3 of 4 draws.
    assert paired_bootstrap([false_alarm, EMPTY], [false_alarm, EMPTY]) == (0, 0, 0, 1)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_without_any_dice_there_is_no_difference(number: int) -> None:
    assert all(math.isnan(v) for v in paired_bootstrap([EMPTY] * number, [EMPTY] * number))


def test_sets_are_as_large_as_the_split_and_every_image_is_equally_likely() -> None:
    drawn = times_sampled(7, draws=4000)
    assert drawn.shape == (4000, 7)
    assert set(drawn.sum(axis=1)) == {7}
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.06)
    assert np.array_equal(drawn, times_sampled(7, draws=4000))
    assert not np.array_equal(drawn, times_sampled(7, draws=4000, seed=1))


def test_every_metric_of_counts_has_an_interval_around_it() -> None:
    images = counts(0)
    pooled = sum(images, Counts.zero()).metrics()
    intervals = count_intervals(images, times_sampled(len(images)))
    assert tuple(intervals) == COUNT_METRICS
    for name, (low, high) in intervals.items():
        assert low < pooled[name] < high


def test_mostly_undefined_sets_have_no_interval() -> None:
    values = np.array([0.5, 0.6, math.nan, math.nan])
    assert percentile_interval(values)[0] == pytest.approx(0.5, abs=0.01)
    assert all(math.isnan(v) for v in percentile_interval(np.append(values, math.nan)))


def test_intervals_of_areas_equal_a_loop_over_the_sets_with_scikit_learn() -> None:
    random = np.random.default_rng(2)
    pixels, histograms = [], []
    for difficulty in random.uniform(0.3, 2, 6):
        target = random.random((60, 60)) < 0.2
        logit = difficulty * target + random.normal(size=target.shape) - 1
        probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
        own = ProbabilityHistogram(1024)
        own.add(probability, target, np.ones_like(target))
        pixels.append((probability.ravel(), target.ravel()))
        histograms.append(own)
    drawn = times_sampled(6, draws=100)
    scores: dict[str, list[float]] = {"auc_roc": [], "auc_pr": [], "ece": []}
    for row in drawn.astype(int):
        p = np.concatenate([np.tile(pixels[i][0], n) for i, n in enumerate(row)])
        t = np.concatenate([np.tile(pixels[i][1], n) for i, n in enumerate(row)])
        scores["auc_roc"].append(oracle.roc_auc_score(t, p))
        scores["auc_pr"].append(oracle.average_precision_score(t, p))
        place = np.minimum((p * 15).astype(int), 14)
        gap = np.bincount(place, weights=t - p.astype(np.float64), minlength=15)
        scores["ece"].append(np.abs(gap).sum() / len(p))
    found = area_intervals(histograms, drawn)
    for name, values in scores.items():
        expected = np.quantile(values, [0.025, 0.975])
        assert found[name] == pytest.approx(tuple(expected), abs=1e-3), name


def test_one_image_has_no_interval() -> None:
    own = ProbabilityHistogram(4096)
    own.add(np.full((2, 2), 0.3, np.float32), np.eye(2, dtype=bool), np.ones((2, 2), bool))
    for low, high in area_intervals([own], times_sampled(1)).values():
        assert math.isnan(low)
        assert math.isnan(high)
