"""A trained network, or an ensemble of several, that turns images into masks.

fundus-predict and the Python API predict through it, so that their masks are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageOps

from fundus_cli.config import DataConfig, Device, Precision
from fundus_cli.data.samples import (
    FundusImage,
    UnusableFile,
    prepare_pixels,
    read_for_prediction,
)
from fundus_cli.errors import ConfigError, DataError
from fundus_cli.inference.ensembles import shared_threshold
from fundus_cli.inference.image_quality import quality_warnings
from fundus_cli.inference.loading import ensemble_of
from fundus_cli.inference.predictor import Predictor
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Checkpoint, Threshold, checkpoint_paths
from fundus_cli.runtime.device import choose_device


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """An image ready for the network.

    Attributes:
        fundus_image: scaled to the network's resolution, with its field of view.
        pixels: (h, w, 3) uint8 at native size.
        warnings: reasons why the result may be wrong; empty for an ordinary fundus image.
    """

    fundus_image: FundusImage
    pixels: np.ndarray
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a network finds in one image, at the image's own size.

    Attributes:
        structures: names of the S structures, in the order of the channels.
        probabilities: (S, h, w) float32, 0 to 1; 0 outside the field of view.
        masks: (S, h, w) bool, True where the probability reaches the threshold.
        threshold: the probability from which a pixel counts.
        fov: (h, w) bool, True inside the field of view.
        fov_origin: `file` where the field of view was given, `found` where it was detected.
        fov_diameter_px: diameter of the circle that the field of view is part of, in pixels.
        is_round: whether there is such a circle; otherwise the scale is unknown.
        num_fields: number of fields of view in the image; the others are ignored.
        warnings: reasons why the result may be wrong; empty for an ordinary fundus image.
    """

    structures: tuple[str, ...]
    probabilities: np.ndarray
    masks: np.ndarray
    threshold: float
    fov: np.ndarray
    fov_origin: str
    fov_diameter_px: float
    warnings: tuple[str, ...]
    is_round: bool = True
    num_fields: int = 1

    def mask(self, structure: str | None = None) -> np.ndarray:
        """The mask of one structure, (h, w) bool; the name may be left out where there is one.

        Raises:
            ConfigError: the network knows no such structure.
        """
        mask: np.ndarray = self.masks[self._channel(structure)]
        return mask

    def probability(self, structure: str | None = None) -> np.ndarray:
        """The probability of one structure, (h, w) float32 from 0 to 1.

        Raises:
            ConfigError: the network knows no such structure.
        """
        probability: np.ndarray = self.probabilities[self._channel(structure)]
        return probability

    def _channel(self, structure: str | None) -> int:
        if structure is None and len(self.structures) == 1:
            return 0
        if structure not in self.structures:
            raise ConfigError(
                f"structure={structure}: the network predicts {', '.join(self.structures)}"
            )
        return self.structures.index(structure)


