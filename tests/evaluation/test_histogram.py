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


def test_undefined_is_nan_and_nan_is_refused() -> None:
    empty = ProbabilityHistogram()
    assert all(math.isnan(v) for v in (empty.auc_roc(), empty.auc_pr(), empty.ece()))
    assert all(math.isnan(v) for v in empty.best_dice_threshold())
    with pytest.raises(ValueError, match="NaN"):
        empty.add(np.array([[np.nan]], np.float32), np.array([[True]]), np.array([[True]]))


def test_extremes_fall_into_the_end_bins() -> None:
    own = ProbabilityHistogram()
    probability = np.array([[0.0, 1.0, 1e-30]], np.float32)
    own.add(probability, np.array([[False, True, False]]), np.ones((1, 3), bool))
    assert (own.negatives[0], own.negatives.sum(), own.positives[-1]) == (1, 2, 1)
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
