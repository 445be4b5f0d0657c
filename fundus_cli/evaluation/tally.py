"""Collect the scores of one structure in one region, image by image."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fundus_cli.evaluation.bootstrap import area_intervals, paired_bootstrap, times_sampled
from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.evaluation.mask_scores import (
    MaskScores,
    mask_intervals,
    pooled_metrics,
    pooled_widths,
)
from fundus_cli.evaluation.threshold_curves import curves_of

OVERLAP_METRICS = {"dice", "iou", "precision", "cldice"}
"""Metrics that are 0, whatever is predicted, where no pixel of a data set is labelled."""

BINS_PER_IMAGE = 2**10
"""Histogram bins kept per image for the intervals of areas: 25 kB, for any image size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """One structure in one region of one image.

    Attributes:
        histogram: the pixels by their probability.
        mask: scores of the probabilities at the threshold.
        observer2: scores of the second observer, where there is one.
    """

    histogram: ProbabilityHistogram
    mask: MaskScores
    observer2: MaskScores | None

    def metrics(self) -> dict[str, float]:
        """Every metric that an image has."""
        return {**self.mask.metrics(), **_areas(self.histogram)}


class Tally:
    """One structure in one region.

    Attributes:
        histogram: all pixels by their probability.
        per_image: {metric: value} of each image.
    """

    def __init__(self) -> None:
        self.histogram = ProbabilityHistogram()
        self.per_image: list[dict[str, float]] = []
        self._masks: list[MaskScores] = []
        self._beside_observer2: list[tuple[MaskScores, MaskScores]] = []
        self._coarse: list[ProbabilityHistogram] = []

    @property
    def has_labels(self) -> bool:
        """Whether any pixel of any image belongs to the structure."""
        return any(scores.counts.tp + scores.counts.fn for scores in self._masks)

    def add(self, scores: ImageScores) -> None:
        """One more image."""
        self.histogram += scores.histogram
        self._coarse.append(scores.histogram.coarsened(BINS_PER_IMAGE))
        self._masks.append(scores.mask)
        self.per_image.append(scores.metrics())
        if scores.observer2 is not None:
            self._beside_observer2.append((scores.mask, scores.observer2))

    def summary(self) -> dict[str, Any]:
        """The part of metrics.json about the structure in this region."""
        intervals = {
            **mask_intervals(self._masks),
            **area_intervals(self._coarse, times_sampled(len(self._coarse))),
        }
        summary: dict[str, Any] = {
            "pooled": {**pooled_metrics(self._masks), **_areas(self.histogram)},
            "interval_95": {name: list(ends) for name, ends in intervals.items()},
            "per_image": _over_images(self.per_image),
            "at_half": {"threshold": 0.5, "pooled": self.histogram.counts_at(0.5).metrics()},
        }
        if not self.has_labels:
            _undefine(summary, len(self._masks))
        if self._beside_observer2:
            summary["observer2"] = self._summary_of_observer2()
        return summary

    def _summary_of_observer2(self) -> dict[str, Any]:
        network, second = zip(*self._beside_observer2, strict=True)
        difference, low, high, p = paired_bootstrap(
            [scores.counts for scores in network], [scores.counts for scores in second]
        )
        return {
            "num_images": len(second),
            "pooled": pooled_metrics(second),
            "interval_95": {name: list(ends) for name, ends in mask_intervals(second).items()},
            "per_image": _over_images([scores.metrics() for scores in second]),
            "network_minus_observer2": {
                "dice": difference,
                "interval_95": [low, high],
                "p_value": p,
            },
        }

    def curves(self) -> dict[str, Any]:
        """The part of curves.json about the structure."""
        return curves_of(self.histogram, pooled_widths(self._masks))


def undefine_overlap(row: dict[str, Any]) -> None:
    """Set OVERLAP_METRICS, which have no meaning where nothing is labelled, to NaN."""
    row.update(dict.fromkeys(row.keys() & OVERLAP_METRICS, np.nan))


def _undefine(summary: dict[str, Any], num_images: int) -> None:
    for values in (summary["pooled"], summary["at_half"]["pooled"]):
        undefine_overlap(values)
    for name in summary["interval_95"].keys() & OVERLAP_METRICS:
        summary["interval_95"][name] = [np.nan, np.nan]
    for name in summary["per_image"].keys() & OVERLAP_METRICS:
        summary["per_image"][name] = mean_and_sd([np.nan] * num_images)


def _areas(histogram: ProbabilityHistogram) -> dict[str, float]:
    return {
        "auc_roc": histogram.auc_roc(),
        "auc_pr": histogram.auc_pr(),
        "ece": histogram.ece(),
    }


def _over_images(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | int]]:
    return {name: mean_and_sd([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def mean_and_sd(values: Sequence[float]) -> dict[str, float | int]:
    """Mean and sample deviation of the defined values, and how many were undefined.

    The same to the last digit in whatever order the values come.
    """
    defined = [v for v in values if v == v]
    return {
        "mean": statistics.fmean(defined) if defined else np.nan,
        "sd": statistics.stdev(defined) if len(defined) > 1 else np.nan,
        "num_undefined": len(values) - len(defined),
    }
