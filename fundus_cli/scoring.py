"""A checkpoint and photographs to scores on disk: the end of training, all of fundus-eval."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol as Interface

import numpy as np
import torch
from torch import nn

from fundus_cli.config import DataConfig, Precision
from fundus_cli.data.dataset import Dataset
from fundus_cli.data.reading import read_again
from fundus_cli.data.samples import Sample
from fundus_cli.errors import DataError
from fundus_cli.evaluation.evaluate import Evaluation, evaluate
from fundus_cli.evaluation.protocol import Protocol
from fundus_cli.evaluation.table import table
from fundus_cli.inference.ensemble import check_agreement, shared_tta
from fundus_cli.inference.predict import Predictor
from fundus_cli.report.overlays import draw_overlay, file_stem, save_overlay
from fundus_cli.report.pictures import PictureFolder, choose_cases
from fundus_cli.run.checkpoint import Checkpoint, Threshold, load_weights
from fundus_cli.run.files import write_csv, write_json
from fundus_cli.runtime import choose_precision
from fundus_cli.training.network import build_model


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
    *,
    shape_metrics: bool = True,
    progress: Callable[[int], object] = lambda total: None,
) -> Evaluation:
    """Evaluate a checkpoint on one split of a data set, or on `all` of it.

    `progress` is called after each photograph with their number; what it raises ends the scoring.

    Raises:
        DataError: the split has no photographs, or other structures than the network.
    """
    samples = samples_to_score(dataset, data_name, split, saved.config.data.structures)
    protocol = protocol_of(saved, predictor, threshold, data_name, split, len(samples))
    return score_each(
        lambda sample: [predictor.probability(sample)],
        samples,
        dataset.structures,
        [protocol],
        shape_metrics,
        progress,
    )[0]


def protocol_of(
    saved: Checkpoint,
    predictor: Predictor,
    threshold: Threshold,
    data_name: str,
    split: str,
    num_images: int,
) -> Protocol:
    """What the scores of a checkpoint depend on."""
    return Protocol(
        data=data_name,
        split=split,
        num_images=num_images,
        threshold=threshold.value,
        threshold_origin=threshold.origin,
        checkpoint_rule=checkpoint_rule(saved),
        trained_on=trained_on(saved),
        num_models=len(predictor.models),
        tta=predictor.tta,
        dtype=str(predictor.dtype).removeprefix("torch."),
    )


def score_each(
    predict: Callable[[Sample], Sequence[np.ndarray]],
    samples: Sequence[Sample],
    structures: Sequence[str],
    protocols: Sequence[Protocol],
    shape_metrics: bool,
    progress: Callable[[int], object] = lambda total: None,
) -> list[Evaluation]:
    """Evaluate one or several predictions of the same photographs.

    `progress` is called after each photograph with their number; what it raises ends the scoring.
    """

    def scored() -> None:
        progress(len(samples))

    return evaluate(
        predict,
        samples,
        structures,
        protocols,
        shape_metrics=shape_metrics,
        progress=scored,
    )


def samples_to_score(
    dataset: Dataset, data_name: str, split: str, structures: Sequence[str]
) -> Sequence[Sample]:
    """The photographs of a split, with the annotation that the network predicts.

    Raises:
        DataError: the split has no photographs, or other structures than the network.
    """
    samples = split_samples(dataset, split)
    if not samples:
        raise DataError(f"data={data_name}: has no {split} photographs to score")
    if list(dataset.structures) != list(structures):
        raise DataError(
            f"data={data_name}: has {', '.join(dataset.structures)}; the checkpoint predicts "
            f"{', '.join(structures)}"
        )
    return samples


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


def trained_on(saved: Checkpoint) -> str:
    """The data set that a checkpoint's weights learned from, as its run called it."""
    data = saved.config.data
    fold = f" (fold {data.fold} of {data.folds} left out)" if data.folds else ""
    # What that other run was trained on is known by its files alone.
    begun = ", begun with the weights of another run" if saved.config.init_from else ""
    return f"{data.name}{fold}{begun}"


def write_numbers(folder: Path, evaluation: Evaluation) -> None:
    """metrics.json, metrics.csv and curves.json.

    Raises:
        MachineError: the folder cannot be written.
    """
    write_json(folder / "metrics.json", evaluation.to_plain())
    write_csv(folder / "metrics.csv", [*evaluation.rows, *evaluation.observer2_rows])
    write_json(folder / "curves.json", evaluation.curves)


class Predicts(Interface):
    """A network or an ensemble of them."""

    def probability(self, sample: Sample) -> np.ndarray:
        """(S, h, w) float32 at native size."""
        ...


def write_scores(
    folder: Path,
    evaluation: Evaluation,
    predictor: Predicts,
    dataset: Dataset,
    num_overlays: int,
    data: DataConfig,
) -> None:
    """metrics.json, metrics.csv, curves.json, and the worst, median and best photographs.

    Raises:
        DataError: a photograph to draw on is no longer there; the numbers are written by then.
        MachineError: the folder cannot be written, or a photograph's drive does not answer.
    """
    write_numbers(folder, evaluation)
    by_id = {s.id: s for s in split_samples(dataset, evaluation.protocol.split)}
    pictures = PictureFolder(folder)
    for kind, row in choose_cases(evaluation.rows, num_overlays):
        sample = by_id[row["id"]]
        channel = list(dataset.structures).index(row["structure"])
        probability = predictor.probability(sample)[channel]
        layers = (
            read_again(sample.files.image, data),
            probability >= np.float32(evaluation.protocol.threshold),
            sample.native_targets.unpack()[channel],
            sample.native_fov.unpack()[0],
        )
        pictures.add(kind, row, *layers)
        if kind != "worst":
            continue
        (folder / "overlays").mkdir(exist_ok=True)
        caption = (
            f"{sample.id}  {row['structure']}  dice {row['dice']:.4f}  "
            f"sensitivity {row['sensitivity']:.4f}  precision {row['precision']:.4f}"
        )
        name = f"{file_stem(sample.id)}_{row['structure']}.png"
        save_overlay(folder / "overlays" / name, draw_overlay(*layers), caption)
    pictures.close()


def say_scores(evaluation: Evaluation, say: Callable[[str], object]) -> None:
    """The table of an evaluation, line by line."""
    for line in table(evaluation).splitlines():
        say(line)
