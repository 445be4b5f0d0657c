"""Ensembles: averaged logits of several networks, and what their checkpoints must agree on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fundus_cli.data.samples import Sample
from fundus_cli.errors import DataError
from fundus_cli.inference.predictor import Predictor
from fundus_cli.run.checkpoint import Checkpoint, Threshold

MEAN_OF_MEMBERS = "mean of members"
"""Origin of a threshold that several checkpoints share; a key of protocol.ORIGIN."""

AGREEMENTS: dict[str, Callable[[Checkpoint], object]] = {
    "structures": lambda saved: ", ".join(saved.config.data.structures),
    "data.normalisation": lambda saved: saved.config.data.normalisation.value,
    "data.fov_diameter_px": lambda saved: saved.config.data.fov_diameter_px,
}
"""Settings in which the members of an ensemble must agree, so that they can be averaged."""


def check_agreement(members: Sequence[Checkpoint], on: Iterable[str] = tuple(AGREEMENTS)) -> None:
    """Refuse checkpoints that cannot be averaged.

    Args:
        members: the checkpoints.
        on: keys of AGREEMENTS; `structures` alone is enough if each member gets images that are
            prepared for it.

    Raises:
        DataError: with every value on which a member differs from the first.
    """
    first, *others = members
    differences = [
        f"{name}={value(first)} in {first.path}, but {value(other)} in {other.path}"
        for other in others
        for name, value in ((name, AGREEMENTS[name]) for name in on)
        if value(other) != value(first)
    ]
    if differences:
        raise DataError(
            "checkpoint: an ensemble's members must be made for the same images and "
            f"structures; {'; '.join(differences)}; use the others on their own"
        )


def shared_threshold(members: Sequence[Checkpoint]) -> Threshold:
    """One member's own threshold, or the mean of several."""
    if len(members) == 1:
        return members[0].threshold
    values = [saved.threshold.value for saved in members]
    return Threshold(sum(values) / len(values), MEAN_OF_MEMBERS)


def shared_tta(members: Sequence[Checkpoint], wanted: bool | None) -> bool:
    """Whether flips are averaged; None: as in training.

    Raises:
        DataError: the members were trained with different settings.
    """
    if wanted is not None:
        return wanted
    values = {saved.config.tta for saved in members}
    if len(values) > 1:
        raise DataError("tta: true in one checkpoint, false in another; add tta=true or tta=false")
    return values.pop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of an ensemble.

    Attributes:
        name: short, and no other member's.
        saved: its checkpoint.
        predictor: the network alone.
        samples: the images to score, as this network was trained to see them.
        threshold: its own.
    """

    name: str
    saved: Checkpoint
    predictor: Predictor
    samples: Sequence[Sample]
    threshold: Threshold


class Ensemble:
    """Averages the logits of members that may have different working resolutions.

    Args:
        members: two or more, with the same images.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._prepared = [{_key(sample): sample for sample in member.samples} for member in members]

    def probabilities(self, sample: Sample) -> list[np.ndarray]:
        """(S, h, w) float32 of the ensemble, then of each member alone."""
        logits, alone = [], []
        for member, prepared in zip(self.members, self._prepared, strict=True):
            own = prepared[_key(sample)]
            logits.append(member.predictor.logits(own)[0])
            alone.append(member.predictor.at_native_size(logits[-1], own))
        together = self.members[0].predictor.at_native_size(_mean_logits(logits, sample), sample)
        return [together, *alone]

    def probability(self, sample: Sample) -> np.ndarray:
        """(S, h, w) float32 of the ensemble."""
        return self.probabilities(sample)[0]


def _key(sample: Sample) -> tuple[str, str]:
    return sample.id, sample.file_hash


def _mean_logits(logits: Sequence[Tensor], sample: Sample) -> Tensor:
    """Average at working resolution if all sizes are equal, otherwise at native size."""
    if len({tuple(own.shape) for own in logits}) > 1:
        with torch.inference_mode():
            logits = [
                F.interpolate(own, sample.native_hw, mode="bilinear", align_corners=False)
                for own in logits
            ]
    return sum(logits[1:], logits[0]) / len(logits)


def member_names(paths: Sequence[Path]) -> list[str]:
    """The shortest path endings that distinguish the checkpoints, without their common ending."""
    # `..` is no name.
    absolute = [path.resolve() if ".." in path.parts else path.absolute() for path in paths]
    parts = [path.with_suffix("").parts for path in absolute]
    if len({path.name for path in paths}) == 1:
        parts = [own[:-1] for own in parts]
    length = 1
    while len({own[-length:] for own in parts}) < len(set(parts)):
        length += 1
    return ["_".join(own[-length:]) for own in parts]
