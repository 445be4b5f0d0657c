"""Keys of the group `data`: files, splits, and how images become samples."""

from dataclasses import dataclass, field
from enum import Enum

from fundus_cli.config.base import MAX_TIMEOUT_S, require, require_name, require_texts
from fundus_cli.config.patterns import (
    QUICK_EXPRESSION,
    is_quick_expression,
    is_quick_template,
)

REFERENCE_ANGLE_DEG = 45.0
"""The most common field of view of a fundus camera, to which data.fov_diameter_px refers."""


class Normalisation(Enum):
    unit = "unit"
    fov = "fov"
    local = "local"


class OnBad(Enum):
    stop = "stop"
    skip = "skip"


class MaskChannel(Enum):
    colour = "colour"
    alpha = "alpha"


@dataclass(kw_only=True, slots=True)
class SplitConfig:
    """The files of one split, as path templates below data.root with one {id}."""

    image: str
    """The image. `*` as the extension stands for any supported image format."""
    targets: dict[str, str]
    """One mask per structure: name of the structure -> template. The names order the channels."""
    fov: str | None = None
    """The field-of-view mask; without one, the field of view is detected in the image."""
    fov_optional: bool = False
    """If no field-of-view mask exists at all, detect the field of view in the images."""
    observer2: dict[str, str] = field(default_factory=dict)
    """Masks of a second annotator, which are scored like the network."""
    ids: list[str] = field(default_factory=lambda: ["*"])
    """The {id}s of the split: names or shell patterns; empty: all."""

    def __post_init__(self) -> None:
        require_texts(self.targets.values(), "data.<split>.targets")
        require_texts(self.observer2.values(), "data.<split>.observer2")
        require_texts(self.ids, "data.<split>.ids")
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
            require(
                is_quick_template(template),
                f"data.<split>.{key}",
                template,
                "a path with fewer * (more than three * or {id} between two slashes are slow)",
            )
        require(bool(self.targets), "data.<split>.targets", self.targets, "at least one structure")
        for structure in self.targets:
            require_name(structure, "data.<split>.targets")
        require(
            set(self.observer2) <= set(self.targets),
            "data.<split>.observer2",
            sorted(self.observer2),
            f"among the structures {sorted(self.targets)}",
        )


@dataclass(kw_only=True, slots=True)
class DemoConfig:
    """Settings of the synthetic images of data=demo."""

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
    """The data set: its files, its splits, and how images become samples."""

    name: str
    """Name of the preset, for reports."""
    root: str | None
    """Folder of the data set."""
    train: SplitConfig
    test: SplitConfig | None
    """The test split; null: there is none, or its labels are withheld."""
    person: str | None
    """Regular expression whose first group is the person in an id, so that both eyes of a person
    stay
    in one split."""
    val_fraction: float
    """Share of the training persons held out to choose the checkpoint and the threshold."""
    folds: int | None
    """Number of folds into which train is divided; `fold` is held out for validation."""
    fold: int
    fov_diameter_px: int | None
    """Images are scaled so that a field of view of 45 degrees has this diameter, and one of another
    angle a proportional one; null keeps the native size."""
    patch_px: int | None
    """Side of the random training patches in pixels; null: train on whole images."""
    patches_per_epoch: int
    """Training patches per epoch, distributed evenly over the images."""
    patches_per_image: int | None
    """Training patches per image and epoch instead; null: patches_per_epoch decides."""
    normalisation: Normalisation
    """unit: grey levels / 255; fov: standardised per channel inside the field of view; local:
    standardised by the mean and deviation around each pixel."""
    on_bad: OnBad
    """For a file that cannot be used: stop before training, or skip it and record its name."""
    allow_change: bool
    """Resume although files of the data set have changed since the run started."""
    mask_channel: MaskChannel
    """The channel that holds the shape of a mask with transparency."""
    mask_threshold: float | None
    """Share of full scale (0 to 1) from which a grey pixel of a mask counts; null refuses grey
    masks."""
    mask_foreground: list[str]
    """Grey levels or #rrggbb colours that count as the structure; all others are background."""
    max_megapixels: float
    """Images with more megapixels are refused before they are decoded."""
    demo: DemoConfig | None
    allow_odd_masks: bool = False
    """Train although every mask of train is empty, or covers more than half of the field of
    view."""
    fov_angle_deg: float | None = None
    """Angle of the camera's field of view in degrees; null: 45."""
    timeout_s: float = 300.0
    """Timeout in seconds for listing the folder and for reading one image with its masks."""
    cache_gb: float = 4.0
    """Gigabytes of decoded images kept in memory; the rest is kept in a temporary file."""

    def __post_init__(self) -> None:
        require_name(self.name, "data.name")
        require(
            self.root is None or bool(self.root.strip()),
            "data.root",
            self.root,
            "a folder (data.root=. is the working folder)",
        )
        require_texts(self.mask_foreground, "data.mask_foreground")
        require(self.cache_gb >= 0, "data.cache_gb", self.cache_gb, "0 or more")
        require(
            0 < self.timeout_s <= MAX_TIMEOUT_S, "data.timeout_s", self.timeout_s, "above 0, to 1e6"
        )
        require(0 <= self.val_fraction < 1, "data.val_fraction", self.val_fraction, "0 to below 1")
        require(
            self.person is None or is_quick_expression(self.person),
            "data.person",
            self.person,
            f"null or {QUICK_EXPRESSION}",
        )
        require(self.folds is None or self.folds >= 2, "data.folds", self.folds, "null or 2 and up")
        require(
            0 <= self.fold < (self.folds or 1),
            "data.fold",
            self.fold,
            f"0 to {self.folds - 1} with data.folds={self.folds}"
            if self.folds
            else "0 without data.folds; add data.folds=5 for five folds",
        )
        require(
            self.fov_diameter_px is None or 32 <= self.fov_diameter_px <= 8192,
            "data.fov_diameter_px",
            self.fov_diameter_px,
            "null or 32 to 8192",
        )
        require(
            self.fov_angle_deg is None or 10 <= self.fov_angle_deg <= 220,
            "data.fov_angle_deg",
            self.fov_angle_deg,
            "null or 10 to 220",
        )
        require(
            self.patch_px is None or 16 <= self.patch_px <= 4096,
            "data.patch_px",
            self.patch_px,
            "null or 16 to 4096",
        )
        require(
            self.patches_per_epoch >= 1,
            "data.patches_per_epoch",
            self.patches_per_epoch,
            "1 or more",
        )
        require(
            self.patches_per_image is None or self.patches_per_image >= 1,
            "data.patches_per_image",
            self.patches_per_image,
            "null or 1 and up",
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
    def angle_deg(self) -> float:
        """Angle of the camera's field of view, given or assumed."""
        return self.fov_angle_deg or REFERENCE_ANGLE_DEG

    @property
    def working_diameter_px(self) -> int | None:
        """Diameter of the field of view at working resolution; None: native size.

        In a camera with 30 degrees a vessel fills half again as large a share of the field of view
        as with 45 degrees. So that a pixel covers the same piece of retina for both, the diameter
        is `fov_diameter_px` at 45 degrees and proportional to the angle otherwise.
        """
        if self.fov_diameter_px is None:
            return None
        return max(1, round(self.fov_diameter_px * self.angle_deg / REFERENCE_ANGLE_DEG))

    @property
    def structures(self) -> list[str]:
        """Names of the structures in the order of the channels."""
        return list(self.train.targets)
