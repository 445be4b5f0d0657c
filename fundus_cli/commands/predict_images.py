"""What every image of a call of fundus-predict goes through: read, predict, write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fundus_cli.commands.predict_files import (
    OutputFiles,
    mask_pixels,
    output_files,
    probability_pixels,
    write_png,
)
from fundus_cli.commands.predict_inputs import Job
from fundus_cli.config import DataConfig, PredictConfig
from fundus_cli.data.file_names import plain_name
from fundus_cli.data.samples import FundusImage, UnusableFile, file_sha256, read_for_prediction
from fundus_cli.inference.image_quality import quality_warnings
from fundus_cli.inference.predictor import Predictor
from fundus_cli.report.structure_overlays import render_structures

Row = dict[str, Any]
"""A row of predictions.csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An image that was read, its native pixels where they are drawn on, and what is odd."""

    fundus_image: FundusImage
    image: np.ndarray | None
    quality_warnings: list[str]
    sha256: str


class Prediction:
    """What every image of one call goes through: read, predict, write."""

    def __init__(
        self,
        config: PredictConfig,
        data: DataConfig,
        predictor: Predictor,
        threshold: float,
        folder: Path,
    ) -> None:
        self.config = config
        self.data = data
        self.predictor = predictor
        self.threshold = np.float32(threshold)
        self.folder = folder

    def files(self, job: Job) -> OutputFiles:
        """Where the job's files go."""
        return output_files(
            self.folder,
            job.target,
            self.data.structures,
            probability=self.config.probability,
            overlay=self.config.overlay,
            fov=self.config.fov_mask,
        )

    def read(self, job: Job) -> Loaded | UnusableFile:
        """Decode and prepare."""
        try:
            fundus_image, image = read_for_prediction(job.name, job.path, job.fov, self.data)
            return Loaded(
                fundus_image=fundus_image,
                image=image if self.config.overlay else None,
                quality_warnings=quality_warnings(fundus_image, image),
                sha256=file_sha256(job.path),
            )
        except UnusableFile as error:
            return error

    def compute(self, job: Job, loaded: Loaded | UnusableFile) -> np.ndarray | None:
        """(S, h, w) float32 probabilities."""
        if isinstance(loaded, UnusableFile):
            return None
        return self.predictor.probability(loaded.fundus_image)

    def write(
        self, job: Job, loaded: Loaded | UnusableFile, probability: np.ndarray | None
    ) -> tuple[Job, Row | UnusableFile]:
        """Write the job's files, the masks last; returns its row of the table."""
        if isinstance(loaded, UnusableFile):
            return job, loaded
        assert probability is not None
        masks = probability >= self.threshold
        files, overwrite = self.files(job), self.config.overwrite
        fov = loaded.fundus_image.native_fov.unpack()[0]
        try:
            for path, plane in zip(files.probabilities.values(), probability, strict=False):
                write_png(path, probability_pixels(plane), overwrite)
            if files.overlay is not None and loaded.image is not None:
                write_png(files.overlay, render_structures(loaded.image, masks, fov), overwrite)
            if files.fov is not None:
                write_png(files.fov, mask_pixels(fov), overwrite)
            for path, mask in zip(files.masks.values(), masks, strict=True):
                write_png(path, mask_pixels(mask), overwrite)
        except UnusableFile as error:
            return job, error
        return job, self._row(job, loaded, masks, int(fov.sum()))

    def _row(self, job: Job, loaded: Loaded, masks: np.ndarray, fov_px: int) -> Row:
        fundus_image = loaded.fundus_image
        height, width = fundus_image.native_hw
        row: Row = {
            "image": job.name,
            "mask": plain_name(job.target.as_posix()),
            "height_px": height,
            "width_px": width,
        }
        for structure, mask in zip(self.data.structures, masks, strict=True):
            area = int(mask.sum())
            row |= {f"{structure}_px": area, f"{structure}_share_of_fov": round(area / fov_px, 6)}
        return {
            **row,
            "fov_origin": fundus_image.fov_origin,
            "fov_px": fov_px,
            "fov_share_of_image": round(fov_px / (height * width), 6),
            # In full, so that another program scales the image to the same size.
            "fov_diameter_px": repr(fundus_image.fov_diameter_px),
            "warnings": "; ".join(loaded.quality_warnings),
            "sha256": loaded.sha256,
        }
