"""fundus-export: convert checkpoints to one file for other programs, and verify the file."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from fundus_cli import __version__
from fundus_cli.config import (
    Device,
    ExportConfig,
    ExportFormat,
    Precision,
    to_plain,
)
from fundus_cli.data.samples import FundusImage, prepare
from fundus_cli.errors import FundusError, RunFolderError
from fundus_cli.export.formats import (
    Run,
    check_libraries,
    from_safetensors,
    run_module,
    run_onnx,
    run_torchscript,
    to_onnx,
    to_safetensors,
    to_torchscript,
)
from fundus_cli.export.graph import PredictionGraph
from fundus_cli.inference.ensembles import shared_threshold
from fundus_cli.inference.loading import ensemble_of
from fundus_cli.inference.predictor import Predictor
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Checkpoint, checkpoint_paths
from fundus_cli.run.context import Context
from fundus_cli.run.files import write_whole
from fundus_cli.runtime.device import choose_device
from fundus_cli.synthetic.render import render_image

NUM_IMAGES = 8
IMAGE_PX = 256
MAX_DIFFERENCE = 1e-5
TIE = 1e-6
"""Pixels whose probability is this close to the threshold may differ by rounding alone."""


def run(config: ExportConfig, context: Context) -> None:
    """Write a checkpoint as one file for other programs.

    Raises:
        FundusError: as `export`.
    """
    with context.stop.unwinding():
        path = export(config, context.terminal.print_line)
        context.terminal.print_line(f"exported: {path}")


def export(config: ExportConfig, print_line: Callable[[str], object]) -> Path:
    """Convert, verify that the file predicts what the checkpoint predicts, write; returns the path.

    Raises:
        ConfigError: a library is missing.
        RunFolderError: the file already exists.
        DataError: a checkpoint cannot be used.
        FundusError: the file does not predict the same; nothing is left behind.
        MachineError: it cannot be written.
    """
    paths = checkpoint_paths(config.checkpoints)
    path = _file(config, paths)
    check_libraries(config.format)
    members = [checkpoint.load(member) for member in paths]
    predictor = ensemble_of(members, choose_device(Device.cpu), Precision.float32, config.tta)
    metadata = describe(members, predictor)
    content, run = _convert(config.format, members, predictor, metadata)
    threshold = float(metadata["threshold"])
    difference, unequal = compare(predictor, run, members[0], threshold)
    found = f"probabilities differ by at most {difference:.1e}, {unequal} mask pixels are unequal"
    if not difference <= MAX_DIFFERENCE or unequal:
        raise FundusError(
            f"{path}: not written, it does not predict what the checkpoint predicts: {found}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(content))
    print_line(f"checked on {NUM_IMAGES} images, one by one and in batches of 3: {found}")
    return path


def _file(config: ExportConfig, paths: Sequence[Path]) -> Path:
    if config.file is not None:
        path = Path(config.file).expanduser()
    else:
        name = paths[0] if len(paths) == 1 else paths[0].with_name("ensemble.pt")
        path = name.with_suffix(f".{config.format.value}")
    if path.is_dir() or (path.exists() and not config.overwrite):
        raise RunFolderError(f"file={path}: already exists; overwrite=true replaces it")
    return path


def describe(members: Sequence[Checkpoint], predictor: Predictor) -> dict[str, str]:
    """Metadata that another program needs, as text; lists, mappings and null are JSON."""
    config, threshold = members[0].config, shared_threshold(members)
    return {
        "fundus_cli": __version__,
        "structures": json.dumps(list(config.data.structures)),
        "threshold": repr(threshold.value),
        "threshold_origin": threshold.origin,
        "normalisation": config.data.normalisation.value,
        "fov_diameter_px": json.dumps(config.data.working_diameter_px),
        "fov_angle_deg": json.dumps(config.data.angle_deg),
        "tta": json.dumps(predictor.tta),
        "models": json.dumps([to_plain(saved.config.model) for saved in members]),
        "image": "(N, 3, H, W) uint8 RGB, scaled until the field of view is fov_diameter_px wide",
        "fov_mask": "(N, 1, H, W) bool, the field of view at the same scale",
        "native_fov_mask": "(N, 1, h, w) bool, the field of view at the image's own size",
        "probability": "(N, S, h, w) float32, in the order of structures",
    }


def _convert(
    form: ExportFormat,
    members: Sequence[Checkpoint],
    predictor: Predictor,
    metadata: dict[str, str],
) -> tuple[bytes, Run]:
    """The file's bytes, and a function that runs the network from these bytes."""
    models = [model.eval().to(memory_format=torch.contiguous_format) for model in predictor.models]
    graph = PredictionGraph(models, predictor.normalisation, predictor.tta).eval()
    match form:
        case ExportFormat.onnx:
            content = to_onnx(graph, metadata)
            return content, run_onnx(content)
        case ExportFormat.torchscript:
            content = to_torchscript(graph, metadata)
            return content, run_torchscript(content)
        case ExportFormat.safetensors:
            content = to_safetensors(members[0].weights, metadata)
            again = ensemble_of(members, predictor.device, Precision.float32, predictor.tta)
            checkpoint.load_weights(again.models[0], from_safetensors(content), members[0].path)
            read = PredictionGraph(again.models, predictor.normalisation, predictor.tta)
            return content, run_module(read.eval())


