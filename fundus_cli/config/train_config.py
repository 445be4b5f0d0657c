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
    """Number of times the image is downsampled by 2."""
    prior_bias: bool
    """Initialise the last bias at the log-odds of each structure in train."""

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
    """Momentum of muon and sgd; the others ignore it."""

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
    """The learning-rate schedule."""

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
    """Random augmentation of the training patches."""

    flips: bool
    """Flip left-right and up-down, each with probability 1/2."""
    rotation_deg: float
    """Rotate by an angle uniform in -this to +this."""
    scale: float
    """Zoom by a factor log-uniform in 1/(1+this) to 1+this."""
    zoom: float = 1.0
    """Centre of the random zoom range. Below 1, structures are smaller in training patches than at
    inference."""
    brightness: float
    """Add a value in -this to +this (1: full scale) to all channels."""
    contrast: float
    """Multiply all channels by 1/(1+this) to 1+this around the image's mean."""
    colour: float
    """Multiply each channel on its own by 1/(1+this) to 1+this."""
    detail: float = 0.0
    """Multiply the local contrast by 1/(1+this) to 1+this."""
    illumination: float = 0.0
    """Multiply by an illumination that varies slowly over the patch, from exp(-this) to
    exp(this)."""
    sharpness: float = 0.0
    """Blur or sharpen: add -this to +this times the difference to a blurred copy."""
    blur_px: float = 0.0
    """Blur half of the patches with a Gaussian of a standard deviation up to this (pixels)."""
    grey: float = 0.0
    """Mix the channels by up to this share with a random weighted average of them."""
    noise: float = 0.0
    """Add noise of a standard deviation up to this (1: full scale)."""

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
    """The config of fundus-train."""

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
    """Probability from which a pixel counts; `auto`: best Dice on val, or on train without val."""
    ema_decay: float
    """Decay of the EMA of the weights, which is scored; 0: score the last weights."""
    tta: bool
    """Test-time augmentation: average over four flips of each image when scoring at the end."""
    overlays: int
    """Number of the worst test images to write overlays of (TP, FN and FP in colours)."""
    tracker: TrackerName
    """Experiment tracker, in addition to log.csv and report.html."""
    output: str
    """The run folder."""
    resume: str | None
    """null: start a new run; auto: continue the run in `output`, or start one if there is none."""
    overwrite: bool
    """Move an earlier run in `output` aside before starting."""
    save_every_min: float
    """Minutes between checkpoints inside an epoch."""
    check_masks: bool = True
    """Compare some masks with their images before training, and warn of those that do not fit."""
    compile: bool = False
    """Train with torch.compile where possible."""
    init_from: str | None = None
    """A checkpoint, or its run folder, from which to initialise the weights (fine-tuning)."""

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
