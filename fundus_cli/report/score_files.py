"""Write the files of an evaluation: metrics, curves, and overlays of the worst and best images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol as Interface

import numpy as np

from fundus_cli.config import DataConfig
from fundus_cli.data.reading import read_again
from fundus_cli.data.samples import Sample
from fundus_cli.evaluation.evaluator import Evaluation
from fundus_cli.evaluation.score_table import table
from fundus_cli.report.overlays import file_stem, render_overlay, save_overlay
from fundus_cli.report.pictures import PictureFolder, choose_cases
from fundus_cli.run.files import inside, write_csv, write_json


def write_numbers(folder: Path, evaluation: Evaluation) -> None:
    """Write metrics.json, metrics.csv and curves.json.

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
    samples: Sequence[Sample],
    num_overlays: int,
    data: DataConfig,
) -> None:
    """Write metrics.json, metrics.csv, curves.json, and overlays of the worst, median and best
    images.

    Raises:
        DataError: an image for an overlay cannot be read again; the numbers are already written.
        MachineError: the folder cannot be written, or an image's drive does not respond.
    """
    write_numbers(folder, evaluation)
    by_id = {sample.id: sample for sample in samples}
    pictures = PictureFolder(folder)
    for kind, row in choose_cases(evaluation.rows, num_overlays):
        sample = by_id[row["id"]]
        channel = list(data.structures).index(row["structure"])
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
        save_overlay(inside(folder / "overlays", name), render_overlay(*layers), caption)
    pictures.close()


def print_scores(evaluation: Evaluation, print_line: Callable[[str], object]) -> None:
    """Print the table of an evaluation."""
    for line in table(evaluation).splitlines():
        print_line(line)