class SegmentationNetwork:
    """One trained network or an ensemble, with all that its masks depend on.

    Attributes:
        members: the checkpoints.
        predictor: the networks themselves, on their device.
        threshold: the probability from which a pixel counts, and how it was chosen.
        data: how images are prepared; the data config of the first checkpoint.
    """

    def __init__(
        self,
        members: Sequence[Checkpoint],
        predictor: Predictor,
        threshold: Threshold,
        data: DataConfig,
    ) -> None:
        self.members = tuple(members)
        self.predictor = predictor
        self.threshold = threshold
        self.data = data

    @classmethod
    def load(
        cls,
        checkpoints: Sequence[str],
        *,
        device: Device = Device.auto,
        precision: Precision | None = None,
        threshold: float | None = None,
        tta: bool | None = None,
        model: Any = None,
    ) -> Self:
        """Read checkpoints and build their networks.

        Args:
            checkpoints: checkpoint files, or run folders that stand for their best one.
            device: where to compute.
            precision: of the networks' products; None: as in training.
            threshold: the probability from which a pixel counts; None: the one that training chose,
                of several networks the mean.
            tta: average over four flips of each image; None: as in training.
            model: the module of a network that was given to training from Python; its weights are
                replaced in a copy.

        Raises:
            ConfigError: there is no such file.
            DataError: a checkpoint cannot be used, or the members cannot be averaged.
        """
        members = [checkpoint.load(path, model) for path in checkpoint_paths(checkpoints)]
        predictor = ensemble_of(members, choose_device(device), precision, tta)
        own = shared_threshold(members)
        given = own if threshold is None else Threshold(float(threshold), "given")
        return cls(members, predictor, given, members[0].config.data)

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures that the network predicts."""
        return tuple(self.data.structures)

    def seeing(
        self, *, fov_angle_deg: float | None = None, max_megapixels: float | None = None
    ) -> Self:
        """The same network for images of a camera with another angle, or of another size limit.

        Args:
            fov_angle_deg: angle that the camera shows, in degrees; None: that of the training
                images.
            max_megapixels: larger images are refused; None: as in training.

        Raises:
            ConfigError: the members were trained on cameras of different angles, so that none can
                be assumed; or an angle is given to a network that works at native size, where it
                has no effect.
        """
        data = replace(
            self.data,
            max_megapixels=max_megapixels or self.data.max_megapixels,
            fov_angle_deg=self._angle_deg(fov_angle_deg),
        )
        return type(self)(self.members, self.predictor, self.threshold, data)

    def _angle_deg(self, given: float | None) -> float | None:
        first = self.members[0].config.data
        if first.fov_diameter_px is None:
            if given is not None:
                raise ConfigError(
                    f"fov_angle_deg={given:g}: {self.members[0].path} works at the images' own "
                    "size, whatever their camera shows; leave it out"
                )
            return first.fov_angle_deg
        angles = sorted({saved.config.data.angle_deg for saved in self.members})
        if given is None and len(angles) > 1:
            shown = " and ".join(f"{angle:g}" for angle in angles)
            raise ConfigError(
                f"fov_angle_deg: the checkpoints were trained on cameras of {shown} degrees; say "
                f"what these images show, as in fov_angle_deg={angles[-1]:g}"
            )
        return given or first.fov_angle_deg

    def read(self, path: Path, fov_path: Path | None = None, name: str = "") -> PreparedImage:
        """Decode an image file and prepare it for the network.

        Args:
            path: the image file.
            fov_path: its field-of-view mask; None: the field of view is found in the image.
            name: for messages; the file's name by default.

        Raises:
            UnusableFile: one of the two files cannot be used.
        """
        image, pixels = read_for_prediction(name or path.name, path, fov_path, self.data)
        return _prepared(image, pixels)

    def prepare(self, pixels: np.ndarray, fov: np.ndarray | None = None) -> PreparedImage:
        """Prepare an image that is in memory.

        Args:
            pixels: (h, w, 3) uint8, RGB, upright.
            fov: (h, w) bool, the field of view; None: it is found in the image.

        Raises:
            DataError: the arrays have other shapes or dtypes, or the image is all black.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise DataError(
                f"image: an array of shape {pixels.shape} and type {pixels.dtype}; expected "
                "(h, w, 3) and uint8, RGB"
            )
        if fov is not None and (fov.shape != pixels.shape[:2] or fov.dtype != np.bool_):
            raise DataError(
                f"fov: an array of shape {fov.shape} and type {fov.dtype}; expected "
                f"{pixels.shape[:2]} and bool"
            )
        image = prepare_pixels("image", pixels, fov, self.data)
        return _prepared(image, pixels)

    def predict_prepared(self, prepared: PreparedImage) -> Prediction:
        """What the network finds in an image that was read or prepared before."""
        image = prepared.fundus_image
        probabilities = self.predictor.probability(image)
        return Prediction(
            structures=self.structures,
            probabilities=probabilities,
            masks=probabilities >= np.float32(self.threshold.value),
            threshold=self.threshold.value,
            fov=image.native_fov.unpack()[0],
            fov_origin=image.fov_origin,
            fov_diameter_px=image.fov_diameter_px,
            warnings=prepared.warnings,
            is_round=image.is_round,
            num_fields=image.num_fields,
        )

    def predict(
        self,
        image: "str | Path | Image.Image | np.ndarray",
        fov: "str | Path | np.ndarray | None" = None,
    ) -> Prediction:
        """Segment one image.

        Args:
            image: a file, a PIL image, or an (h, w, 3) uint8 RGB array.
            fov: the field of view, as a mask file where `image` is a file, otherwise as an (h, w)
                bool array; None: it is found in the image.

        Returns:
            Masks and probabilities at the image's own size.

        Raises:
            DataError: the image or the mask cannot be used.
        """
        if isinstance(image, str | Path):
            if isinstance(fov, np.ndarray):
                raise DataError("fov: an array; for an image file give the mask's file")
            path, fov_path = Path(image).expanduser(), fov and Path(fov).expanduser()
            try:
                prepared = self.read(path, fov_path or None)
            except UnusableFile as error:
                raise DataError(str(error).strip()) from error
            return self.predict_prepared(prepared)
        if isinstance(image, Image.Image):
            image = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        if isinstance(fov, str | Path):
            raise DataError(f"fov={fov}: a file; for an image in memory give an (h, w) bool array")
        return self.predict_prepared(self.prepare(np.ascontiguousarray(image), fov))


def _prepared(image: FundusImage, pixels: np.ndarray) -> PreparedImage:
    warnings = tuple(quality_warnings(image, pixels))
    return PreparedImage(fundus_image=image, pixels=pixels, warnings=warnings)
