"""Intervals over photographs."""

import math

import numpy as np
import pytest

from fundus_cli.evaluation.bootstrap import bootstrap_interval, paired_bootstrap
from fundus_cli.evaluation.counts import Counts


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


def test_equal_photographs_have_no_spread() -> None:
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
    with pytest.raises(ValueError, match="20 photographs against 19"):
        paired_bootstrap(one, one[1:])


EMPTY = Counts(0, 0, 0, 9)


def test_undefined_draws_are_left_out() -> None:
    one, other = Counts(8, 2, 2, 9), Counts(5, 5, 5, 9)
    # A draw without the one photograph that has vessels has no Dice; all others have the same.
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
