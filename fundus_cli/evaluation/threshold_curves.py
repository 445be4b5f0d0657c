"""The curves of one structure for curves.json; metrics.json has the areas under them."""

from typing import Any

from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.evaluation.widths import WidthCounts


def curves_of(histogram: ProbabilityHistogram, widths: WidthCounts) -> dict[str, Any]:
    """The curves of one structure over all images, as lists.

    Returns:
        `roc`, `pr` and `dice_by_threshold`: about 500 points each, empty without both positives
        and negatives; `calibration`: NaN in bins without a pixel; `by_width`: see
        WidthCounts.to_plain.
    """
    fpr, tpr = histogram.roc_curve()
    recall, precision = histogram.pr_curve()
    threshold, dice = histogram.dice_by_threshold()
    probability, observed, num_pixels = histogram.calibration()
    return {
        "roc": {"fpr": fpr.tolist(), "tpr": tpr.tolist()},
        "pr": {"recall": recall.tolist(), "precision": precision.tolist()},
        "dice_by_threshold": {"threshold": threshold.tolist(), "dice": dice.tolist()},
        "calibration": {
            "probability": probability.tolist(),
            "observed": observed.tolist(),
            "num_pixels": num_pixels.tolist(),
        },
        "by_width": widths.to_plain(),
    }
