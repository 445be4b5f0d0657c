"""Every key of the programs: its type, its allowed values and its range.

YAML files in configs/ choose values; nothing in YAML or in a checkpoint names code. A range or a
cross-field rule that is broken raises ConfigError with the dotted key, the value found, what is
allowed. Defaults live in the YAML files, so that each value is written once.
"""

import math
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum

from fundus_cli.errors import ConfigError


class ModelName(Enum):
    unet = "unet"


class LossName(Enum):
    bce = "bce"
    bce_dice = "bce_dice"


class OptimizerName(Enum):
    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"


class SchedulerName(Enum):
    constant = "constant"
    cosine = "cosine"
    onecycle = "onecycle"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Normalisation(Enum):
    unit = "unit"
    fov = "fov"


class OnBad(Enum):
    stop = "stop"
    skip = "skip"


class MaskChannel(Enum):
    colour = "colour"
    alpha = "alpha"


class EvalSplit(Enum):
    train = "train"
    val = "val"
    test = "test"
    all = "all"


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Raise ConfigError unless `holds`; NaN never holds because comparisons with it are False."""
    if not holds:
        raise ConfigError(f"{key}={value}: must be {allowed}")


@dataclass(kw_only=True, slots=True)
class SplitConfig:
    """Where the files of one split lie, as path templates below data.root with one {id}."""

    image: str
    """The photograph. `*` as the ending stands for any image type that can be read."""
    targets: dict[str, str]
    """One mask per structure: name of the structure -> template. The names order the channels."""
    fov: str | None = None
    """The field-of-view mask, where the set has one; otherwise it is found in the photograph."""
    observer2: dict[str, str] = field(default_factory=dict)
    """A second observer's masks, scored beside the network."""
    ids: list[str] = field(default_factory=lambda: ["*"])
    """Which {id}s belong to the split: names or shell patterns; `*` takes all."""

    def __post_init__(self) -> None:
        named = {"image": self.image, "fov": self.fov}
        named |= {f"targets.{name}": template for name, template in self.targets.items()}
        named |= {f"observer2.{name}": template for name, template in self.observer2.items()}
        for key, template in named.items():
            if template is None:
                continue
            require(
                template.rpartition("/")[2].count("{id}") == 1,
                f"data.<split>.{key}",
                template,
                "a path below data.root with one {id} in its file name",
            )
            require(
                not template.startswith("/") and ".." not in template.split("/"),
                f"data.<split>.{key}",
                template,
                "a path that stays below data.root",
            )
        require(bool(self.targets), "data.<split>.targets", self.targets, "at least one structure")
        require(
            set(self.observer2) <= set(self.targets),
            "data.<split>.observer2",
            sorted(self.observer2),
            f"among the structures {sorted(self.targets)}",
        )


