"""Keys of fundus-eval."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from fundus_cli.config.base import Device, Precision, checkpoint_names, require, require_threshold
from fundus_cli.config.data_config import DataConfig


class EvalSplit(Enum):
    train = "train"
    val = "val"
    test = "test"
    all = "all"


@dataclass(kw_only=True, slots=True)
class EvalConfig:
    """The config of fundus-eval."""

    checkpoint: Any
    """A checkpoint file or run folder, or a list of them."""
    data: DataConfig
    """What to score; the checkpoint's own data set unless data=... or data.<key>=... is given."""
    split: EvalSplit
    device: Device
    precision: Precision | None
    """Precision of the network; null: as in training."""
    threshold: int | float | str
    """Probability from which a pixel counts; `checkpoint`: the threshold that training chose."""
    tta: bool | None
    """Test-time augmentation: average over four flips of each image; null: as in training."""
    shape_metrics: bool
    """Compute clDice, outline distances and scores by width; about 3 s per large image."""
    overlays: int
    output: str

    def __post_init__(self) -> None:
        require_threshold(self.threshold, ("checkpoint",))
        require(self.overlays >= 0, "overlays", self.overlays, "0 or more")
        require(bool(self.output.strip()), "output", self.output, "a folder's name")
        checkpoint_names(self.checkpoint)

    @property
    def checkpoints(self) -> list[str]:
        """The names given, one or several."""
        return checkpoint_names(self.checkpoint)
