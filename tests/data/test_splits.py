"""Splits by a hash of the person: stable, disjoint, both eyes together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_cli.data.splits import hold_out, person_of
from fundus_cli.errors import DataError

CHASE = [f"{child:02}{eye}" for child in range(1, 15) for eye in "LR"]
BY_CHILD = r"(\d+)[LR]"


def test_person_of() -> None:
    assert person_of("07L", BY_CHILD) == "07"
    assert person_of("other", BY_CHILD) == "other"
    assert person_of("07L", None) == "07L"
    assert person_of("07L", r"07|(\d+)R") == "07L"


def test_no_share_holds_nobody_out() -> None:
    assert hold_out(CHASE, person=None, val_fraction=0, folds=None, fold=0) == set()


def test_folds_are_a_partition_with_both_eyes_together() -> None:
    locked = [
        hold_out(CHASE, person=BY_CHILD, val_fraction=0, folds=4, fold=fold) for fold in range(4)
    ]
    assert sorted(i for fold in locked for i in fold) == sorted(CHASE)
    assert sorted(len(fold) for fold in locked) == [6, 6, 8, 8]
    for fold in locked:
        assert {i[:2] + "L" for i in fold} == {i for i in fold if i[2] == "L"}


@given(st.sets(st.text("abc0123456789", min_size=1, max_size=6), min_size=12, max_size=40))
def test_adding_files_moves_at_most_as_many(names: set[str]) -> None:
    ids = sorted(names)
    before = hold_out(ids, person=None, val_fraction=0.5, folds=None, fold=0)
    more = [*reversed(ids), "new1", "new2", "new3"]
    after = hold_out(more, person=None, val_fraction=0.5, folds=None, fold=0)
    assert len((after & names) ^ before) <= 3


@pytest.mark.parametrize(
    ("persons", "share", "expected"),
    [
        (3, 0.2, 1),
        (5, 0.5, 3),
        (8, 0.2, 2),
        (7, 0.2, 1),
        (10, 0.25, 3),
        (2, 0.9, 1),
        (4000, 0.2, 800),
    ],
)
def test_the_share_is_met(persons: int, share: float, expected: int) -> None:
    for prefix in ("photo", "x", "IMG_"):
        ids = [f"{prefix}{i}" for i in range(persons)]
        held_out = hold_out(ids, person=None, val_fraction=share, folds=None, fold=0)
        assert len(held_out) == expected


@pytest.mark.parametrize(("share", "expected"), [(1e-9, 1), (0.999999, 5)])
def test_neither_side_is_ever_empty(share: float, expected: int) -> None:
    ids = [f"p{i}" for i in range(6)]
    locked = hold_out(ids, person=None, val_fraction=share, folds=None, fold=0)
    assert len(locked) == expected


def test_too_few_persons_is_an_error() -> None:
    with pytest.raises(DataError, match="too few to hold one out"):
        hold_out(["01L", "01R"], person=BY_CHILD, val_fraction=0.2, folds=None, fold=0)
    with pytest.raises(DataError, match=r"data\.folds=5: train has only 4 persons"):
        hold_out(CHASE[:8], person=BY_CHILD, val_fraction=0, folds=5, fold=0)
