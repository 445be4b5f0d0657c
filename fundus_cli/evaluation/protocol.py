"""What a score depends on beside the weights, written beside every number."""

from dataclasses import dataclass
from typing import Any

REGIONS = ("fov", "whole")
"""Pixels inside the field of view; every pixel of the image, the dark corners included."""

AGGREGATION = (
    "pooled: counts and pixels of all images taken together, then divided once; per_image: "
    "mean and sample deviation over images; interval_95: percentiles of the pooled value over "
    "2000 sets of images drawn with replacement"
)

WHERE = {
    "fov": "pixels inside the field of view only",
    "whole": "every pixel, the dark surround included",
}
ORIGIN = {
    "val": "chosen for the best Dice on validation images",
    "train": "chosen for the best Dice on the training images, not mirrored",
    "fixed": "fixed beforehand",
    "given": "given by hand for this evaluation",
    "mean of members": "the mean of the members' own thresholds",
}
"""Where a threshold can come from; the images being scored are not among it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What a score depends on.

    Attributes:
        data: name of the data set.
        split: which of its images.
        num_images: how many.
        threshold: probability from which a pixel counts.
        threshold_origin: a key of ORIGIN.
        checkpoint_rule: how the epoch of the weights was chosen.
        trained_on: name of the data set that the weights learned from, and what else they did.
        num_models: networks whose predictions are averaged.
        tta: whether predictions are averaged over the four mirrored versions; None where only
            some members of an ensemble do.
        dtype: number format of the network.
    """

    data: str
    split: str
    num_images: int
    threshold: float
    threshold_origin: str
    checkpoint_rule: str
    trained_on: str
    num_models: int
    tta: bool | None
    dtype: str

    def to_plain(self, region: str) -> dict[str, Any]:
        """The protocol of one table of metrics.json."""
        return {
            "region": region,
            "size": "native",
            "split": self.split,
            "num_images": self.num_images,
            "threshold": self.threshold,
            "threshold_origin": self.threshold_origin,
            "aggregation": AGGREGATION,
            "checkpoint_rule": self.checkpoint_rule,
            "trained_on": self.trained_on,
            "num_models": self.num_models,
            "tta": self.tta,
            "dtype": self.dtype,
            "protocol": self.sentence(region),
        }

    def sentence(self, region: str) -> str:
        """The protocol in one sentence that can go into a paper."""
        fundus_images = "image" if self.num_images == 1 else "images"
        ensemble = f"{self.num_models} networks averaged; " if self.num_models > 1 else ""
        mirrored = {
            True: ", averaged over the four mirrored versions",
            False: "",
            None: ", by some members averaged over the four mirrored versions",
        }[self.tta]
        return (
            f"{self.num_images} {self.split} {fundus_images} of {self.data} at native size, "
            f"{WHERE[region]}; {ensemble}threshold {self.threshold:.4f}, "
            f"{ORIGIN[self.threshold_origin]}; counts summed over images before dividing; "
            f"trained on {self.trained_on}; checkpoint: {self.checkpoint_rule}; "
            f"predicted in {self.dtype}{mirrored}."
        )
