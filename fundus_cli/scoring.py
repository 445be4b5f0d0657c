"""A checkpoint and photographs to scores on disk: the end of training, all of fundus-eval."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from fundus_cli.config import Precision
from fundus_cli.data.dataset import Dataset
from fundus_cli.data.images import read_photograph
from fundus_cli.data.samples import Sample
from fundus_cli.errors import DataError
from fundus_cli.evaluation.evaluate import Evaluation, Protocol, evaluate
from fundus_cli.inference.ensemble import check_agreement, shared_tta
from fundus_cli.inference.predict import Predictor
from fundus_cli.report.overlays import draw_overlay, file_stem, save_overlay
from fundus_cli.run.checkpoint import Checkpoint, Threshold, load_weights
from fundus_cli.run.files import write_csv, write_json
from fundus_cli.runtime import choose_precision
from fundus_cli.training.loop import build_model


def predictor_of(
    saved: Checkpoint,
    device: torch.device,
    precision: Precision | None = None,
    tta: bool | None = None,
) -> Predictor:
    """The network of a checkpoint, ready to predict; None for a key: as in training.

    Raises:
        DataError: the weights do not fit the network that the checkpoint's config describes.
    """
    return ensemble_of([saved], device, precision, tta)


def ensemble_of(
    members: Sequence[Checkpoint],
    device: torch.device,
    precision: Precision | None = None,
    tta: bool | None = None,
) -> Predictor:
    """The networks of several checkpoints as one; None for a key: as in training.

    Raises:
        DataError: weights do not fit their network, or the members cannot be averaged.
    """
    check_agreement(members)
    models = [_network(saved, device) for saved in members]
    config = members[0].config
    dtype = choose_precision(precision or config.precision, device)
    normalisation, tta = config.data.normalisation, shared_tta(members, tta)
    return Predictor(models, normalisation, device, dtype, tta=tta)


def _network(saved: Checkpoint, device: torch.device) -> nn.Module:
    model = build_model(saved.config)
    load_weights(model, saved.weights, saved.path)
    return model.to(device).to(memory_format=torch.channels_last)


def score(
    saved: Checkpoint,
    predictor: Predictor,
    dataset: Dataset,
    data_name: str,
    split: str,
    threshold: Threshold,
) -> Evaluation:
    """Evaluate a checkpoint on one split of a data set, or on `all` of it.

    Raises:
        DataError: the split has no photographs, or other structures than the network.
    """
    samples = split_samples(dataset, split)
    if not samples:
        raise DataError(f"data={data_name}: has no {split} photographs to score")
    if list(dataset.structures) != saved.config.data.structures:
        raise DataError(
            f"data={data_name}: has {', '.join(dataset.structures)}; the checkpoint predicts "
            f"{', '.join(saved.config.data.structures)}"
        )
    protocol = Protocol(
        data=data_name,
        split=split,
        num_images=len(samples),
        threshold=threshold.value,
        threshold_origin=threshold.origin,
        checkpoint_rule=checkpoint_rule(saved),
    )
    with tqdm(total=len(samples), desc=f"scoring {split}", disable=None, leave=False) as bar:
        return evaluate(
            predictor.probability, samples, dataset.structures, protocol, lambda: bar.update()
        )


def split_samples(dataset: Dataset, split: str) -> Sequence[Sample]:
    """The photographs of train, val, test, or of `all` three."""
    if split == "all":
        return [sample for of_split in dataset.samples.values() for sample in of_split]
    return dataset.samples.get(split, [])


def checkpoint_rule(saved: Checkpoint) -> str:
    """By what rule this checkpoint's epoch was taken."""
    epoch = saved.progress.epoch
    if saved.progress.best_score is not None and saved.path.name == "best.pt":
        return f"epoch {epoch}, best Dice on validation photographs"
    return f"epoch {epoch} of {saved.config.epochs}, last"


def write_scores(
    folder: Path,
    evaluation: Evaluation,
    predictor: Predictor,
    dataset: Dataset,
    num_overlays: int,
    max_megapixels: float,
) -> None:
    """metrics.json, metrics.csv and overlays of the photographs with the lowest Dice.

    Raises:
        MachineError: the folder cannot be written.
    """
    write_json(folder / "metrics.json", evaluation.to_plain())
    write_csv(folder / "metrics.csv", evaluation.rows)
    worst = sorted(evaluation.rows, key=lambda row: (row["dice"] != row["dice"], row["dice"]))
    by_id = {s.id: s for s in split_samples(dataset, evaluation.protocol.split)}
    if worst and num_overlays:
        (folder / "overlays").mkdir(exist_ok=True)
    for row in worst[:num_overlays]:
        sample = by_id[row["id"]]
        channel = list(dataset.structures).index(row["structure"])
        probability = predictor.probability(sample)[channel]
        overlay = draw_overlay(
            read_photograph(sample.files.image, max_megapixels),
            probability >= evaluation.protocol.threshold,
            sample.native_targets.unpack()[channel],
            sample.native_fov.unpack()[0],
        )
        caption = (
            f"{sample.id}  {row['structure']}  dice {row['dice']:.4f}  "
            f"sensitivity {row['sensitivity']:.4f}  precision {row['precision']:.4f}"
        )
        name = f"{file_stem(sample.id)}_{row['structure']}.png"
        save_overlay(folder / "overlays" / name, overlay, caption)


def say_scores(evaluation: Evaluation, say: Callable[[str], object]) -> None:
    """The table of an evaluation, line by line."""
    from fundus_cli.evaluation.evaluate import table

    for line in table(evaluation).splitlines():
        say(line)
