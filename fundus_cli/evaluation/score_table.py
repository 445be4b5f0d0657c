"""Scores as a few lines for a terminal; everything else is in metrics.json."""

import math
from collections.abc import Mapping
from typing import Any

from fundus_cli.evaluation.evaluator import Evaluation

SHORT = (
    ("sensitivity", "sens"),
    ("specificity", "spec"),
    ("auc_roc", "AUC"),
    ("auc_pr", "AP"),
    ("cldice", "clDice"),
)
NAME_WIDTH = 22


def table(evaluation: Evaluation) -> str:
    """Pooled scores of each structure and region, a second observer's below them."""
    lines = [_head()]
    notes = []
    for region, structures in evaluation.regions.items():
        for name, summary in structures.items():
            lines.append(_line(f"{name}, {region}", summary))
            if "observer2" in summary:
                lines.append(_line("  second observer", summary["observer2"]))
                if region == "fov":
                    notes.append(_beside_observer2(name, summary["observer2"]))
    half = ", ".join(
        f"{name} {_cell(summary['at_half']['pooled']['dice'])}"
        for name, summary in evaluation.regions["fov"].items()
    )
    if evaluation.protocol.threshold != 0.5:
        notes.append(f"dice at threshold 0.5 instead, fov: {half}")
    return "\n".join([*lines, *notes, evaluation.protocol.sentence("fov")])


def _head() -> str:
    short = "".join(f"{label:>8}" for _, label in SHORT)
    return (
        f"{'':{NAME_WIDTH}}{'dice':>8}{'95 % interval':>17}{'per image':>19}{short}{'HD95 px':>9}"
    )


def _line(name: str, summary: Mapping[str, Any]) -> str:
    pooled, per_image = summary["pooled"], summary["per_image"]
    low, high = summary["interval_95"]["dice"]
    dice = per_image["dice"]
    between = f"{_cell(low)}-{_cell(high)}" if low == low else "-"
    spread = f"{_cell(dice['mean'])} +- {_cell(dice['sd'])}"
    short = "".join(f"{_cell(pooled.get(key)):>8}" for key, _ in SHORT)
    distance = _cell(per_image.get("hd95_px", {}).get("mean"), 1)
    return (
        f"{name:{NAME_WIDTH}}{_cell(pooled['dice']):>8}{between:>17}{spread:>19}{short}"
        f"{distance:>9}"
    )


def _beside_observer2(name: str, observer2: Mapping[str, Any]) -> str:
    found = observer2["network_minus_observer2"]
    low, high = found["interval_95"]
    return (
        f"{name}: dice of the network minus the second observer's {found['dice']:+.4f}, "
        f"95 % interval {low:+.4f} to {high:+.4f}, p {found['p_value']:.3f} "
        f"(paired bootstrap over {observer2['num_images']} images)"
    )


def _cell(value: float | None, digits: int = 4) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"