def compare(
    predictor: Predictor, run: Run, saved: Checkpoint, threshold: float
) -> tuple[float, int]:
    """Largest difference of probabilities, and the number of mask pixels that differ.

    Each image is compared with fundus-predict; then batches of 3 images, at odd sizes too, with the
    same images one by one.
    """
    fundus_images = list(_synthetic_images(saved))
    worst, unequal = 0.0, 0
    for fundus_image in fundus_images:
        expected = predictor.probability(fundus_image)[None]
        difference, pixels = _compared(run(*_inputs([fundus_image])), expected, threshold)
        worst, unequal = max(worst, difference), unequal + pixels
    for start in range(0, NUM_IMAGES - 2, 3):
        batch = [_cut(p, fundus_images, odd=start > 0) for p in fundus_images[start : start + 3]]
        expected = np.concatenate(
            [predictor.probability(fundus_image)[None] for fundus_image in batch]
        )
        difference, pixels = _compared(run(*_inputs(batch)), expected, threshold)
        worst, unequal = max(worst, difference), unequal + pixels
    return worst, unequal


def _compared(found: np.ndarray, expected: np.ndarray, threshold: float) -> tuple[float, int]:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf"), expected.size
    unequal = (found >= np.float32(threshold)) != (expected >= np.float32(threshold))
    unequal &= np.abs(expected - threshold) > TIE
    return float(np.abs(found - expected).max()), int(unequal.sum())


def _synthetic_images(saved: Checkpoint) -> Iterator[FundusImage]:
    """Synthetic images, so that the check needs no files and is always the same."""
    for index in range(NUM_IMAGES):
        drawn = render_image(0, index, IMAGE_PX)
        yield prepare(
            str(index), drawn.image, drawn.fov, "file", saved.config.data.working_diameter_px
        )


def _cut(fundus_image: FundusImage, among: Sequence[FundusImage], *, odd: bool) -> FundusImage:
    """Crop the upper left part to one size for all images, with both sides even or both odd."""
    height, width = np.min([p.fov_mask.shape for p in among], axis=0) * 7 // 8
    size = (int(height) // 2 * 2 + odd, int(width) // 2 * 2 - odd)
    image = fundus_image.image[:, : size[0], : size[1]].transpose(1, 2, 0)
    fov = fundus_image.fov_mask[: size[0], : size[1]]
    return prepare(fundus_image.id, np.ascontiguousarray(image), fov, "file", None)


def _inputs(batch: Sequence[FundusImage]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.stack([p.image for p in batch]),
        np.stack([p.fov_mask[None] for p in batch]),
        np.stack([p.native_fov.unpack() for p in batch]),
    )
