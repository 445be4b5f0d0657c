"""Areas and thresholds from the histogram equal those from the pixels themselves."""

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from fundus_cli.evaluation.counts import count
from fundus_cli.evaluation.histogram import MAX_BINS, ProbabilityHistogram, stacked
from fundus_cli.evaluation.probability_grid import Grid, code_of, smallest_with


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
    assert 0 < threshold < 1
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
    assert (own.edges()[0], own.edges()[-1]) == (0, 1)
    assert np.all(np.isfinite(own.dice_by_threshold()[1]))


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
    assert (threshold[0], threshold[-1], dice[-1]) == (0, 1, 0)


UNTRAINED = {
    "near a half": (0.5, 0.001),
    "near a tenth": (0.1, 0.002),
    "near 1e-4": (1e-4, 1e-6),
    "near one": (0.9999, 1e-5),
}
"""Centre and spread of what networks predict before they have learned anything."""


@pytest.mark.parametrize("kind", UNTRAINED)
def test_areas_of_an_untrained_network_equal_scikit_learns(kind: str) -> None:
    centre, spread = UNTRAINED[kind]
    random = np.random.default_rng(3)
    target = random.random((200, 300)) < 0.1
    shift = np.where(target, 0.2, 0) + random.uniform(-1, 0.8, target.shape)
    probability = (centre + spread * shift).astype(np.float32)
    own = ProbabilityHistogram()
    own.add(probability, target, np.ones_like(target))
    # The dark surround of an image, where the probability is 0, costs no bins.
    own.add(np.zeros_like(probability), np.zeros_like(target), np.ones_like(target))
    p = np.concatenate([probability.ravel(), np.zeros(probability.size, np.float32)])
    t = np.concatenate([target.ravel(), np.zeros(target.size, bool)])
    assert own.auc_roc() == pytest.approx(oracle.roc_auc_score(t, p), abs=1e-6)
    assert own.auc_pr() == pytest.approx(oracle.average_precision_score(t, p), abs=1e-4)


def test_memory_is_bounded_and_the_order_does_not_matter() -> None:
    random = np.random.default_rng(11)
    everywhere = np.ones((64, 64), bool)
    parts = []
    for power in (-1, -30, -3, -90, -1):
        probability = (random.random((64, 64)) * 2.0**power).astype(np.float32)
        parts.append((probability, random.random((64, 64)) < 0.3))
    parts.append((1 - parts[0][0] * np.float32(1e-6), parts[0][1]))
    found = []
    for order in (range(6), reversed(range(6)), (3, 5, 0, 2, 4, 1)):
        own = ProbabilityHistogram()
        for i in order:
            own.add(*parts[i], everywhere)
        assert len(own.positives) <= MAX_BINS + 1
        assert own.positives.sum() + own.negatives.sum() == 6 * 64 * 64
        found.append(own)
    for other in found[1:]:
        assert np.array_equal(found[0].positives, other.positives)
        assert np.array_equal(found[0].edges(), other.edges())
        assert found[0].auc_roc() == other.auc_roc()
        assert found[0].best_dice_threshold() == other.best_dice_threshold()


def test_coarsened_and_stacked_hold_the_same_pixels() -> None:
    own = histogram(*pixels("soft"))
    few = own.coarsened(4096)
    assert len(few.positives) <= 4097
    assert few.positives.sum() == own.positives.sum()
    assert few.auc_roc() == pytest.approx(own.auc_roc(), abs=1e-5)
    assert few.auc_pr() == pytest.approx(own.auc_pr(), abs=1e-3)
    other = one_kind(True).coarsened(4096)
    positives, negatives, sums = stacked([few, other, ProbabilityHistogram(4096)])
    assert positives.sum(axis=1).tolist() == [few.positives.sum(), 3, 0]
    assert negatives.sum(axis=1).tolist() == [few.negatives.sum(), 0, 0]
    assert sums[1].sum() == pytest.approx(1.8)
    both = (few + other).positives
    assert np.array_equal(positives.sum(axis=0), both)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.25])
def test_one_value_for_all_pixels(value: float) -> None:
    own = ProbabilityHistogram()
    target = np.array([[True, False, False, False]])
    own.add(np.full((1, 4), value, np.float32), target, np.ones((1, 4), bool))
    assert own.auc_roc() == 0.5
    assert own.auc_pr() == 0.25
    threshold, dice = own.best_dice_threshold()
    assert 0 < threshold < 1
    assert dice == (0 if value == 0 else 0.4)
    assert own.counts_at(threshold).metrics()["dice"] == dice


def test_counts_at_a_half_are_exact() -> None:
    probability, target = pixels("soft")
    probability[:5] = 0.5
    probability[5:10] = np.nextafter(np.float32(0.5), np.float32(0))
    own = histogram(probability, target)
    assert own.counts_at(0.5) == count(probability >= 0.5, target, np.ones_like(target))


def test_codes_rise_with_the_probability_and_name_its_smallest() -> None:
    random = np.random.default_rng(0)
    low = 2.0 ** random.uniform(-140, -1, 3000)
    high = 1 - 2.0 ** random.uniform(-24, -1, 3000)
    special = [2.0**-149, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 1 - 2.0**-24, 1.0]
    values = np.unique(np.concatenate([low, high, special]).astype(np.float32))
    values = values[values > 0]
    codes = code_of(values)
    assert np.all(np.diff(codes) > 0)
    assert np.array_equal(smallest_with(codes.astype(np.int64)), values)
    grid = Grid(int(codes[0]), int(codes[-1]), 1000)
    places, edges = grid.place(codes), grid.edges()
    assert (places.min(), places.max()) == (1, grid.num_bins - 1)
    assert grid.num_bins <= 1001
    assert np.all(edges[places] <= values)
    inside = places < grid.num_bins - 1
    assert np.all(values[inside] < edges[places[inside] + 1])
