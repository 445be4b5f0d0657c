"""curves.png: the losses, and the validation Dice, over the epochs."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fundus_cli.run.files import write_whole

TRAIN_COLOUR, TEST_COLOUR, VAL_COLOUR = "#0072B2", "#D55E00", "#009E73"
"""From the palette of Okabe and Ito (2008), which colour-blind readers can distinguish."""


def plot_curves(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Plot a run's log; the file is whole at any moment.

    Raises:
        MachineError: it cannot be written.
    """
    epochs = [row["epoch"] for row in rows]
    has_dice = any("val_dice" in row for row in rows)
    figure = Figure(figsize=(9.6 if has_dice else 5.2, 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if has_dice else 1, squeeze=False)[0]
    lines = (
        ("train_loss", "train", TRAIN_COLOUR, "o-"),
        ("test_loss", "test", TEST_COLOUR, "s-"),
        ("val_loss", "validation", VAL_COLOUR, "^-"),
    )
    for key, label, colour, style in lines:
        values = [row.get(key, math.nan) for row in rows]
        if not all(math.isnan(v) for v in values):
            axes[0].plot(epochs, values, style, color=colour, label=label, markersize=3)
    axes[0].set(xlabel="epoch", ylabel="loss")
    if axes[0].lines:
        axes[0].legend(frameon=False)
    if has_dice:
        dice = [row.get("val_dice", math.nan) for row in rows]
        axes[1].plot(epochs, dice, "^-", color=VAL_COLOUR, markersize=3)
        axes[1].set(xlabel="epoch", ylabel="validation Dice")
        best = max((d for d in dice if not math.isnan(d)), default=math.nan)
        if not math.isnan(best):
            axes[1].axhline(best, color=VAL_COLOUR, linewidth=0.8, linestyle=":")
            axes[1].set_title(f"best {best:.4f}, epoch {epochs[dice.index(best)]}", fontsize=9)
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, lambda file: file.write(buffer.getbuffer()))
