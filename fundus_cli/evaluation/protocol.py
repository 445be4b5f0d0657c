"""The protocol of a score: everything that it depends on besides the weights."""

from dataclasses import dataclass
from typing import Any

REGIONS = ("fov", "whole")
"""`fov`: pixels inside the field of view; `whole`: every pixel, with the dark corners."""

AGGREGATION = (
    "pooled: counts and pixels of all images taken together, then divided once; per_image: "
    "mean and sample deviation over images; interval_95: percentiles of the pooled value over "
    "2000 sets of images sampled with replacement"
)

WHERE = {
    "fov": "pixels inside the field of view only",
    "whole": "every pixel, including the dark surround",
}
ORIGIN = {
    "val": "chosen for the best Dice on validation images",
    "train": "chosen for the best Dice on the training images",
    "fixed": "fixed beforehand",
    "given": "given by hand for this evaluation",
    "mean of members": "the mean of the members' own thresholds",
}
"""Possible origins of a threshold. The images being scored are never one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Everything that a score depends on besides the weights.

    Attributes:
        data: name of the data set.
        split: which of its images.
        num_images: how many.
        threshold: probability from which a pixel counts.
        threshold_origin: a key of ORIGIN.
        checkpoint_rule: how the epoch of the weights was chosen.
        trained_on: name of the training data set, and whether the run was fine-tuned.
        num_models: networks whose predictions are averaged.
        tta: whether predictions are averaged over four flips; None if only for some members of an
            ensemble.
        dtype: precision of the network.
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
        noun = "image" if self.num_images == 1 else "images"
        ensemble = f"{self.num_models} networks averaged; " if self.num_models > 1 else ""
        mirrored = {
            True: ", averaged over four flips",
            False: "",
            None: ", averaged over four flips by some members",
        }[self.tta]
        return (
            f"{self.num_images} {self.split} {noun} of {self.data} at native size, "
            f"{WHERE[region]}; {ensemble}threshold {self.threshold:.4f}, "
            f"{ORIGIN[self.threshold_origin]}; counts summed over images before dividing; "
            f"trained on {self.trained_on}; checkpoint: {self.checkpoint_rule}; "
            f"predicted in {self.dtype}{mirrored}."
        )
