"""Keys of fundus-predict."""

from dataclasses import dataclass
from typing import Any

from fundus_cli.config.base import (
    MAX_TIMEOUT_S,
    Device,
    Precision,
    checkpoint_names,
    require,
    require_threshold,
)
from fundus_cli.config.patterns import is_quick_template


@dataclass(kw_only=True, slots=True)
class PredictConfig:
    """The config of fundus-predict."""

    checkpoint: Any
    """One file or run folder, or a list of them."""
    input: str
    """An image, a folder of images or a pattern."""
    output: str
    fov: str | None
    """Field-of-view masks: a folder or a template; without a mask the field of view is detected."""
    fov_angle_deg: float | None
    """Angle of the camera's field of view in degrees; null: that of the training images."""
    probability: bool
    """Write probabilities as 16-bit PNG."""
    overlay: bool
    """Write overlays of the predicted structures on the images."""
    fov_mask: bool
    """Write the field of view as a mask."""
    overwrite: bool
    threshold: int | float | str
    """Probability from which a pixel counts; `checkpoint`: the threshold that training chose, of
    several checkpoints the mean."""
    tta: bool | None
    """Test-time augmentation: average over four flips of each image; null: as in training."""
    device: Device
    precision: Precision | None
    """Precision of the network; null: as in training."""
    max_megapixels: float | None
    timeout_s: float
    """Timeout in seconds for finding the images and for reading one of them."""

    def __post_init__(self) -> None:
        checkpoint_names(self.checkpoint)
        require_threshold(self.threshold, ("checkpoint",))
        require(bool(self.input.strip()), "input", self.input, "an image, folder or pattern")
        require(bool(self.output.strip()), "output", self.output, "a folder's name")
        require(self.fov is None or bool(self.fov.strip()), "fov", self.fov, "null or a path")
        require(
            self.fov is None or "{id}" not in self.fov.replace("\\", "/").rpartition("/")[0],
            "fov",
            self.fov,
            "a folder, or a path with {id} in its file name only",
        )
        require(
            self.fov is None or is_quick_template(self.fov),
            "fov",
            self.fov,
            "a folder, or a path with at most two * in its file name",
        )
        require(
            self.fov_angle_deg is None or 10 <= self.fov_angle_deg <= 220,
            "fov_angle_deg",
            self.fov_angle_deg,
            "null or 10 to 220",
        )
        require(
            self.max_megapixels is None or 0 < self.max_megapixels <= 1000,
            "max_megapixels",
            self.max_megapixels,
            "null or 0 to 1000",
        )
        require(0 < self.timeout_s <= MAX_TIMEOUT_S, "timeout_s", self.timeout_s, "above 0, to 1e6")

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoints' names."""
        return checkpoint_names(self.checkpoint)
