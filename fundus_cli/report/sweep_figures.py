"""The figures of a leaderboard: scores by varied key, and the learning curves of all jobs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from fundus_cli.report.figures import (
    BLUE,
    INK,
    MUTED,
    VERMILION,
    can_be_plotted,
    look,
    new_axes,
    to_svg,
    whole_steps,
)
from fundus_cli.report.leaderboard import Leaderboard
from fundus_cli.report.leaderboard_text import shown
from fundus_cli.report.run_figures import PageFigure
from fundus_cli.report.run_files import Run, number, numbers

MAX_KEYS = 9
"""Maximum number of varied keys with their own plot."""

MAX_TICKS = 6
"""Maximum number of values of a key that are named on its axis."""

MAX_DIGITS = 6

MAX_LABELS = 12
"""Maximum number of curves that are named in the plot."""


def score_to_plot(board: Leaderboard) -> str:
    """The column that the rows are ordered by."""
    has_dice = any(number(row.get("val_dice")) is not None for row in board.rows)
    return "val_dice" if has_dice else "train_loss"


def figures_of_keys(board: Leaderboard) -> list[PageFigure]:
    """A scatter plot per varied key, and parallel coordinates where there are several keys."""
    column = score_to_plot(board)
    rows = [r for r in board.rows if r["status"] == "done" and number(r.get(column)) is not None]
    if len(rows) < 2:
        return []
    found = [_scatter(rows, key, column, place) for place, key in enumerate(board.keys[:MAX_KEYS])]
    settings = [key for key in board.keys if len({shown(row.get(key)) for row in rows}) > 1]
    if len(settings) > 1:
        found.append(_parallel(rows, settings[:MAX_KEYS], column))
    return found


def _label(column: str) -> str:
    return {"val_dice": "validation Dice", "train_loss": "train loss"}[column]


def _places(axis: Axes, values: Sequence[Any]) -> list[float]:
    """Where values lie on the x axis: numbers where they are, anything else in equal steps."""
    found = [place for value in values if (place := number(value)) is not None]
    if len(found) == len(values):
        if min(found) > 0 and max(found) / min(found) >= 8:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ticks = {value: f"{value:g}" for value in sorted(set(found))}
        # Values that a search drew have many digits and may lie on top of each other.
        if len(ticks) <= MAX_TICKS and max(map(len, ticks.values())) <= MAX_DIGITS:
            axis.set_xticks(list(ticks), list(ticks.values()))
            axis.xaxis.set_minor_locator(NullLocator())
        return found
    names = sorted({shown(value) for value in values})
    axis.set_xticks(range(len(names)), names, rotation=20 if max(map(len, names)) > 8 else 0)
    axis.margins(x=0.2)
    return [float(names.index(shown(value))) for value in values]


def _scatter(rows: Sequence[Mapping[str, Any]], key: str, column: str, place: int) -> PageFigure:
    values = [row.get(key) for row in rows]
    scores = numbers([row.get(column) for row in rows])
    with look():
        figure, (axis,) = new_axes((4.0, 3.0))
        places = _places(axis, values)
        axis.plot(places, scores, "o", color=BLUE, markersize=7, alpha=0.75)
        axis.plot(places[0], scores[0], "o", color=VERMILION, markersize=9, mec=INK)
        middles = sorted({p: _mean(places, scores, p) for p in places}.items())
        axis.plot(*zip(*middles, strict=True), "-", color=MUTED, linewidth=1.2, zorder=1)
        axis.set(xlabel=key, ylabel=_label(column))
        svg = to_svg(figure, f"key{place}", f"{_label(column)} by {key}, a point per job")
    return PageFigure(
        title=key, svg=svg, caption="A point per job, the line through the means, the best marked."
    )


def _mean(places: Sequence[float], scores: Sequence[float], at: float) -> float:
    return float(np.mean([s for p, s in zip(places, scores, strict=True) if p == at]))


def _parallel(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], column: str) -> PageFigure:
    """A line per job across the keys; the brighter the better."""
    scores = numbers([row.get(column) for row in rows])
    columns = [_unit([row.get(key) for row in rows]) for key in keys]
    columns.append(_unit(scores))
    colours = mpl.colormaps["cividis"](np.linspace(0.95, 0.35, len(rows)))
    with look():
        figure, (axis,) = new_axes((max(4.4, 1.3 * len(columns)), 3.4))
        for place in reversed(range(len(rows))):
            heights = [heights[place] for heights, _ in columns]
            width = 2.4 if place == 0 else 1.2
            colour = VERMILION if place == 0 else colours[place]
            axis.plot(heights, "o-", color=colour, linewidth=width, alpha=0.9)
        axis.set_xticks(range(len(columns)), [*keys, _label(column)], rotation=12)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.margins(x=0.12, y=0.12)
        for x, (_, ends) in enumerate(columns):
            axis.text(x, -0.02, ends[0], ha="center", va="top", fontsize=9)
            axis.text(x, 1.02, ends[1], ha="center", va="bottom", fontsize=9)
        svg = to_svg(figure, "parallel", "Parallel coordinates of the varied keys and the score")
    return PageFigure(
        title="All keys at once",
        svg=svg,
        caption="A line per job, the best in vermilion, then from yellow (better) to grey.",
    )


def _unit(values: Sequence[Any]) -> tuple[list[float], tuple[str, str]]:
    """Values between 0 and 1, and what stands at the two ends."""
    found = [place for value in values if (place := number(value)) is not None]
    if len(found) < len(values):
        names = sorted({shown(value) for value in values})
        steps = max(len(names) - 1, 1)
        return [names.index(shown(v)) / steps for v in values], (names[0], names[-1])
    low, high = min(found), max(found)
    logs = low > 0 and high / low >= 8
    scaled = [math.log(value) if logs else value for value in found]
    bottom, top = min(scaled), max(scaled)
    span = top - bottom or 1.0
    return [(value - bottom) / span for value in scaled], (f"{low:.4g}", f"{high:.4g}")


def learning_curves(board: Leaderboard, runs: Mapping[str, Run]) -> list[PageFigure]:
    """Validation Dice (else the train loss) of every job over its epochs."""
    column = score_to_plot(board)
    names = [str(row["job"]) for row in board.rows]
    colours = mpl.colormaps["cividis"](np.linspace(0.95, 0.35, max(len(names), 1)))
    with look():
        figure, (axis,) = new_axes((7.2, 3.8))
        for place in reversed(range(len(names))):
            log = runs[names[place]].log
            values = numbers([row.get(column) for row in log])
            if not can_be_plotted(values):
                continue
            epochs = numbers([row.get("epoch") for row in log])
            colour = VERMILION if place == 0 else colours[place]
            label = names[place] if place < MAX_LABELS else None
            width = 2.4 if place == 0 else 1.3
            axis.plot(epochs, values, ".-", color=colour, label=label, linewidth=width)
        if not axis.lines:
            return []
        axis.set(xlabel="epoch", ylabel=_label(column))
        whole_steps(axis)
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], title="run", loc="outside right upper")
        svg = to_svg(figure, "curves", f"{_label(column)} of every job over the epochs")
    caption = "The best run in vermilion, the others from yellow (better) to grey."
    return [PageFigure(title=f"Every run's {_label(column)}", svg=svg, caption=caption)]
