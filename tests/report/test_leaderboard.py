"""What was varied, who comes first, and jobs that differ only in seed or fold as one row."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from fundus_cli.evaluation.counts import Counts
from fundus_cli.report.leaderboard import Leaderboard, build_leaderboard, read_jobs
from fundus_cli.report.leaderboard_text import leaderboard_table
from fundus_cli.report.run_files import read_run
from fundus_cli.report.sweep_page import pooled_folds, write_leaderboard
from fundus_cli.run.files import write_json

from .conftest import MakeRun


def board_of(*folders: Path) -> Leaderboard:
    return build_leaderboard([read_run(folder) for folder in folders])


def test_only_what_differs_is_a_column_and_seed_comes_last(make_run: MakeRun) -> None:
    a = make_run("a", "seed=1", "optimizer.lr=0.1", "output=x", val_dice=0.6)
    b = make_run("b", "seed=0", "optimizer.lr=0.01", "output=y", val_dice=0.8)
    board = board_of(a, b)
    assert board.keys == ["optimizer.lr", "seed"]
    assert [row["job"] for row in board.rows] == ["b", "a"]
    assert [row["optimizer.lr"] for row in board.rows] == [0.01, 0.1]


def test_the_best_test_score_does_not_come_first(make_run: MakeRun) -> None:
    good_test = {"p": Counts(99, 1, 1, 99)}
    bad_test = {"p": Counts(10, 90, 90, 10)}
    a = make_run("a", "seed=0", counts=good_test, val_dice=0.5)
    b = make_run("b", "seed=1", counts=bad_test, val_dice=0.6)
    rows = board_of(a, b).rows
    assert [row["job"] for row in rows] == ["b", "a"]
    assert rows[1]["test_dice_vessel"] == pytest.approx(0.99)


def test_another_choice_of_a_group_is_one_column(make_run: MakeRun) -> None:
    a = make_run("a", "optimizer=adamw")
    b = make_run("b", "optimizer=sgd", "optimizer.lr=0.3", job={"overrides": ["optimizer.lr=0.3"]})
    assert board_of(a, b).keys == ["optimizer.lr", "optimizer.name"]


def test_mean_and_deviation_over_seeds(make_run: MakeRun) -> None:
    folders = [
        make_run(f"{lr}-{seed}", f"seed={seed}", f"optimizer.lr={lr}", val_dice=dice)
        for lr, seed, dice in ((0.1, 0, 0.6), (0.1, 1, 0.8), (0.01, 0, 0.5), (0.01, 1, 0.5))
    ]
    settings = board_of(*folders).settings
    assert [setting.values for setting in settings] == [
        {"optimizer.lr": 0.1},
        {"optimizer.lr": 0.01},
    ]
    mean, sd, number = settings[0].means["val_dice"]
    assert (mean, sd, number) == (pytest.approx(0.7), pytest.approx(math.sqrt(0.02)), 2)
    assert "0.7000 +- 0.1414" in leaderboard_table(board_of(*folders))


def test_without_repeats_there_are_no_settings(make_run: MakeRun) -> None:
    board = board_of(make_run("a", "epochs=3"), make_run("b", "epochs=4"))
    assert (board.keys, board.settings) == (["epochs"], [])


def failed_job(folder: Path, **more: Any) -> None:
    folder.mkdir(parents=True)
    content = {"status": "failed", "reason": "loss nan, lower <b>lr</b>", "duration_s": 3.0}
    write_json(folder / "job.json", {**content, **more})


def test_a_job_that_failed_before_its_config_is_listed_with_its_reason(
    make_run: MakeRun, tmp_path: Path
) -> None:
    job = {"overrides": ["epochs=3"]}
    make_run("sweep/0", "epochs=3", job=job)
    make_run("sweep/10", "epochs=5", job={"overrides": ["epochs=5"]})
    failed_job(tmp_path / "sweep" / "2", overrides=["epochs=4"])
    write_leaderboard(tmp_path / "sweep", read_jobs(tmp_path / "sweep"))
    with (tmp_path / "sweep" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["0", "2", "10"]
    assert (rows[1]["status"], rows[1]["epochs"]) == ("failed", "4")
    assert rows[1]["reason"] == "loss nan, lower <b>lr</b>"
    page = (tmp_path / "sweep" / "leaderboard.html").read_text(encoding="utf-8")
    assert "lower &lt;b&gt;lr&lt;/b&gt;" in page
    assert "<b>lr</b>" not in page


def make_folds(make_run: MakeRun, name: str, folds: int = 2, **more: Any) -> list[Path]:
    counts = [{"a": Counts(8, 2, 0, 90), "b": Counts(5, 0, 5, 90)}, {"c": Counts(9, 1, 1, 89)}]
    return [
        make_run(
            f"{name}/{fold}",
            *("data.folds=2", f"data.fold={fold}", "data.test=null"),
            counts=counts[fold],
            split="val",
            **more,
        )
        for fold in range(folds)
    ]


def test_folds_are_pooled_so_that_each_image_counts_once(make_run: MakeRun) -> None:
    runs = {str(f): read_run(f) for f in make_folds(make_run, "k")}
    board = build_leaderboard(list(runs.values()), list(runs))
    (pooled,) = pooled_folds(board, runs)
    # tp 22, fp 3, fn 6 over the three images.
    assert pooled.dice == pytest.approx(44 / 53)
    assert (pooled.num_folds, pooled.num_images) == (2, 3)
    assert pooled.low <= pooled.dice <= pooled.high
    assert board.keys == ["data.fold"]
    assert board.settings[0].means["val_dice_vessel"][2] == 2


def test_folds_are_not_pooled_when_one_is_missing_or_a_image_repeats(
    make_run: MakeRun,
) -> None:
    one = make_folds(make_run, "missing", folds=1)
    assert pooled_folds(board_of(*one), {"0": read_run(one[0])}) == []
    folders = make_folds(make_run, "twice")
    text = (folders[1] / "metrics.csv").read_text().replace("\nc,", "\na,")
    (folders[1] / "metrics.csv").write_text(text)
    runs = {f.name: read_run(f) for f in folders}
    assert pooled_folds(build_leaderboard(list(runs.values())), runs) == []


def test_folds_that_scored_one_test_split_are_a_mean_with_a_word_on_it(
    make_run: MakeRun, tmp_path: Path
) -> None:
    for fold in range(2):
        overrides = ["data.folds=2", f"data.fold={fold}"]
        make_run(f"sweep/{fold}", *overrides, job={"overrides": overrides})
    board = write_leaderboard(tmp_path / "sweep", read_jobs(tmp_path / "sweep"))
    page = (tmp_path / "sweep" / "leaderboard.html").read_text(encoding="utf-8")
    assert "scored the same test images, each of them once" in page
    assert "All folds as one score" not in page
    assert board.settings[0].means["test_dice_vessel"][2] == 2


def test_a_sweep_without_any_score_still_has_its_page(tmp_path: Path) -> None:
    for number in range(3):
        failed_job(tmp_path / str(number), overrides=[f"epochs={number}"])
    write_leaderboard(tmp_path, read_jobs(tmp_path))
    page = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "0 of 3 runs are done; varied: epochs." in page
    assert json.loads((tmp_path / "1" / "job.json").read_text())["reason"].startswith("loss nan")
