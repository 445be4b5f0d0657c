"""The paired test takes the same images of both runs, in the same order."""

from pathlib import Path

import numpy as np

from fundus_cli.evaluation.bootstrap import paired_bootstrap
from fundus_cli.evaluation.counts import Counts
from fundus_cli.report.comparison import MAX_ALL_PAIRS, compare_pairs, p_text
from fundus_cli.report.run_files import read_run
from fundus_cli.report.sweep_page import write_leaderboard

from .conftest import MakeRun


def random_counts(seed: int, names: list[str]) -> dict[str, Counts]:
    random = np.random.default_rng(seed)
    return {name: Counts(*map(int, random.integers(50, 99, 4))) for name in names}


def test_pairs_are_matched_by_id_not_by_row(make_run: MakeRun) -> None:
    names = [f"p{n}" for n in range(8)]
    one = random_counts(1, names)
    other = random_counts(2, names[::-1])
    runs = [read_run(make_run("a", counts=one)), read_run(make_run("b", counts=other))]
    (pair,), different = compare_pairs(["a", "b"], runs)
    expected = paired_bootstrap([one[n] for n in names], [other[n] for n in names])
    assert (pair.difference, pair.low, pair.high, pair.p) == expected
    assert (pair.one, pair.other, pair.num_images, different) == ("a", "b", 8, [])


def test_other_images_and_other_data_are_not_compared(make_run: MakeRun) -> None:
    a = read_run(make_run("a", counts=random_counts(1, ["x", "y"])))
    b = read_run(make_run("b", counts=random_counts(1, ["x", "z"])))
    c = read_run(make_run("c", "data=chasedb1", counts=random_counts(1, ["x", "y"])))
    pairs, different = compare_pairs(["a", "b", "c"], [a, b, c])
    assert pairs == []
    assert different == ["a and b", "a and c", "b and c"]


def test_many_runs_are_compared_with_the_first_alone(make_run: MakeRun) -> None:
    run = read_run(make_run("a"))
    number = MAX_ALL_PAIRS + 1
    pairs, _ = compare_pairs([str(n) for n in range(number)], [run] * number)
    assert [(pair.one, pair.other) for pair in pairs] == [("0", str(n)) for n in range(1, number)]


def test_a_handful_of_images_is_warned_of(make_run: MakeRun, tmp_path: Path) -> None:
    for number, name in ((9, "few"), (10, "enough")):
        counts = random_counts(number, [f"p{n}" for n in range(number)])
        runs = [read_run(make_run(f"{name}/{run}", counts=counts)) for run in "ab"]
        write_leaderboard(tmp_path / name, runs)
    warning = "too sure of itself"
    assert warning in (tmp_path / "few" / "leaderboard.html").read_text(encoding="utf-8")
    assert warning not in (tmp_path / "enough" / "leaderboard.html").read_text(encoding="utf-8")


def test_p_values_as_they_are_written() -> None:
    assert [p_text(p) for p in (0.0123, 0.0004, float("nan"))] == ["0.012", "< 0.001", "-"]
