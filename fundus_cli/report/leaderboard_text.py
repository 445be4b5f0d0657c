"""The leaderboard as leaderboard.csv and as a table for the terminal."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fundus_cli.report.leaderboard import Leaderboard, natural, score_columns
from fundus_cli.report.run_files import plain
from fundus_cli.run.files import write_csv

MAX_REASON = 60
"""So many characters of a failed job's reason are shown in the terminal; the file has all."""


def write_leaderboard_csv(board: Leaderboard, path: Path) -> None:
    """A row per job in the order in which they were started.

    Raises:
        MachineError: it cannot be written.
    """
    write_csv(path, sorted(board.rows, key=lambda row: natural(str(row["job"]))))


def leaderboard_table(board: Leaderboard) -> str:
    """The jobs, and where seeds or folds were repeated the settings, the best first."""
    parts = [_jobs_table(board)]
    if board.settings:
        parts.append(_settings_table(board))
    return "\n\n".join(parts)


def _jobs_table(board: Leaderboard) -> str:
    columns = ["job", *board.keys, "status", *score_columns(board.rows), "train_loss", "minutes"]
    if any(row.get("reason") for row in board.rows):
        columns.append("reason")
    lines = [[_cell(row, column, board.keys) for column in columns] for row in board.rows]
    return _aligned(columns, lines)


def _cell(row: Mapping[str, Any], column: str, keys: Sequence[str]) -> str:
    value = row.get(column)
    if column in keys:
        return "-" if value is None else plain(value)
    text = f"{value:.2f}" if column == "minutes" and value is not None else shown(value)
    if column == "reason" and len(text) > MAX_REASON:
        return text[: MAX_REASON - 3] + "..."
    return text


def _settings_table(board: Leaderboard) -> str:
    scores = score_columns(board.rows)
    keys = list(board.settings[0].values)
    lines = []
    for setting in board.settings:
        done = sum(row["status"] == "done" for row in setting.jobs)
        lines.append(
            [
                *(plain(setting.values[key]) for key in keys),
                f"{done} of {len(setting.jobs)}",
                *(mean_and_sd(setting.means.get(column)) for column in scores),
            ]
        )
    return _aligned([*keys, "jobs done", *(f"{name}, mean +- sd" for name in scores)], lines)


def mean_and_sd(value: tuple[float, float, int] | None) -> str:
    """0.8123 +- 0.0045, or the mean alone where there is one job."""
    if value is None:
        return "-"
    mean, sd, _ = value
    return f"{mean:.4f}" if math.isnan(sd) else f"{mean:.4f} +- {sd:.4f}"


def shown(value: object) -> str:
    """A cell's text."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"
    return str(value)


def _aligned(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = [list(columns), *map(list, lines)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
