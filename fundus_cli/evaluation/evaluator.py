"""Evaluate probabilities against annotations; training and fundus-eval share this code."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fundus_cli.data.samples import Sample
from fundus_cli.evaluation.counts import Counts
from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.evaluation.mask_scores import Annotation
from fundus_cli.evaluation.protocol import REGIONS, Protocol
from fundus_cli.evaluation.tally import ImageScores, Tally, undefine_overlap

MAX_WORKERS = 4
"""Images scored at a time; a large one needs some hundred MB."""

ScoresByRegion = dict[str, dict[str, ImageScores]]
"""{region: {structure: scores of one image}}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of one split.

    Attributes:
        protocol: what they depend on.
        rows: per image and structure, inside the field of view.
        observer2_rows: the second observer's, with the columns that a mask has.
        regions: {region: {structure: metrics}}, as written into metrics.json.
        curves: what is written into curves.json.
        several: of an ensemble, what its members reached alone; empty otherwise.
    """

    protocol: Protocol
    rows: list[dict[str, Any]]
    observer2_rows: list[dict[str, Any]]
    regions: dict[str, dict[str, Any]]
    curves: dict[str, Any]
    several: dict[str, Any] = field(default_factory=dict)

    def pooled(self, structure: str, region: str = "fov") -> dict[str, float]:
        """Metrics over all pixels of all images."""
        metrics: dict[str, float] = self.regions[region][structure]["pooled"]
        return metrics

    def counts(self, structure: str) -> list[Counts]:
        """Counts of each image inside the field of view, in the order of the rows."""
        own = [row for row in self.rows if row["structure"] == structure]
        return [Counts(row["tp"], row["fp"], row["fn"], row["tn"]) for row in own]

    def to_plain(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return {
            "data": self.protocol.data,
            "split": self.protocol.split,
            "num_images": self.protocol.num_images,
            "threshold": self.protocol.threshold,
            "threshold_origin": self.protocol.threshold_origin,
            "checkpoint_rule": self.protocol.checkpoint_rule,
            "protocols": [
                {**self.protocol.to_plain(region), "structures": structures}
                for region, structures in self.regions.items()
            ],
            **self.several,
        }


class Evaluator:
    """Collects the scores of images one by one, in about 25 kB per image of any size.

    Args:
        structures: names of the channels.
        protocol: the threshold and everything else that the scores depend on.
    """

    def __init__(self, structures: Sequence[str], protocol: Protocol) -> None:
        self.structures = structures
        self.protocol = protocol
        self._tallies = {region: {name: Tally() for name in structures} for region in REGIONS}
        self._rows: list[dict[str, Any]] = []
        self._observer2_rows: list[dict[str, Any]] = []

    def score(self, annotation: Annotation, probability: np.ndarray) -> ScoresByRegion:
        """Score one image at its native size; changes nothing here.

        Args:
            annotation: what it is scored against.
            probability: (S, h, w) float32 at native size.
        """
        found: ScoresByRegion = {region: {} for region in REGIONS}
        threshold = np.float32(self.protocol.threshold)
        for channel, name in enumerate(self.structures):
            masks = annotation.score(probability[channel] >= threshold, channel)
            second = annotation.observer2(name, channel)
            for region, pixels in annotation.regions.items():
                histogram = ProbabilityHistogram()
                histogram.add(probability[channel], annotation.targets[channel], pixels)
                found[region][name] = ImageScores(
                    histogram=histogram,
                    mask=masks[region],
                    observer2=second[region] if second else None,
                )
        return found

    def add(self, annotation: Annotation, scores: ScoresByRegion) -> None:
        """Add the scores of one image."""
        for region, by_name in scores.items():
            for name, own in by_name.items():
                self._tallies[region][name].add(own)
        for name, own in scores["fov"].items():
            row = _row(annotation, name, "network", own.mask.counts, own.metrics())
            self._rows.append({**row, "mean_probability": own.histogram.mean()})
            if own.observer2:
                second = own.observer2
                row = _row(annotation, name, "observer2", second.counts, second.metrics())
                self._observer2_rows.append(row)

    def result(self) -> Evaluation:
        """The scores of all images so far."""
        unlabelled = {name for name, t in self._tallies["fov"].items() if not t.has_labels}
        for row in self._rows:
            if row["structure"] in unlabelled:
                undefine_overlap(row)
        return Evaluation(
            protocol=self.protocol,
            rows=self._rows,
            observer2_rows=self._observer2_rows,
            regions={
                region: {name: tally.summary() for name, tally in of_region.items()}
                for region, of_region in self._tallies.items()
            },
            curves={
                "region": "fov",
                "structures": {n: tally.curves() for n, tally in self._tallies["fov"].items()},
            },
        )


def evaluate(
    predict: Callable[[Sample], Sequence[np.ndarray]],
    samples: Sequence[Sample],
    structures: Sequence[str],
    protocols: Sequence[Protocol],
    *,
    shape_metrics: bool = True,
    progress: Callable[[int], object] = lambda total: None,
) -> list[Evaluation]:
    """Score every image with each of several predictions; the order of the images has no effect.

    An image is scored in another thread while the next ones are predicted.

    Args:
        predict: a sample to probabilities (S, h, w) float32 at native size, one per protocol.
        samples: the images.
        structures: names of the S channels.
        protocols: one for each prediction.
        shape_metrics: whether to compute clDice, outline distances and scores by width.
        progress: called after each image with the number of all; what it raises ends the scoring.
    """
    evaluators = [Evaluator(structures, protocol) for protocol in protocols]

    def score(sample: Sample, predicted: Sequence[np.ndarray]) -> Callable[[], None]:
        annotation = Annotation(sample, shape_metrics)
        scores = [e.score(annotation, p) for e, p in zip(evaluators, predicted, strict=True)]

        def take() -> None:
            for evaluator, own in zip(evaluators, scores, strict=True):
                evaluator.add(annotation, own)
            progress(len(samples))

        return take

    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    pending: deque[Future[Callable[[], None]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for sample in sorted(samples, key=lambda sample: (sample.id, sample.file_hash)):
            pending.append(pool.submit(score, sample, predict(sample)))
            if len(pending) > workers:
                pending.popleft().result()()
        while pending:
            pending.popleft().result()()
    return [evaluator.result() for evaluator in evaluators]


def _row(
    annotation: Annotation, structure: str, rater: str, counts: Counts, metrics: dict[str, float]
) -> dict[str, Any]:
    return {
        "id": annotation.sample.id,
        "structure": structure,
        "region": "fov",
        "rater": rater,
        **metrics,
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
        "fov_px": int(annotation.fov.sum()),
        "fov_origin": annotation.sample.fov_origin,
    }
