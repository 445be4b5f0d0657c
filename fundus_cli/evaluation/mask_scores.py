"""Score a binary mask against the annotation: a prediction or a second observer's mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fundus_cli.data.samples import Sample
from fundus_cli.evaluation.bootstrap import Interval, count_intervals, times_sampled
from fundus_cli.evaluation.counts import COUNT_METRICS, Counts, count
from fundus_cli.evaluation.protocol import REGIONS
from fundus_cli.evaluation.shape_metrics import (
    Bools,
    CentrelineCounts,
    Shape,
    SurfaceDistances,
    count_centrelines,
    surface_distances,
)
from fundus_cli.evaluation.widths import WidthCounts, count_by_width

MASK_METRICS = (*COUNT_METRICS, "cldice", "hd95_px", "mean_surface_distance_px")
"""Metrics that a binary mask has; a network's probabilities have areas and calibration too."""


@dataclass(frozen=True, slots=True)
class ShapeScores:
    """Shape metrics of two masks.

    `centrelines` is None for what is too thick; `widths` are counted inside the field of view only.
    """

    centrelines: CentrelineCounts | None
    distances: SurfaceDistances
    widths: WidthCounts


@dataclass(frozen=True, slots=True)
class MaskScores:
    """One mask in one region of one image; `shapes` is None where they are not asked for."""

    counts: Counts
    shapes: ShapeScores | None

    def metrics(self) -> dict[str, float]:
        """The metrics of MASK_METRICS, without those of shape where they are not asked for."""
        found = self.counts.metrics()
        if self.shapes is None:
            return found
        lines, distances = self.shapes.centrelines, self.shapes.distances
        return {
            **found,
            "cldice": np.nan if lines is None else lines.cldice(),
            "hd95_px": distances.hd95,
            "mean_surface_distance_px": distances.mean,
        }


class Annotation:
    """The annotation of one image at native size; its shapes are computed once.

    Args:
        sample: the image.
        with_shapes: whether metrics of shape are asked for.
    """

    def __init__(self, sample: Sample, with_shapes: bool) -> None:
        self.sample = sample
        self.with_shapes = with_shapes
        self.targets: Bools = sample.native_targets.unpack()
        self.fov: Bools = sample.native_fov.unpack()[0]
        self._shapes: dict[tuple[int, str], Shape] = {}

    @cached_property
    def regions(self) -> dict[str, Bools]:
        """The pixels of each of REGIONS."""
        return dict(zip(REGIONS, (self.fov, np.ones_like(self.fov)), strict=True))

    def score(self, mask: Bools, channel: int) -> dict[str, MaskScores]:
        """Compare a mask with the target of a channel in each region.

        Args:
            mask: (h, w).
            channel: of the structure.
        """
        found: dict[str, MaskScores] = {}
        outside = bool(((mask | self.targets[channel]) & ~self.fov).any())
        for region, pixels in self.regions.items():
            counts = count(mask, self.targets[channel], pixels)
            if region != REGIONS[0] and not outside:
                # Both masks end where the field of view does, so that their shapes are the same.
                shapes = found[REGIONS[0]].shapes
            else:
                shapes = self._compare_shapes(mask, channel, region)
            found[region] = MaskScores(counts, shapes)
        return found

    def _compare_shapes(self, mask: Bools, channel: int, region: str) -> ShapeScores | None:
        if not self.with_shapes:
            return None
        pixels = self.regions[region]
        if (channel, region) not in self._shapes:
            self._shapes[channel, region] = Shape(self.targets[channel], pixels)
        drawn, target = Shape(mask, pixels), self._shapes[channel, region]
        return ShapeScores(
            count_centrelines(drawn, target),
            surface_distances(drawn, target),
            count_by_width(drawn, target) if region == REGIONS[0] else WidthCounts(),
        )

    def observer2(self, structure: str, channel: int) -> dict[str, MaskScores] | None:
        """The second observer's mask scored like a prediction; None where there is none."""
        masks = self.sample.native_observer2
        return self.score(masks[structure].unpack()[0], channel) if structure in masks else None


def pooled_metrics(scores: Sequence[MaskScores]) -> dict[str, float]:
    """Metrics over all images; those of distance have no pooled value."""
    found = sum((s.counts for s in scores), Counts.zero()).metrics()
    lines = [s.shapes.centrelines for s in scores if s.shapes]
    if lines:
        found["cldice"] = sum((c for c in lines if c), CentrelineCounts()).cldice()
    return found


def mask_intervals(scores: Sequence[MaskScores]) -> dict[str, Interval]:
    """95 % intervals over images of the pooled metrics of counts."""
    return count_intervals([s.counts for s in scores], times_sampled(len(scores)))


def pooled_widths(scores: Sequence[MaskScores]) -> WidthCounts:
    """Pixels of all images by the width of their vessel."""
    return sum((s.shapes.widths for s in scores if s.shapes), WidthCounts())
