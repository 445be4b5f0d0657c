"""The steps of fundus-predict for one image: read, predict, write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_cli.commands.predict_files import (
    OutputFiles,
    mask_pixels,
    output_files,
    probability_pixels,
    write_png,
)
from fundus_cli.commands.predict_inputs import Job
from fundus_cli.config import PredictConfig
from fundus_cli.data.decoding import CANNOT_OPEN, NO_MEMORY
from fundus_cli.data.file_names import plain_name
from fundus_cli.data.fov_warnings import FovTally
from fundus_cli.data.samples import UnusableFile, file_sha256
from fundus_cli.inference.network import Prediction, PreparedImage, SegmentationNetwork
from fundus_cli.report.structure_overlays import render_structures
from fundus_cli.run.machine_errors import is_out_of_memory

Row = dict[str, Any]
"""A row of predictions.csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An image that was read and prepared, and the sha256 of its file."""

    prepared: PreparedImage
    sha256: str


class ImagePipeline:
    """Reads, predicts and writes the images of one call; each step can run in its own thread."""

    def __init__(self, config: PredictConfig, network: SegmentationNetwork, folder: Path) -> None:
        self.config = config
        self.network = network
        self.folder = folder
        self.fields_of_view = FovTally()

    def files(self, job: Job, target: Path | None = None) -> OutputFiles:
        """Where the job's files go, or went when its mask was `target`."""
        return output_files(
            self.folder,
            target or job.target,
            self.network.structures,
            probability=self.config.probability,
            overlay=self.config.overlay,
            fov=self.config.fov_mask,
        )

    def read(self, job: Job) -> Loaded | UnusableFile:
        """Decode and prepare."""
        try:
            prepared = self.network.read(job.path, job.fov, job.name)
            return Loaded(prepared=prepared, sha256=file_sha256(job.path))
        except UnusableFile as error:
            return error
        except OSError as error:
            # It was there when it was decoded; it vanished before its hash was computed.
            return UnusableFile(job.path, CANNOT_OPEN, error.strerror or type(error).__name__)

    def compute(self, job: Job, loaded: Loaded | UnusableFile) -> Prediction | UnusableFile:
        """Masks and probabilities, or why there are none."""
        if isinstance(loaded, UnusableFile):
            return loaded
        try:
            return self.network.predict_prepared(loaded.prepared)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            height, width = loaded.prepared.pixels.shape[:2]
            return UnusableFile(job.path, NO_MEMORY, f"{width}x{height}")

    def write(
        self, job: Job, loaded: Loaded | UnusableFile, prediction: Prediction | UnusableFile
    ) -> tuple[Job, Row | UnusableFile]:
        """Write the job's files, the masks last; returns its row of the table."""
        if isinstance(prediction, UnusableFile) or isinstance(loaded, UnusableFile):
            assert isinstance(prediction, UnusableFile)
            return job, prediction
        files, overwrite = self.files(job), self.config.overwrite
        masks, fov = prediction.masks, prediction.fov
        try:
            planes = prediction.probabilities
            for path, plane in zip(files.probabilities.values(), planes, strict=False):
                write_png(path, probability_pixels(plane), overwrite)
            if files.overlay is not None:
                overlay = render_structures(loaded.prepared.pixels, masks, fov)
                write_png(files.overlay, overlay, overwrite)
            if files.fov is not None:
                write_png(files.fov, mask_pixels(fov), overwrite)
            for path, mask in zip(files.masks.values(), masks, strict=True):
                write_png(path, mask_pixels(mask), overwrite)
        except UnusableFile as error:
            return job, error
        self.fields_of_view.add(
            job.name,
            has_border=not bool(fov.all()),
            is_round=prediction.is_round,
            num_fields=prediction.num_fields,
        )
        return job, _row(job, loaded, prediction)


def _row(job: Job, loaded: Loaded, prediction: Prediction) -> Row:
    height, width = prediction.fov.shape
    fov_px = int(prediction.fov.sum())
    row: Row = {
        "image": job.name,
        "mask": plain_name(job.target.as_posix()),
        "height_px": height,
        "width_px": width,
    }
    for structure, mask in zip(prediction.structures, prediction.masks, strict=True):
        area = int(mask.sum())
        row |= {f"{structure}_px": area, f"{structure}_share_of_fov": round(area / fov_px, 6)}
    return {
        **row,
        "fov_origin": prediction.fov_origin,
        "fov_px": fov_px,
        "fov_share_of_image": round(fov_px / (height * width), 6),
        # In full, so that another program scales the image to the same size.
        "fov_diameter_px": repr(prediction.fov_diameter_px),
        "warnings": "; ".join(prediction.warnings),
        "sha256": loaded.sha256,
    }
