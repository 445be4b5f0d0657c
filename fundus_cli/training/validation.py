"""End-of-epoch validation: losses, Dice and the choice of the threshold."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fundus_cli.data.batches import Batch
from fundus_cli.data.samples import Sample
from fundus_cli.evaluation.counts import Counts, count
from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.inference.predictor import Predictor
from fundus_cli.training.losses import Loss

DEFAULT_THRESHOLD = 0.5
"""The threshold if no image has a pixel of the structure, so that no threshold is best."""

MAX_TEST_SHARE = 0.25
"""Maximum ratio of test pixels to training pixels per epoch; more would spend over a tenth of the
time on a number that no decision depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Scores of the val split.

    Attributes:
        loss: mean over images, at working resolution.
        dice: pooled over all pixels inside the field of view, at native size, at `threshold`.
        threshold: probability from which a pixel counts.
    """

    loss: float
    dice: float
    threshold: float

    def row(self) -> dict[str, float]:
        """The columns of log.csv."""
        return {"val_loss": self.loss, "val_dice": self.dice, "threshold": self.threshold}


def validate(
    predictor: Predictor, loss: Loss, samples: Iterable[Sample], threshold: float | None
) -> Validation:
    """Score images with their masks; without a threshold, choose the one with the best Dice.

    Structures are pooled. Each image is predicted once.
    """
    histogram, counts, losses = ProbabilityHistogram(), Counts.zero(), []
    for sample in samples:
        logits, batch = predictor.logits(sample)
        losses.append(_value(loss, logits, batch))
        for probability, target, fov in _native(predictor, logits, sample):
            if threshold is None:
                histogram.add(probability, target, fov)
            else:
                counts += count(probability >= np.float32(threshold), target, fov)
    if threshold is None:
        threshold, dice = histogram.best_dice_threshold()
    else:
        dice = counts.metrics()["dice"]
    return Validation(
        loss=sum(losses) / len(losses),
        dice=dice,
        threshold=threshold if math.isfinite(threshold) else DEFAULT_THRESHOLD,
    )


def histogram_of(predictor: Predictor, samples: Iterable[Sample]) -> ProbabilityHistogram:
    """All pixels inside the field of view by their probability, structures pooled."""
    histogram = ProbabilityHistogram()
    for sample in samples:
        for native in _native(predictor, predictor.logits(sample)[0], sample):
            histogram.add(*native)
    return histogram


def mean_loss(predictor: Predictor, loss: Loss, samples: Iterable[Sample]) -> float:
    """Mean over images of the loss at working resolution; NaN without any."""
    losses = [_value(loss, *predictor.logits(sample)) for sample in samples]
    return sum(losses) / len(losses) if losses else math.nan


def spread(samples: Sequence[Sample], max_pixels: float) -> Sequence[Sample]:
    """Every k-th image, with the smallest k for at most `max_pixels` in all; at least one."""
    for every in range(1, len(samples)):
        chosen = samples[::every]
        if sum(sample.fov_mask.size for sample in chosen) <= max_pixels:
            return chosen
    return samples[:1]


def _value(loss: Loss, logits: Tensor, batch: Batch) -> float:
    return float(loss(logits, batch.target, batch.fov_mask))


def _native(
    predictor: Predictor, logits: Tensor, sample: Sample
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Probability, target and field of view (h, w) of each structure at native size."""
    fov = sample.native_fov.unpack()[0]
    probability = predictor.at_native_size(logits, sample)
    for own_probability, target in zip(probability, sample.native_targets.unpack(), strict=True):
        yield own_probability, target, fov
