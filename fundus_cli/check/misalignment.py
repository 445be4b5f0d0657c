"""Derive a finding from the alignment of a mask with its image."""

from dataclasses import dataclass

import numpy as np

from fundus_cli.check import finding_kinds as kinds
from fundus_cli.check.alignment import Alignment, Verdict
from fundus_cli.check.findings import Kind

MAX_COVERED = 0.5
"""A mask that covers more of the field of view than this is taken for inverted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misalignment:
    """A kind of finding with the values found."""

    kind: Kind
    found: str
    means: str = ""


def misalignment_of(
    alignment: Alignment, share: float, exif_orientation: int
) -> Misalignment | None:
    """The misalignment of a mask that covers `share` of the field of view, if there is one."""
    fit = f"correlation {alignment.best:.2f} instead of {alignment.correlation:.2f}"
    if share > MAX_COVERED:
        found = f"marks {share:.0%} of the field of view"
        if alignment.verdict is Verdict.inverted:
            found += f", and what is bright (correlation {alignment.correlation:.2f})"
        return Misalignment(kind=kinds.MASK_INVERTED, found=found)
    if alignment.verdict is Verdict.shifted:
        return Misalignment(
            kind=kinds.MASK_SHIFTED, found=f"fits when moved {_moved(alignment)} ({fit})"
        )
    if alignment.verdict is Verdict.rotated:
        means = ""
        if exif_orientation != 1:
            means = "annotated on the image as stored, without its EXIF rotation"
        found = f"fits when {alignment.orientation.value} ({fit})"
        return Misalignment(kind=kinds.MASK_ROTATED, found=found, means=means)
    return None


def _moved(alignment: Alignment) -> str:
    right, down = round(alignment.right_px), round(alignment.down_px)
    parts = [
        f"{abs(px)} px {names[px < 0]}"
        for px, names in ((right, ("right", "left")), (down, ("down", "up")))
        if px
    ]
    return " and ".join(parts)


def sizes_text(mask: np.ndarray, image: np.ndarray) -> str:
    """`500x480, image 999x960: 0.5 times the size`."""
    (h, w), (mh, mw) = image.shape[:2], mask.shape
    text = f"{mw}x{mh}, image {w}x{h}"
    if (mh, mw) == (w, h):
        return text + ": landscape and portrait swapped"
    if abs(mh / h - mw / w) < 0.01 * mh / h:
        return text + f": {mh / h:.3g} times the size"
    return text
