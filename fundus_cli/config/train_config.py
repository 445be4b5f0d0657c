"""Keys of fundus-train: network, loss, optimizer, schedule, augmentation, the run."""

import math
from dataclasses import dataclass
from enum import Enum

from fundus_cli.config.base import Device, Precision, require, require_threshold
from fundus_cli.config.data_config import DataConfig


class ModelName(Enum):
    unet = "unet"
    wnet = "wnet"


class LossName(Enum):
    bce = "bce"
    bce_dice = "bce_dice"


class OptimizerName(Enum):
    adam = "adam"
    adamw = "adamw"
    muon = "muon"
    sgd = "sgd"


class SchedulerName(Enum):
    constant = "constant"
    cosine = "cosine"
    onecycle = "onecycle"


class TrackerName(Enum):
    none = "none"
    tensorboard = "tensorboard"


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The network."""

    name: ModelName
    base_channels: int
    """Channels of the first level; each level doubles them."""
    depth: int
    """How often the image is halved."""
    prior_bias: bool
    """Start the last bias at the log-odds of each structure in train instead of PyTorch's draw."""

    def __post_init__(self) -> None:
        require(
            1 <= self.base_channels <= 512, "model.base_channels", self.base_channels, "1 to 512"
        )
        require(1 <= self.depth <= 7, "model.depth", self.depth, "1 to 7")


@dataclass(kw_only=True, slots=True)
class LossConfig:
    """The loss, computed inside the field of view."""

    name: LossName
    dice_weight: float = 0.0
    """Share of soft Dice in bce_dice; the rest is binary cross-entropy."""

    def __post_init__(self) -> None:
        require(0 <= self.dice_weight <= 1, "loss.dice_weight", self.dice_weight, "0 to 1")


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """The optimizer."""

    name: OptimizerName
    lr: float
    """Learning rate; the peak where a schedule changes it."""
    weight_decay: float
    momentum: float = 0.0
    """For muon and sgd only."""

    def __post_init__(self) -> None:
        require(0 < self.lr < math.inf, "optimizer.lr", self.lr, "a number above 0")
        require(
            0 <= self.weight_decay < math.inf,
            "optimizer.weight_decay",
            self.weight_decay,
            "0 or more",
        )
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "0 to below 1")


@dataclass(kw_only=True, slots=True)
class SchedulerConfig:
    """The learning rate as a function of the step."""

    name: SchedulerName
    warmup_fraction: float = 0.0
    """Share of all steps over which the learning rate rises to its peak."""
    final_fraction: float = 0.0
    """Learning rate of the last step as a share of the peak."""

    def __post_init__(self) -> None:
        require(
            0 <= self.warmup_fraction < 1,
            "scheduler.warmup_fraction",
            self.warmup_fraction,
            "0 to below 1",
        )
        require(
            0 <= self.final_fraction <= 1,
            "scheduler.final_fraction",
            self.final_fraction,
            "0 to 1",
        )


@dataclass(kw_only=True, slots=True)
class AugmentConfig:
    """Random changes of the training patches."""

    flips: bool
    """Mirror left-right and up-down, each half of the time."""
    rotation_deg: float
    """Turn by an angle drawn evenly from -this to +this."""
    scale: float
    """Zoom by a factor drawn (on a log scale) from 1/(1+this) to 1+this."""
    zoom: float = 1.0
    """The zoom around which others are drawn; below 1 what is learned on is smaller than what is
    seen later."""
    brightness: float
    """Add up to +-this (in units of full scale) to all channels."""
    contrast: float
    """Multiply all channels by 1/(1+this) to 1+this around the image's mean."""
    colour: float
    """Multiply each channel on its own by 1/(1+this) to 1+this."""
    detail: float = 0.0
    """Multiply what differs from the surroundings by 1/(1+this) to 1+this."""
    illumination: float = 0.0
    """Multiply by a light that varies slowly over the patch, from exp(-this) to exp(this)."""
    sharpness: float = 0.0
    """Blur or sharpen: add -this to +this times the difference to a blurred copy."""
    blur_px: float = 0.0
    """Blur every other patch by a Gaussian of a standard deviation up to this (pixels)."""
    grey: float = 0.0
    """Move the channels up to this share towards one grey picture, mixed at random from them."""
    noise: float = 0.0
    """Add noise of a standard deviation up to this (in units of full scale)."""

    def __post_init__(self) -> None:
        require(
            0 <= self.rotation_deg <= 180, "augment.rotation_deg", self.rotation_deg, "0 to 180"
        )
        for key in ("scale", "brightness", "contrast", "colour", "detail", "illumination"):
            value = getattr(self, key)
            require(0 <= value <= 4, f"augment.{key}", value, "0 to 4")
        require(0.25 <= self.zoom <= 4, "augment.zoom", self.zoom, "0.25 to 4")
        require(0 <= self.blur_px <= 16, "augment.blur_px", self.blur_px, "0 to 16")
        for key in ("sharpness", "noise", "grey"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"augment.{key}", value, "0 to 1")


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """Everything that fundus-train can be told."""

    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    augment: AugmentConfig
    seed: int
    epochs: int
    batch_size: int
    device: Device
    precision: Precision
    threshold: int | float | str
    """Probability from which a pixel counts; `auto`: the best Dice on val, without one on train."""
    ema_decay: float
    """Share of the average of the weights that each step keeps; 0: the last weights are scored."""
    tta: bool
    """Average the four mirrored versions of each image when scoring at the end."""
    overlays: int
    """How many test images are drawn with hits, misses and false alarms."""
    tracker: TrackerName
    """Where the epochs are told beside log.csv and report.html."""
    output: str
    """The run folder."""
    resume: str | None
    """null: start anew; auto: continue what `output` holds, or start when it is empty."""
    overwrite: bool
    """Move an earlier run in `output` aside before starting."""
    save_every_min: float
    """Minutes between checkpoints inside an epoch."""
    compile: bool = False
    """Train with torch.compile; where that is not possible, without."""
    init_from: str | None = None
    """A checkpoint, or the run folder that holds it, whose weights the run begins with."""

    def __post_init__(self) -> None:
        require(self.resume in (None, "auto"), "resume", self.resume, "null or auto")
        require(
            self.resume is None or not self.overwrite,
            "overwrite",
            self.overwrite,
            "false when resume=auto",
        )
        require(self.save_every_min > 0, "save_every_min", self.save_every_min, "above 0")
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 or more")
        require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require_threshold(self.threshold, ("auto",))
        require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "0 to below 1")
        require(self.overlays >= 0, "overlays", self.overlays, "0 or more")
        require(
            not (self.compile and self.data.patch_px is None),
            "compile",
            self.compile,
            "false where data.patch_px=null, because every batch has another size",
        )
        require(bool(self.output.strip()), "output", self.output, "a folder's name")
        require(
            self.init_from is None or bool(self.init_from.strip()),
            "init_from",
            self.init_from,
            "a checkpoint, a run folder, or null",
        )