@dataclass(kw_only=True, slots=True)
class DemoConfig:
    """The generated data set of data=demo."""

    train: int
    test: int
    size_px: int
    seed: int

    def __post_init__(self) -> None:
        require(self.train >= 1, "data.demo.train", self.train, "at least 1")
        require(self.test >= 1, "data.demo.test", self.test, "at least 1")
        require(64 <= self.size_px <= 2048, "data.demo.size_px", self.size_px, "64 to 2048")
        require(0 <= self.seed < 2**63, "data.demo.seed", self.seed, "0 or more")


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Files -> samples."""

    name: str
    """The preset's name, for reports."""
    root: str | None
    """The data set's folder."""
    train: SplitConfig
    test: SplitConfig | None
    """null: there is no test split, or its labels are withheld."""
    person: str | None
    """Regular expression whose first group reads the person from an id: both eyes together."""
    val_fraction: float
    """Share of the persons of train that is held out to choose the checkpoint and the threshold."""
    folds: int | None
    """k: cut train into k folds; `fold` is held out for validation."""
    fold: int
    fov_diameter_px: int | None
    """Photographs are scaled until the field of view has this diameter; null keeps native size."""
    patch_px: int | None
    """Side of the random training patches; null trains on whole photographs."""
    patches_per_image: int
    """Training patches per photograph and epoch; whole photographs are always taken once."""
    normalisation: Normalisation
    """unit: grey levels / 255; fov: then zero mean, unit deviation per channel inside the FOV."""
    on_bad: OnBad
    """What to do with a file that cannot be used: stop before training, or skip and record it."""
    allow_change: bool
    """Resume even though files of the data set are not those the run began with."""
    mask_channel: MaskChannel
    """Where a mask with an alpha channel keeps its shape."""
    mask_threshold: float | None
    """Share of full scale (0 to 1) above which a grey mask counts; null refuses grey masks."""
    mask_foreground: list[str]
    """Grey levels or #rrggbb colours that count as the structure, all others being background."""
    max_megapixels: float
    """Photographs with more pixels are refused before they are decoded."""
    demo: DemoConfig | None

    def __post_init__(self) -> None:
        require(0 <= self.val_fraction < 1, "data.val_fraction", self.val_fraction, "0 to below 1")
        require(self.folds is None or self.folds >= 2, "data.folds", self.folds, "null or 2 and up")
        require(
            0 <= self.fold < (self.folds or 1),
            "data.fold",
            self.fold,
            f"0 to {(self.folds or 1) - 1} with data.folds={self.folds}",
        )
        require(
            self.fov_diameter_px is None or 32 <= self.fov_diameter_px <= 8192,
            "data.fov_diameter_px",
            self.fov_diameter_px,
            "null or 32 to 8192",
        )
        require(
            self.patch_px is None or 16 <= self.patch_px <= 4096,
            "data.patch_px",
            self.patch_px,
            "null or 16 to 4096",
        )
        require(
            self.patches_per_image >= 1,
            "data.patches_per_image",
            self.patches_per_image,
            "1 or more",
        )
        require(
            self.mask_threshold is None or 0 < self.mask_threshold < 1,
            "data.mask_threshold",
            self.mask_threshold,
            "null or between 0 and 1",
        )
        require(
            self.mask_threshold is None or not self.mask_foreground,
            "data.mask_threshold",
            self.mask_threshold,
            "null when data.mask_foreground is given",
        )
        require(
            0 < self.max_megapixels <= 1000, "data.max_megapixels", self.max_megapixels, "0 to 1000"
        )
        if self.test is not None:
            require(
                list(self.test.targets) == list(self.train.targets),
                "data.test.targets",
                list(self.test.targets),
                f"the structures of data.train.targets, {list(self.train.targets)}",
            )

    @property
    def structures(self) -> list[str]:
        """Names of the structures in channel order."""
        return list(self.train.targets)


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
    """For sgd only."""

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
    brightness: float
    """Add up to +-this (in units of full scale) to all channels."""
    contrast: float
    """Multiply all channels by 1/(1+this) to 1+this around the photograph's mean."""
    colour: float
    """Multiply each channel on its own by 1/(1+this) to 1+this."""

    def __post_init__(self) -> None:
        require(
            0 <= self.rotation_deg <= 180, "augment.rotation_deg", self.rotation_deg, "0 to 180"
        )
        for key in ("scale", "brightness", "contrast", "colour"):
            value = getattr(self, key)
            require(0 <= value <= 4, f"augment.{key}", value, "0 to 4")


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
    """Probability from which a pixel counts; `val`: the best on the val split, 0.5 without one."""
    overlays: int
    """How many test photographs are drawn with hits, misses and false alarms."""
    output: str
    """The run folder."""
    resume: str | None
    """null: start anew; auto: continue what `output` holds, or start when it is empty."""
    overwrite: bool
    """Move an earlier run in `output` aside before starting."""
    save_every_min: float
    """Minutes between checkpoints inside an epoch."""

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
        require_threshold(self.threshold, ("val",))
        require(self.overlays >= 0, "overlays", self.overlays, "0 or more")
        require(bool(self.output.strip()), "output", self.output, "a folder's name")


@dataclass(kw_only=True, slots=True)
class EvalConfig:
    """Everything that fundus-eval can be told."""

    checkpoint: str
    data: DataConfig
    """As in the checkpoint, unless data=... or data.<key>=... says otherwise."""
    split: EvalSplit
    device: Device
    precision: Precision | None
    """null: as in training."""
    threshold: int | float | str
    """`checkpoint`: the one that training chose."""
    overlays: int
    output: str

    def __post_init__(self) -> None:
        require_threshold(self.threshold, ("checkpoint",))
        require(self.overlays >= 0, "overlays", self.overlays, "0 or more")
        require(bool(self.checkpoint.strip()), "checkpoint", self.checkpoint, "a checkpoint file")
        require(bool(self.output.strip()), "output", self.output, "a folder's name")


def require_threshold(value: float | str, words: tuple[str, ...]) -> None:
    """A threshold is a probability strictly between 0 and 1, or one of `words`."""
    holds = value in words if isinstance(value, str) else 0 < value < 1
    allowed = " or ".join(["a number between 0 and 1", *words])
    require(holds, "threshold", value, allowed)


def to_plain(config: object) -> object:
    """Dataclasses, enums and containers as dict, list, str, int, float, bool and None."""
    if is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_plain(getattr(config, f.name)) for f in fields(config)}
    if isinstance(config, Enum):
        return config.value
    if isinstance(config, dict):
        return {str(key): to_plain(value) for key, value in config.items()}
    if isinstance(config, list):
        return [to_plain(value) for value in config]
    return config
