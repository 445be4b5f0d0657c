"""Write leaderboard.html and leaderboard.csv from the run folders alone."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fundus_cli.report.comparison import PooledFolds, compare_pairs, p_text, pool_folds
from fundus_cli.report.leaderboard import (
    REPEATS,
    Leaderboard,
    build_leaderboard,
    score_columns,
    value_of,
)
from fundus_cli.report.leaderboard_text import write_leaderboard_csv
from fundus_cli.report.pages import write_page
from fundus_cli.report.run_files import LEADERBOARD_NAME, REPORT_NAME, Run
from fundus_cli.report.sweep_figures import figures_of_keys, learning_curves, score_to_plot

OTHER_COLUMNS = ("best_epoch", "train_loss", "val_loss", "test_loss", "minutes")


def write_leaderboard(
    folder: Path, runs: Sequence[Run], names: Sequence[str] | None = None
) -> Leaderboard:
    """Write the page and the table of some runs.

    Args:
        folder: where they go; links to the runs are relative to it.
        runs: in the order in which they were started.
        names: what to call them; the names of their folders by default.

    Raises:
        MachineError: they cannot be written.
    """
    names = list(names or [run.folder.name for run in runs])
    board = build_leaderboard(runs, names)
    write_leaderboard_csv(board, folder / "leaderboard.csv")
    by_name = dict(zip(names, runs, strict=True))
    write_page(folder / LEADERBOARD_NAME, "leaderboard.html.j2", content_of(folder, board, by_name))
    return board


def content_of(folder: Path, board: Leaderboard, runs: Mapping[str, Run]) -> dict[str, Any]:
    """The values for the template."""
    ranked = [str(row["job"]) for row in board.rows]
    pairs, not_comparable = compare_pairs(ranked, [runs[name] for name in ranked])
    present = {key for row in board.rows for key, value in row.items() if value is not None}
    scores = [key for key in score_columns(board.rows) if key in present]
    return {
        "title": f"Leaderboard, {folder.absolute().name}",
        "summary": _summary(board),
        "ranked_by": score_to_plot(board).replace("_", " "),
        "board": board,
        "columns": [*scores, *(key for key in OTHER_COLUMNS if key in present)],
        "scores": scores,
        "repeats": [key for key in board.keys if key in REPEATS],
        "has_reason": any(row["reason"] for row in board.rows),
        "links": {name: _link(folder, run) for name, run in runs.items()},
        "folds": pooled_folds(board, runs),
        "fold_note": _fold_note(board, runs),
        "what_mattered": figures_of_keys(board),
        "curves": learning_curves(board, runs),
        "pairs": pairs,
        "not_comparable": not_comparable,
        "p_text": p_text,
        "files": ["leaderboard.csv"],
    }


def _summary(board: Leaderboard) -> str:
    done = sum(row["status"] == "done" for row in board.rows)
    text = f"{done} of {len(board.rows)} runs are done"
    text += f"; varied: {', '.join(board.keys)}" if board.keys else ""
    best, column = board.rows[0], score_to_plot(board)
    if best["status"] == "done" and best.get(column) is not None:
        text += f". Best {column.replace('_', ' ')}: {best[column]:.4f}, run {best['job']}"
    return text + "."


def _link(folder: Path, run: Run) -> str:
    """The run's page, or its folder, seen from `folder`; empty on another drive."""
    page = run.folder / REPORT_NAME
    target = page if page.exists() else run.folder
    try:
        return Path(os.path.relpath(target, folder)).as_posix()
    except ValueError:
        return ""


def pooled_folds(board: Leaderboard, runs: Mapping[str, Run]) -> list[PooledFolds]:
    """One score per setting (and seed) whose folds are complete."""
    gathered: dict[str, list[str]] = defaultdict(list)
    keys = [key for key in board.keys if key != "data.fold"]
    for row in board.rows:
        if row["status"] == "done":
            gathered[repr([row.get(key) for key in keys])].append(str(row["job"]))
    found = []
    for jobs in gathered.values():
        of_setting = [runs[job] for job in jobs]
        values = {key: value_of(of_setting[0], key) for key in keys}
        found += pool_folds(values, of_setting)
    return sorted(found, key=lambda pooled: -pooled.dice)


def _fold_note(board: Leaderboard, runs: Mapping[str, Run]) -> str:
    splits = {run.split for run in runs.values() if run.metrics}
    if "data.fold" not in board.keys:
        return ""
    if splits == {"test"}:
        return (
            "Every fold's network scored the same test images, each of them once; a row is "
            "the mean over the folds."
        )
    if splits == {"val"}:
        return "Every fold's network scored the images that were held out from it."
    return ""
