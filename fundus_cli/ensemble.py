"""Several checkpoints on the same photographs: each alone, and their averaged prediction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fundus_cli.data.dataset import Dataset
from fundus_cli.data.samples import Sample
from fundus_cli.evaluation.evaluate import Evaluation
from fundus_cli.evaluation.several import with_members
from fundus_cli.inference.ensemble import shared_threshold
from fundus_cli.inference.predict import Predictor
from fundus_cli.run.checkpoint import Checkpoint, Threshold
from fundus_cli.scoring import protocol_of, samples_to_score, score_each, split_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of an ensemble.

    Attributes:
        name: short, and no other member's.
        saved: its checkpoint.
        predictor: the network alone.
        dataset: the photographs as this network was trained to see them.
        threshold: its own.
    """

    name: str
    saved: Checkpoint
    predictor: Predictor
    dataset: Dataset
    threshold: Threshold


class Ensemble:
    """Averages the members' logits at native size; each sees its own working resolution.

    Args:
        members: two or more.
        split: whose photographs will be asked for.
    """

    def __init__(self, members: Sequence[Member], split: str) -> None:
        self.members = members
        self._prepared = [
            {_key(sample): sample for sample in split_samples(member.dataset, split)}
            for member in members
        ]

    def probabilities(self, sample: Sample) -> list[np.ndarray]:
        """(S, h, w) float32 of the ensemble, then of each member alone."""
        logits, alone = [], []
        for member, prepared in zip(self.members, self._prepared, strict=True):
            own = prepared[_key(sample)]
            logits.append(member.predictor.logits(own)[0])
            alone.append(member.predictor.at_native_size(logits[-1], own))
        together = self.members[0].predictor.at_native_size(_mean(logits, sample), sample)
        return [together, *alone]

    def probability(self, sample: Sample) -> np.ndarray:
        """(S, h, w) float32 of the ensemble."""
        return self.probabilities(sample)[0]


def _key(sample: Sample) -> tuple[str, str]:
    return sample.id, sample.file_hash


def _mean(logits: Sequence[Tensor], sample: Sample) -> Tensor:
    """Averaged where they are when all have one size, otherwise at native size."""
    if len({tuple(own.shape) for own in logits}) > 1:
        with torch.inference_mode():
            logits = [
                F.interpolate(own, sample.native_hw, mode="bilinear", align_corners=False)
                for own in logits
            ]
    return sum(logits[1:], logits[0]) / len(logits)


def member_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of different paths that tell them apart, without what all end in."""
    parts = [path.absolute().with_suffix("").parts for path in paths]
    if len({path.name for path in paths}) == 1:
        parts = [own[:-1] for own in parts]
    length = 1
    while len({own[-length:] for own in parts}) < len(set(parts)):
        length += 1
    return ["_".join(own[-length:]) for own in parts]


def score_members(
    ensemble: Ensemble,
    data_name: str,
    split: str,
    threshold: Threshold | None,
    *,
    shape_metrics: bool = True,
    progress: Callable[[int], object] = lambda total: None,
) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Evaluate the ensemble and every member in one pass over the photographs.

    Args:
        ensemble: the members.
        data_name: for the protocol.
        split: train, val, test or all.
        threshold: the ensemble's; None takes the mean of the members' own.
        shape_metrics: whether to work out metrics of shape.
        progress: called after each photograph with the number of all.

    Returns:
        The ensemble's evaluation, with the members' beside it, and each member's by name.

    Raises:
        DataError: the split has no photographs, or other structures than the networks.
    """
    members = ensemble.members
    dataset = members[0].dataset
    structures = members[0].saved.config.data.structures
    samples = samples_to_score(dataset, data_name, split, structures)
    own_protocols = [
        protocol_of(m.saved, m.predictor, m.threshold, data_name, split, len(samples))
        for m in members
    ]
    if threshold is None:
        threshold = shared_threshold([member.saved for member in members])
    tta = {member.predictor.tta for member in members}
    together = replace(
        own_protocols[0],
        threshold=threshold.value,
        threshold_origin=threshold.origin,
        checkpoint_rule="; ".join(dict.fromkeys(p.checkpoint_rule for p in own_protocols)),
        trained_on=" and ".join(dict.fromkeys(p.trained_on for p in own_protocols)),
        num_models=len(members),
        tta=tta.pop() if len(tta) == 1 else None,
        dtype=" and ".join(dict.fromkeys(p.dtype for p in own_protocols)),
    )
    protocols = [together, *own_protocols]
    evaluations = score_each(
        ensemble.probabilities, samples, dataset.structures, protocols, shape_metrics, progress
    )
    alone = {m.name: own for m, own in zip(members, evaluations[1:], strict=True)}
    return with_members(evaluations[0], alone), alone
