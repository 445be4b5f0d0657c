"""Areas and thresholds from the histogram equal those from the pixels themselves."""

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from fundus_cli.evaluation.counts import count
from fundus_cli.evaluation.histogram import EDGES, NUM_BINS, ProbabilityHistogram, bin_of


def pixels(kind: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    target = random.random((300, 400)) < 0.1
    spread = {"soft": 2.0, "saturated": 12.0, "tied": 3.0}[kind]
    logit = random.normal(size=target.shape) * spread + np.where(target, 1, -1) * spread
    probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
    if kind == "tied":
        probability = np.round(probability, 1)
    return probability, target


def histogram(probability: np.ndarray, target: np.ndarray) -> ProbabilityHistogram:
    own = ProbabilityHistogram()
    half = len(target) // 2
    own.add(probability[:half], target[:half], np.ones_like(target[:half]))
    more = ProbabilityHistogram()
    more.add(probability[half:], target[half:], np.ones_like(target[half:]))
    return own + more


@pytest.mark.parametrize("kind", ["soft", "saturated", "tied"])
def test_areas_equal_scikit_learns(kind: str) -> None:
    probability, target = pixels(kind)
    own = histogram(probability, target)
    p, t = probability.ravel(), target.ravel()
    assert own.auc_roc() == pytest.approx(oracle.roc_auc_score(t, p), abs=1e-5)
    assert own.auc_pr() == pytest.approx(oracle.average_precision_score(t, p), abs=1e-4)


@pytest.mark.parametrize("kind", ["soft", "saturated", "tied"])
def test_the_best_threshold_counts_to_the_same_dice(kind: str) -> None:
    probability, target = pixels(kind)
    threshold, dice = histogram(probability, target).best_dice_threshold()
    region = np.ones_like(target)

    def dice_at(value: float) -> float:
        return count(probability >= np.float32(value), target, region).metrics()["dice"]

    assert dice_at(threshold) == dice
    assert max(dice_at(t) for t in np.linspace(0.01, 0.99, 99)) <= dice + 1e-4


def test_only_the_region_counts() -> None:
    probability = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    target = np.array([[True, False], [False, True]])
    region = np.array([[True, True], [False, False]])
    own = ProbabilityHistogram()
    own.add(probability, target, region)
    assert own.positives.sum() == 1
    assert own.negatives.sum() == 1
    assert own.auc_roc() == 1.0


def test_calibration_error_by_hand() -> None:
    own = ProbabilityHistogram()
    probability = np.array([[0.9, 0.9, 0.9, 0.9, 0.1]], np.float32)
    target = np.array([[True, True, False, False, False]])
    own.add(probability, target, np.ones_like(target))
    assert own.ece() == pytest.approx((abs(2 - 3.6) + abs(0 - 0.1)) / 5, abs=1e-6)


def one_kind(present: bool) -> ProbabilityHistogram:
    own = ProbabilityHistogram()
    probability = np.array([[0.2, 0.7, 0.9]], np.float32)
    own.add(probability, np.full((1, 3), present), np.ones((1, 3), bool))
    return own


@pytest.mark.parametrize(
    "own",
    [ProbabilityHistogram(), one_kind(False), one_kind(True)],
    ids=["empty", "no positives", "no negatives"],
)
def test_without_both_kinds_areas_are_nan_and_curves_are_empty(own: ProbabilityHistogram) -> None:
    assert math.isnan(own.auc_roc())
    assert math.isnan(own.auc_pr())
    for curve in (own.roc_curve(), own.pr_curve(), own.dice_by_threshold()):
        assert [axis.shape for axis in curve] == [(0,), (0,)]


def test_what_needs_no_negatives_is_defined_without_them() -> None:
    assert all(math.isnan(v) for v in ProbabilityHistogram().best_dice_threshold())
    assert all(math.isnan(v) for v in one_kind(False).best_dice_threshold())
    threshold, dice = one_kind(True).best_dice_threshold()
    assert threshold <= np.float32(0.2)
    assert dice == 1.0
    assert math.isnan(ProbabilityHistogram().ece())
    assert one_kind(False).ece() == pytest.approx((0.2 + 0.7 + 0.9) / 3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.25, 1.5, 1 + 2**-23])
def test_what_is_no_probability_is_refused_with_its_value(value: float) -> None:
    own = ProbabilityHistogram()
    probability = np.array([[0.5, value, 0.5]], np.float32)
    anything = np.array([[True, False, True]])
    with pytest.raises(ValueError, match=f"probability {np.float32(value)} is not in 0 to 1"):
        own.add(probability, anything, np.ones((1, 3), bool))
    assert own.positives.sum() + own.negatives.sum() == 0
    own.add(probability, anything, np.array([[True, False, True]]))
    assert own.positives.sum() == 2


def test_extremes_fall_into_the_end_bins() -> None:
    own = ProbabilityHistogram()
    probability = np.array([[0.0, 1.0, 1e-30, -0.0]], np.float32)
    own.add(probability, np.array([[False, True, False, False]]), np.ones((1, 4), bool))
    assert (own.negatives[0], own.negatives.sum(), own.positives[-1]) == (2, 3, 1)
    assert np.all(np.isfinite(own.dice_by_threshold()[1]))


def test_every_edge_lies_in_its_bin_and_just_below_it_in_the_one_before() -> None:
    assert len(EDGES) == NUM_BINS
    assert np.all(np.diff(EDGES) >= 0)
    filled = np.flatnonzero(np.diff(EDGES, append=2) > 0)
    assert np.array_equal(bin_of(EDGES[filled]), filled)
    below = np.nextafter(EDGES[filled[1:]], np.float32(0))
    assert np.all(bin_of(below) < filled[1:])


def test_curves_run_from_corner_to_corner() -> None:
    own = histogram(*pixels("soft"))
    fpr, tpr = own.roc_curve()
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert float(np.trapezoid(tpr, fpr)) == pytest.approx(own.auc_roc(), abs=1e-3)
    recall, precision = own.pr_curve()
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(0.1, abs=0.01)
    assert len(fpr) < 700


def test_curves_by_hand() -> None:
    own = ProbabilityHistogram()
    probability = np.array([[0.9, 0.75, 0.5, 0.25]], np.float32)
    own.add(probability, np.array([[True, False, True, False]]), np.ones((1, 4), bool))
    fpr, tpr = own.roc_curve()
    corners = sorted(set(zip(fpr.tolist(), tpr.tolist(), strict=True)))
    assert corners == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    recall, precision = own.pr_curve()
    assert (recall[0], precision[0]) == (0.5, 1)
    assert (recall[-1], precision[-1]) == (1, 0.5)
    threshold, dice = own.dice_by_threshold(points=5000)
    # All four, then without 0.25, without 0.5, without 0.75, and nothing.
    for at, expected in [(0.1, 4 / 6), (0.4, 4 / 5), (0.6, 2 / 4), (0.8, 2 / 3), (0.99, 0)]:
        assert dice[np.searchsorted(threshold, at)] == pytest.approx(expected)
