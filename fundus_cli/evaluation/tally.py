"""The scores of one structure in one region, gathered photograph by photograph."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fundus_cli.evaluation.bootstrap import area_intervals, paired_bootstrap, times_drawn
from fundus_cli.evaluation.curves import curves_of
from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.evaluation.mask_scores import (
    MaskScores,
    mask_intervals,
    pooled_metrics,
    pooled_widths,
)
from fundus_cli.evaluation.shape_metrics import Bools

BINS_PER_IMAGE = 2**12
"""What is kept of each photograph for the intervals of areas: 100 kB, whatever its size."""


class Tally:
    """One structure in one region.

    Attributes:
        histogram: all pixels by their probability.
        per_image: {metric: value} of each photograph.
    """

    def __init__(self) -> None:
        self.histogram = ProbabilityHistogram()
        self.per_image: list[dict[str, float]] = []
        self.masks: list[MaskScores] = []
        self._observer2: list[MaskScores] = []
        self._masks_beside_observer2: list[MaskScores] = []
        self._coarse: list[ProbabilityHistogram] = []

    def add(
        self,
        probability: np.ndarray,
        target: Bools,
        region: Bools,
        mask: MaskScores,
        observer2: MaskScores | None,
    ) -> None:
        """One more photograph.

        Args:
            probability: (h, w) float32.
            target: (h, w).
            region: (h, w), True where a pixel counts.
            mask: scores of the probabilities at the threshold.
            observer2: scores of the second observer, where there is one.
        """
        own = ProbabilityHistogram()
        own.add(probability, target, region)
        self.histogram += own
        self._coarse.append(own.coarsened(BINS_PER_IMAGE))
        self.masks.append(mask)
        self.per_image.append({**mask.metrics(), **_areas(own)})
        if observer2 is not None:
            self._observer2.append(observer2)
            self._masks_beside_observer2.append(mask)

    def summary(self) -> dict[str, Any]:
        """What metrics.json says of the structure in this region."""
        intervals = {
            **mask_intervals(self.masks),
            **area_intervals(self._coarse, times_drawn(len(self._coarse))),
        }
        summary: dict[str, Any] = {
            "pooled": {**pooled_metrics(self.masks), **_areas(self.histogram)},
            "interval_95": {name: list(ends) for name, ends in intervals.items()},
            "per_image": _over_images(self.per_image),
            "at_half": {"threshold": 0.5, "pooled": self.histogram.counts_at(0.5).metrics()},
        }
        if self._observer2:
            summary["observer2"] = self._summary_of_observer2()
        return summary

    def _summary_of_observer2(self) -> dict[str, Any]:
        difference, low, high, p = paired_bootstrap(
            [m.counts for m in self._masks_beside_observer2], [m.counts for m in self._observer2]
        )
        return {
            "num_images": len(self._observer2),
            "pooled": pooled_metrics(self._observer2),
            "interval_95": {n: list(i) for n, i in mask_intervals(self._observer2).items()},
            "per_image": _over_images([m.metrics() for m in self._observer2]),
            "network_minus_observer2": {
                "dice": difference,
                "interval_95": [low, high],
                "p_value": p,
            },
        }

    def curves(self) -> dict[str, Any]:
        """What curves.json says of the structure."""
        return curves_of(self.histogram, pooled_widths(self.masks))


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
