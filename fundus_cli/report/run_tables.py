"""The tables of a run's page: scores per structure, and a row per image."""

from collections.abc import Mapping
from typing import Any

from fundus_cli.report.run_files import Run, as_mapping, number

HEADLINES = (
    ("dice", "Dice", "F1 of the pixels; 1 is perfect"),
    ("auc_roc", "AUC (ROC)", "area under the ROC curve"),
    ("auc_pr", "Average precision", "area under the precision-recall curve"),
    ("sensitivity", "Sensitivity", "share of the structure that is found"),
    ("precision", "Precision", "share of what is marked that is right"),
    ("specificity", "Specificity", "share of the background left unmarked"),
    ("cldice", "clDice", "agreement of the centre lines"),
    ("mcc", "MCC", "Matthews correlation"),
    ("ece", "Calibration error", "ECE; 0 is perfect"),
)
OTHER_LABELS = {
    "iou": "IoU",
    "accuracy": "Accuracy",
    "hd95_px": "HD95, px",
    "mean_surface_distance_px": "Mean surface distance, px",
}

IMAGE_COLUMNS = (
    ("dice", "Dice"),
    ("sensitivity", "Sensitivity"),
    ("precision", "Precision"),
    ("specificity", "Specificity"),
    ("iou", "IoU"),
    ("mcc", "MCC"),
    ("cldice", "clDice"),
    ("hd95_px", "HD95, px"),
    ("mean_surface_distance_px", "Mean surface distance, px"),
    ("tp", "Hits, px"),
    ("fn", "Misses, px"),
    ("fp", "False alarms, px"),
)


def score_table(run: Run, structure: str) -> dict[str, Any]:
    """Tiles and the table of one structure."""
    summary = run.scores("fov")[structure]
    pooled, whole = run.pooled(structure), run.pooled(structure, "whole")
    second = as_mapping(as_mapping(summary.get("observer2")).get("pooled"))
    per_image = as_mapping(summary.get("per_image"))
    names = dict.fromkeys([*(key for key, _, _ in HEADLINES), *pooled, *whole])
    known = {key: (label, hint) for key, label, hint in HEADLINES}
    rows: list[dict[str, Any]] = [
        {
            "label": known.get(name, (OTHER_LABELS.get(name, name.replace("_", " ")), ""))[0],
            "hint": known.get(name, ("", ""))[1],
            "fov": pooled.get(name),
            "interval": _interval(summary, name),
            "per_image": as_mapping(per_image.get(name)),
            "whole": whole.get(name),
            "observer": second.get(name),
        }
        for name in names
        if any(number(part.get(name)) is not None for part in (pooled, whole))
    ]
    return {
        "structure": structure,
        "rows": rows,
        "has_observer": bool(second),
        "against_observer": _against_observer(as_mapping(summary.get("observer2"))),
    }


def _against_observer(observer: Mapping[str, Any]) -> str:
    """The paired comparison of the network with the second observer, in a sentence."""
    found = as_mapping(observer.get("network_minus_observer2"))
    difference, p = number(found.get("dice")), number(found.get("p_value"))
    interval = found.get("interval_95")
    if difference is None or not isinstance(interval, list) or len(interval) != 2:
        return ""
    low, high = map(number, interval)
    if low is None or high is None or p is None:
        return ""
    side = "above" if difference > 0 else "below"
    return (
        f"The network's Dice is {abs(difference):.4f} {side} the second observer's on the same "
        f"images (difference {difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}, "
        f"paired bootstrap, p = {p:.3f})."
    )


def _interval(summary: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The bootstrap interval of a pooled metric; older folders have that of the Dice alone."""
    found = as_mapping(summary.get("interval_95")).get(name, summary.get(f"{name}_interval_95"))
    if not isinstance(found, list) or len(found) != 2:
        return None
    low, high = map(number, found)
    return None if low is None or high is None else (low, high)


def image_table(run: Run) -> dict[str, Any]:
    """The table with a row per image and structure, the lowest Dice first."""
    present = {key for row in run.rows for key, value in row.items() if value is not None}
    columns = [(key, label) for key, label in IMAGE_COLUMNS if key in present]
    second = {(row.get("id"), row.get("structure")): row.get("dice") for row in run.observer2_rows}
    if second:
        columns.insert(1, ("observer2_dice", "Second observer's Dice"))
    rows = sorted(
        (
            {**row, "observer2_dice": second.get((row.get("id"), row.get("structure")))}
            for row in run.rows
        ),
        key=lambda row: (number(row.get("dice")) is None, number(row.get("dice")) or 0.0),
    )
    return {"columns": columns, "rows": rows, "several": len(run.structures) > 1}
