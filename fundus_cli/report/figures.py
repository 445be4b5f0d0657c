"""Common style of all figures, and SVG whose colours follow those of the page."""

import io
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
"""From the palette of Okabe and Ito (2008), which colour-blind readers can distinguish."""

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE)

INK, MUTED, LINE = "#0a0b0c", "#0a0b0d", "#0a0b0e"
"""Stand-ins that become the page's own colours."""

PAGE_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    BLUE: "var(--blue)",
    VERMILION: "var(--vermilion)",
    GREEN: "var(--green)",
}
"""Colours that differ between light, dark and print are chosen by the page, not the figure."""

SIZE_IN = (4.2, 3.2)

LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fundus-cli",
    "font.family": "sans-serif",
    "font.size": 12,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "text.color": INK,
    # A dollar sign in a name is a dollar sign.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def new_axes(size_in: tuple[float, float] = SIZE_IN, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side; call inside `look()`."""
    figure = Figure(figsize=size_in, layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for axis in axes:
        axis.patch.set_alpha(0)
        axis.set_axisbelow(True)
    return figure, axes


def look() -> AbstractContextManager[None]:
    """A context in which figures have the one look."""
    return mpl.rc_context(LOOK)


def to_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an SVG element that can stand in a page beside others.

    Args:
        figure: drawn inside `look()`.
        name: letters that no other figure of the page has; they keep ids apart.
        description: alternative text for readers who cannot see the figure.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'id="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    for stand_in, colour in PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    head, _, rest = text.partition(">")
    head = re.sub(r' (?:width|height|version|xmlns(?::\w+)?)="[^"]*"', "", head)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return f'{head} role="img" aria-label="{label}">{rest}'


def whole_steps(axis: Axes) -> None:
    """Epochs are whole numbers."""
    low, high = axis.get_xlim()
    if high - low < 1:
        axis.set_xlim(round(low) - 0.5, round(high) + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def can_be_plotted(values: Sequence[float]) -> bool:
    """Whether a curve has any point."""
    return any(not math.isnan(value) for value in values)
