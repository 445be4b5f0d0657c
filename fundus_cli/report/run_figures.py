"""The figures of a run's page; each is None where the folder lacks its data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fundus_cli.report.figures import (
    BLUE,
    COLOURS,
    GREEN,
    INK,
    MUTED,
    VERMILION,
    can_be_plotted,
    look,
    new_axes,
    to_svg,
    whole_steps,
)
from fundus_cli.report.run_files import Run, number, numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFigure:
    """A figure of a page: its heading, the SVG element, and a line on how to read it."""

    title: str
    svg: str
    caption: str


def learning_figures(run: Run) -> list[PageFigure]:
    """Losses, and the validation Dice, over the epochs."""
    found = [_losses(run.log), _validation(run.log, run.summary.get("best_epoch"))]
    return [figure for figure in found if figure]


def score_figures(run: Run) -> list[PageFigure]:
    """ROC, precision-recall, Dice by threshold, calibration and Dice by width."""
    makers = (_roc, _precision_recall, _dice_by_threshold, _calibration, _by_width)
    found = [make(run) for make in makers if run.curves]
    return [figure for figure in found if figure]


def _losses(log: Sequence[Mapping[str, Any]]) -> PageFigure | None:
    epochs = numbers([row.get("epoch") for row in log])
    curves = (
        ("train_loss", "train", BLUE, "o-"),
        ("val_loss", "validation", GREEN, "^-"),
        ("test_loss", "test", VERMILION, "s-"),
    )
    with look():
        figure, (axis,) = new_axes()
        for key, label, colour, style in curves:
            values = numbers([row.get(key) for row in log])
            if can_be_plotted(values):
                axis.plot(epochs, values, style, color=colour, label=label)
        if not axis.lines:
            return None
        axis.set(xlabel="epoch", ylabel="loss")
        axis.legend()
        whole_steps(axis)
        svg = to_svg(figure, "loss", "Losses over the epochs, as in log.csv")
    return PageFigure(
        title="Loss",
        svg=svg,
        caption="Mean over images. A validation loss that rises while the train loss falls "
        "is over-fitting.",
    )


def _validation(log: Sequence[Mapping[str, Any]], best_epoch: object) -> PageFigure | None:
    epochs = numbers([row.get("epoch") for row in log])
    dice = numbers([row.get("val_dice") for row in log])
    if not can_be_plotted(dice):
        return None
    best = max(value for value in dice if not math.isnan(value))
    at = epochs[dice.index(best)]
    with look():
        figure, (axis,) = new_axes()
        axis.plot(epochs, dice, "^-", color=GREEN)
        axis.axhline(best, color=MUTED, linewidth=0.8, linestyle=":")
        axis.set(xlabel="epoch", ylabel="validation Dice")
        whole_steps(axis)
        svg = to_svg(figure, "val", f"Validation Dice over the epochs, best {best:.4f}")
    kept = f" best.pt is epoch {best_epoch}." if number(best_epoch) else ""
    return PageFigure(
        title="Validation Dice",
        svg=svg,
        caption=f"Best {best:.4f}, epoch {at:.0f}; pooled, at native size.{kept}",
    )


def _each(run: Run, part: str, x: str, y: str) -> list[tuple[str, list[float], list[float]]]:
    """(structure, x values, y values) of every structure that has this curve."""
    found = []
    for structure, curves in run.curves.items():
        curve = curves.get(part) if isinstance(curves, Mapping) else None
        if not isinstance(curve, Mapping):
            continue
        xs, ys = numbers(curve.get(x)), numbers(curve.get(y))
        if len(xs) == len(ys) and can_be_plotted(ys):
            found.append((structure, xs, ys))
    return found


def _roc(run: Run) -> PageFigure | None:
    curves = _each(run, "roc", "fpr", "tpr")
    if not curves:
        return None
    with look():
        figure, (axis,) = new_axes()
        axis.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=1)
        for (name, fpr, tpr), colour in zip(curves, COLOURS * len(curves), strict=False):
            auc = number(run.pooled(name).get("auc_roc"))
            axis.plot(fpr, tpr, color=colour, label=_labelled(name, "AUC", auc))
            specificity = number(run.pooled(name).get("specificity"))
            sensitivity = number(run.pooled(name).get("sensitivity"))
            if specificity is not None and sensitivity is not None:
                axis.plot(1 - specificity, sensitivity, "o", color=colour, markersize=8, mec=INK)
        axis.set(xlabel="1 - specificity", ylabel="sensitivity")
        axis.legend(loc="lower right")
        svg = to_svg(figure, "roc", "Receiver operating characteristic with the working point")
    return PageFigure(
        title="ROC", svg=svg, caption="The dot is the working point, at the threshold in use."
    )


def _precision_recall(run: Run) -> PageFigure | None:
    curves = _each(run, "pr", "recall", "precision")
    if not curves:
        return None
    with look():
        figure, (axis,) = new_axes()
        for (name, recall, precision), colour in zip(curves, COLOURS * len(curves), strict=False):
            area = number(run.pooled(name).get("auc_pr"))
            axis.plot(recall, precision, color=colour, label=_labelled(name, "AP", area))
            point = numbers([run.pooled(name).get(key) for key in ("sensitivity", "precision")])
            axis.plot(*point, "o", color=colour, markersize=8, mec=INK)
        axis.set(xlabel="sensitivity (recall)", ylabel="precision", ylim=(0, 1.02))
        axis.legend(loc="lower left")
        svg = to_svg(figure, "pr", "Precision over recall with the working point")
    return PageFigure(
        title="Precision and recall",
        svg=svg,
        caption="The dot is the working point. For rare structures this is better than ROC.",
    )


def _dice_by_threshold(run: Run) -> PageFigure | None:
    curves = _each(run, "dice_by_threshold", "threshold", "dice")
    if not curves:
        return None
    used = number(run.metrics.get("threshold"))
    with look():
        figure, (axis,) = new_axes()
        for (name, thresholds, dice), colour in zip(curves, COLOURS * len(curves), strict=False):
            axis.plot(thresholds, dice, color=colour, label=name)
        if used is not None:
            axis.axvline(used, color=MUTED, linestyle="--", linewidth=1.2)
            axis.annotate(f" {used:.3f}", (used, 0.02), xycoords=("data", "axes fraction"))
        axis.set(xlabel="threshold", ylabel="Dice")
        if len(curves) > 1:
            axis.legend()
        svg = to_svg(figure, "thr", "Dice by threshold, the one in use marked")
    return PageFigure(
        title="Dice by threshold",
        svg=svg,
        caption="Dashed: the threshold in use. The curve shows what another one would have given; "
        "choosing its maximum would be a choice on the images that are scored.",
    )


def _calibration(run: Run) -> PageFigure | None:
    curves = _each(run, "calibration", "probability", "observed")
    if not curves:
        return None
    with look():
        figure, (axis,) = new_axes()
        axis.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=1)
        for (name, predicted, observed), colour in zip(curves, COLOURS * len(curves), strict=False):
            error = number(run.pooled(name).get("ece"))
            axis.plot(predicted, observed, "o-", color=colour, label=_labelled(name, "ECE", error))
        axis.set(xlabel="predicted probability", ylabel="share of pixels that are it")
        axis.legend(loc="upper left")
        svg = to_svg(figure, "cal", "Calibration: share of positives by predicted probability")
    return PageFigure(
        title="Calibration",
        svg=svg,
        caption="On the dotted line probabilities are calibrated; below it the network is too "
        "sure. ECE is the mean distance, weighted by pixels.",
    )


def _by_width(run: Run) -> PageFigure | None:
    curves = []
    for name, low, dice in _each(run, "by_width", "low_px", "dice"):
        high = numbers(run.curves[name]["by_width"].get("high_px"))
        curves.append((name, low, high or low, dice))
    if not curves:
        return None
    with look():
        figure, (axis,) = new_axes()
        for (name, low, high, dice), colour in zip(curves, COLOURS * len(curves), strict=False):
            axis.plot(range(len(dice)), dice, "o-", color=colour, label=name)
            sensitivity = numbers(run.curves[name]["by_width"].get("sensitivity"))
            if len(curves) == 1 and len(sensitivity) == len(dice):
                axis.plot(sensitivity, "^--", color=VERMILION, label="sensitivity", linewidth=1.2)
            axis.set_xticks(range(len(dice)), _bins(low, high))
        axis.set(xlabel="width in the reference, px at native size", ylabel="Dice")
        axis.legend()
        svg = to_svg(figure, "width", "Dice by vessel width")
    return PageFigure(
        title="Dice by width",
        svg=svg,
        caption="Pixels of the reference by the width of what they belong to, those of the "
        "prediction by its own. Thin vessels are where networks differ.",
    )


def _bins(low: Sequence[float], high: Sequence[float]) -> list[str]:
    return [
        f"{a:g}+" if math.isnan(b) or b > 1e6 else f"{a:g}-{b:g}"
        for a, b in zip(low, high, strict=False)
    ]


def _labelled(name: str, metric: str, value: float | None) -> str:
    return name if value is None else f"{name}, {metric} {value:.4f}"
