"""Counts by hand, and their metrics against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fundus_cli.evaluation.counts import Counts, count

PREDICTION = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
TARGET = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
REGION = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]], bool)


def test_four_by_four_by_hand() -> None:
    assert count(PREDICTION, TARGET, np.ones((4, 4), bool)) == Counts(tp=3, fp=3, fn=1, tn=9)
    inside = count(PREDICTION, TARGET, REGION)
    assert inside == Counts(tp=3, fp=1, fn=1, tn=9)
    assert inside.metrics() == {
        "dice": 6 / 8,
        "iou": 3 / 5,
        "sensitivity": 3 / 4,
        "specificity": 9 / 10,
        "precision": 3 / 4,
        "accuracy": 12 / 14,
        "mcc": pytest.approx((3 * 9 - 1) / math.sqrt(4 * 4 * 10 * 10)),
    }


def test_what_is_undefined_is_nan() -> None:
    empty = Counts(0, 0, 0, 16).metrics()
    assert {k for k, v in empty.items() if math.isnan(v)} == {
        *("dice", "iou", "sensitivity", "precision", "mcc")
    }
    assert all(math.isnan(v) for v in Counts.zero().metrics().values())
    assert Counts(0, 5, 0, 11).metrics()["dice"] == 0.0


def test_counts_add_up_before_dividing() -> None:
    total = Counts(1, 2, 3, 4) + Counts(10, 20, 30, 40)
    assert total == Counts(11, 22, 33, 44)
    assert total.metrics()["dice"] == 22 / (22 + 22 + 33)


def test_hundreds_of_megapixels_do_not_overflow() -> None:
    many = Counts(4 * 10**9, 10**9, 10**9, 90 * 10**9).metrics()
    assert many["mcc"] == pytest.approx(359 / 455, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_against_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    target, prediction = random.random((2, 8, 9)) < random.uniform(0.2, 0.8)
    region = np.ones((8, 9), bool)
    own = count(prediction, target, region).metrics()
    t, p = target.ravel(), prediction.ravel()
    if t.any() and p.any() and not t.all() and not p.all():
        assert own["dice"] == pytest.approx(oracle.f1_score(t, p))
        assert own["iou"] == pytest.approx(oracle.jaccard_score(t, p))
        assert own["sensitivity"] == pytest.approx(oracle.recall_score(t, p))
        assert own["specificity"] == pytest.approx(oracle.recall_score(~t, ~p))
        assert own["mcc"] == pytest.approx(oracle.matthews_corrcoef(t, p))
        assert own["accuracy"] == pytest.approx(oracle.accuracy_score(t, p))
