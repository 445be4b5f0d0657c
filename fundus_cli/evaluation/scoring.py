"""Score one network or an ensemble: at the end of training, in fundus-eval and from Python."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fundus_cli.data.dataset import Dataset
from fundus_cli.data.samples import Sample
from fundus_cli.errors import DataError
from fundus_cli.evaluation.evaluator import Evaluation, evaluate
from fundus_cli.evaluation.members import with_members
from fundus_cli.evaluation.protocol import Protocol
from fundus_cli.inference.ensembles import Ensemble, Member, shared_threshold
from fundus_cli.run.checkpoint import Checkpoint, Threshold


def score(
    member: Member,
    data_name: str,
    split: str,
    *,
    shape_metrics: bool = True,
    progress: Callable[[int], object] = lambda total: None,
) -> Evaluation:
    """Evaluate one network on its samples.

    Args:
        member: the network, its samples and its threshold.
        data_name: for the protocol.
        split: for the protocol; train, val, test or all.
        shape_metrics: whether to compute the metrics of shape.
        progress: called after each image with the number of all; what it raises ends the scoring.
    """
    protocol = protocol_of(member, data_name, split)
    structures = member.saved.config.data.structures
    return evaluate(
        lambda sample: [member.predictor.probability(sample)],
        member.samples,
        structures,
        [protocol],
        shape_metrics=shape_metrics,
        progress=progress,
    )[0]


def score_members(
    ensemble: Ensemble,
    data_name: str,
    split: str,
    threshold: Threshold | None,
    *,
    shape_metrics: bool = True,
    progress: Callable[[int], object] = lambda total: None,
) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Evaluate the ensemble and every member in one pass over the images.

    Args:
        ensemble: the members.
        data_name: for the protocol.
        split: train, val, test or all.
        threshold: the ensemble's; None takes the mean of the members' own.
        shape_metrics: whether to compute the metrics of shape.
        progress: called after each image with the number of all.

    Returns:
        The ensemble's evaluation, with the members' beside it, and each member's by name.
    """
    members = ensemble.members
    own_protocols = [protocol_of(member, data_name, split) for member in members]
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
    evaluations = evaluate(
        ensemble.probabilities,
        members[0].samples,
        members[0].saved.config.data.structures,
        protocols,
        shape_metrics=shape_metrics,
        progress=progress,
    )
    alone = {m.name: own for m, own in zip(members, evaluations[1:], strict=True)}
    return with_members(evaluations[0], alone), alone


def protocol_of(member: Member, data_name: str, split: str) -> Protocol:
    """What the scores of a network depend on."""
    return Protocol(
        data=data_name,
        split=split,
        num_images=len(member.samples),
        threshold=member.threshold.value,
        threshold_origin=member.threshold.origin,
        checkpoint_rule=checkpoint_rule(member.saved),
        trained_on=trained_on(member.saved),
        num_models=len(member.predictor.models),
        tta=member.predictor.tta,
        dtype=str(member.predictor.dtype).removeprefix("torch."),
    )


def samples_to_score(
    dataset: Dataset, data_name: str, split: str, structures: Sequence[str]
) -> Sequence[Sample]:
    """The images of a split, with the annotation that the network predicts.

    Raises:
        DataError: the split has no images, or other structures than the network.
    """
    samples = split_samples(dataset, split)
    if not samples:
        raise DataError(f"data={data_name}: has no {split} images to score")
    if list(dataset.structures) != list(structures):
        raise DataError(
            f"data={data_name}: has {', '.join(dataset.structures)}; the checkpoint predicts "
            f"{', '.join(structures)}"
        )
    return samples


def split_samples(dataset: Dataset, split: str) -> Sequence[Sample]:
    """The images of train, val, test, or of `all` three."""
    if split == "all":
        return [sample for of_split in dataset.samples.values() for sample in of_split]
    return dataset.samples.get(split, [])


def checkpoint_rule(saved: Checkpoint) -> str:
    """The rule by which the checkpoint's epoch was chosen, whatever the file is called."""
    progress, epoch = saved.progress, saved.progress.epoch
    is_best = progress.best_epoch == epoch and progress.batch == 0
    if progress.best_score is not None and is_best:
        return f"epoch {epoch}, best Dice on validation images"
    return f"epoch {epoch} of {saved.config.epochs}, last"


def trained_on(saved: Checkpoint) -> str:
    """The name of the data set that a checkpoint's weights were trained on."""
    data = saved.config.data
    fold = f" (fold {data.fold} of {data.folds} left out)" if data.folds else ""
    # The data of the other run is only known by the hashes of its files.
    origin = ", fine-tuned from another run" if saved.config.init_from else ""
    return f"{data.name}{fold}{origin}"
