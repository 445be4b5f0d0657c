"""Probabilities to metrics with their protocol: one function for training and fundus-eval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fundus_cli.data.samples import Sample
from fundus_cli.evaluation.bootstrap import bootstrap_interval
from fundus_cli.evaluation.counts import Counts, count
from fundus_cli.evaluation.curves import curves_of
from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.evaluation.shape_metrics import Shape
from fundus_cli.evaluation.widths import WidthCounts, count_by_width

REGIONS = ("fov", "whole")
"""Pixels inside the field of view; every pixel of the photograph, the dark corners included."""

COUNT_METRICS = ("dice", "iou", "sensitivity", "specificity", "precision", "accuracy", "mcc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What a score depends on beside the network; written beside every number."""

    data: str
    split: str
    num_images: int
    threshold: float
    threshold_origin: str
    checkpoint_rule: str

    def sentence(self, region: str) -> str:
        """The protocol in one sentence that can go into a paper."""
        where = {
            "fov": "pixels inside the field of view only",
            "whole": "every pixel, the dark surround included",
        }[region]
        origin = {
            "val": "chosen for the best Dice on validation photographs",
            "train": "chosen for the best Dice on the training photographs",
            "fixed": "fixed beforehand",
            "given": "given by hand for this evaluation",
        }[self.threshold_origin]
        return (
            f"{self.num_images} {self.split} photographs of {self.data} at native size, {where}; "
            f"threshold {self.threshold:.4f}, {origin}; counts summed over photographs before "
            f"dividing; checkpoint: {self.checkpoint_rule}."
        )


@dataclass(slots=True)
class _Tally:
    """One structure in one region."""

    histogram: ProbabilityHistogram = field(default_factory=ProbabilityHistogram)
    counts: list[Counts] = field(default_factory=list)
    observer2: list[Counts] = field(default_factory=list)
    widths: WidthCounts = field(default_factory=WidthCounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of one split.

    Attributes:
        protocol: what they depend on.
        rows: per photograph and structure, inside the field of view.
        regions: {region: {structure: metrics}}, as written into metrics.json.
        curves: what is written into curves.json.
    """

    protocol: Protocol
    rows: list[dict[str, Any]]
    regions: dict[str, dict[str, Any]]
    curves: dict[str, Any]

    def pooled(self, structure: str, region: str = "fov") -> dict[str, float]:
        """Metrics over all pixels of all photographs."""
        metrics: dict[str, float] = self.regions[region][structure]["pooled"]
        return metrics

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
                {
                    "region": region,
                    "aggregation": "pooled over pixels; per_image: mean and sd over photographs",
                    "protocol": self.protocol.sentence(region),
                    "structures": structures,
                }
                for region, structures in self.regions.items()
            ],
        }


def evaluate(
    predict: Callable[[Sample], np.ndarray],
    samples: Sequence[Sample],
    structures: Sequence[str],
    protocol: Protocol,
    progress: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Score every photograph once, at its native size, against the native annotation.

    Memory does not grow with the number of photographs but for a few numbers each.

    Args:
        predict: a sample to probabilities (S, h, w) float32 at native size.
        samples: the photographs.
        structures: names of the S channels.
        protocol: where the threshold comes from and what else is to be written on the numbers.
        progress: called after each photograph.
    """
    tallies = {region: {name: _Tally() for name in structures} for region in REGIONS}
    rows: list[dict[str, Any]] = []
    for sample in samples:
        probability = predict(sample)
        targets = sample.native_targets.unpack()
        fov = sample.native_fov.unpack()[0]
        everywhere = np.ones_like(fov)
        for channel, name in enumerate(structures):
            for region, pixels in (("fov", fov), ("whole", everywhere)):
                tally = tallies[region][name]
                tally.histogram.add(probability[channel], targets[channel], pixels)
                prediction = probability[channel] >= np.float32(protocol.threshold)
                tally.counts.append(count(prediction, targets[channel], pixels))
                if name in sample.native_observer2:
                    second = sample.native_observer2[name].unpack()[0]
                    tally.observer2.append(count(second, targets[channel], pixels))
            inside = tallies["fov"][name]
            inside.widths += count_by_width(Shape(prediction, fov), Shape(targets[channel], fov))
            rows.append(_row(sample, name, tallies["fov"][name], probability[channel], fov))
        progress()
    regions = {
        region: {name: _summary(tally) for name, tally in of_region.items()}
        for region, of_region in tallies.items()
    }
    curves = {
        "region": "fov",
        "structures": {
            name: curves_of(tally.histogram, tally.widths) for name, tally in tallies["fov"].items()
        },
    }
    return Evaluation(protocol=protocol, rows=rows, regions=regions, curves=curves)


def _row(
    sample: Sample, structure: str, tally: _Tally, probability: np.ndarray, fov: np.ndarray
) -> dict[str, Any]:
    counts = tally.counts[-1]
    return {
        "id": sample.id,
        "structure": structure,
        "region": "fov",
        **{name: counts.metrics()[name] for name in COUNT_METRICS},
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
        "mean_probability": float(probability[fov].mean(dtype=np.float64)),
        "fov_px": int(fov.sum()),
        "fov_origin": sample.fov_origin,
    }


def _summary(tally: _Tally) -> dict[str, Any]:
    total = sum(tally.counts, Counts.zero())
    pooled = {name: total.metrics()[name] for name in COUNT_METRICS}
    pooled["auc_roc"] = tally.histogram.auc_roc()
    pooled["auc_pr"] = tally.histogram.auc_pr()
    pooled["ece"] = tally.histogram.ece()
    low, high = bootstrap_interval(tally.counts)
    summary: dict[str, Any] = {
        "pooled": pooled,
        "dice_interval_95": [low, high],
        "per_image": {
            name: mean_and_sd([c.metrics()[name] for c in tally.counts]) for name in COUNT_METRICS
        },
    }
    if tally.observer2:
        second = sum(tally.observer2, Counts.zero())
        summary["observer2"] = {
            "num_images": len(tally.observer2),
            "pooled": {name: second.metrics()[name] for name in COUNT_METRICS},
        }
    return summary


def mean_and_sd(values: Sequence[float]) -> dict[str, float | int]:
    """Mean and sample deviation of the defined values, and how many were undefined."""
    defined = [v for v in values if not math.isnan(v)]
    mean = float(np.mean(defined)) if defined else math.nan
    sd = float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan
    return {"mean": mean, "sd": sd, "num_undefined": len(values) - len(defined)}


def table(evaluation: Evaluation) -> str:
    """The scores as a few lines for a terminal."""
    shown = ("dice", "iou", "sensitivity", "specificity", "accuracy", "auc_roc", "auc_pr")
    head = f"{'':24}" + "".join(f"{name:>13}" for name in shown)
    lines = [head]
    for region, structures in evaluation.regions.items():
        for name, summary in structures.items():
            cells = "".join(f"{_cell(summary['pooled'].get(m)):>13}" for m in shown)
            lines.append(f"{name + ', ' + region:24}{cells}")
            if "observer2" in summary:
                second = summary["observer2"]["pooled"]
                cells = "".join(f"{_cell(second.get(m)):>13}" for m in shown)
                lines.append(f"{'  second observer':24}{cells}")
    first = next(iter(evaluation.regions["fov"].values()))
    mean = first["per_image"]["dice"]
    low, high = first["dice_interval_95"]
    lines.append(
        f"dice per photograph {_cell(mean['mean'])} +- {_cell(mean['sd'])}, "
        f"95 % interval of the pooled dice {_cell(low)} to {_cell(high)}"
    )
    lines.append(evaluation.protocol.sentence("fov"))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
