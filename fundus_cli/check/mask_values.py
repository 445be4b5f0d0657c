"""Explain a mask that is not two-valued: its values, their likely meaning, the deciding key."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from fundus_cli.data.decoding import BadFile
from fundus_cli.data.masks import PLAIN, Grey, colours_of, read_pixels

MAX_CLASSES = 8
"""More values than this are taken for grey levels, not for classes."""
END_SHARE = 1 / 8
"""Levels within this share of the range are near black or near white."""
MIN_ENDS = 0.8
"""Share of pixels near black or white from which in-between levels are mere edges."""
MIN_AT_EDGE = 0.7
"""Share of the in-between pixels that must touch both sides to be edges."""
SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """An explanation of a mask's values.

    Attributes:
        found: the values with their share of the pixels.
        means: what they likely mean.
        override: the key that decides, as the command line takes it.
        todo: the advice with that override.
    """

    found: str
    means: str
    override: str
    todo: str


def diagnose(path: Path, is_jpeg: bool, max_megapixels: float) -> Diagnosis | None:
    """Explain the values of a mask; None if its file cannot be read as a mask at all."""
    try:
        pixels = read_pixels(path, PLAIN, max_megapixels)
    except BadFile:
        return None
    if isinstance(pixels, Grey):
        return _of_greys(pixels, is_jpeg)
    return _of_colours(pixels, is_jpeg)


def _of_greys(grey: Grey, is_jpeg: bool) -> Diagnosis:
    levels, counts = np.unique(grey.levels, return_counts=True)
    names = [f"{level:g}" for level in levels]
    shares = counts / counts.sum()
    found = _listed(names, shares)
    if len(levels) == 1:
        return Diagnosis(
            found=found,
            means="everything is marked, or an empty mask was saved with a value other than 0",
            override=f"data.mask_foreground=[{names[0]}]",
            todo=f"data.mask_foreground=[{names[0]}] if everything is the structure; "
            "save an empty mask as black",
        )
    if grey.full_scale is not None and not _is_classes(grey, levels, shares):
        low, high = float(levels[0]), float(levels[-1])
        threshold = f"data.mask_threshold={(low + high) / 2 / grey.full_scale:.2g}"
        return Diagnosis(
            found=found,
            means=_meaning_of_levels(grey, low, high, is_jpeg),
            override=threshold,
            todo=f"{threshold} cuts halfway between black and white",
        )
    if len(levels) > 256:
        return Diagnosis(
            found=found,
            means="numbers from a computation without a known full scale",
            override="",
            todo="save it as a 0/255 PNG",
        )
    return _of_classes(names, shares, found)


def _is_classes(grey: Grey, levels: np.ndarray, shares: np.ndarray) -> bool:
    """Whether the values are a few that form separate areas, not the steps of a smooth edge."""
    if len(levels) > MAX_CLASSES:
        return False
    if len(levels) == 2 or levels[-1] < 16:
        return True
    between = (grey.levels != levels[0]) & (grey.levels != levels[-1])
    return float(shares[1:-1].min()) >= 1e-4 and _edge_share(grey.levels, between) < MIN_AT_EDGE


def _meaning_of_levels(grey: Grey, low: float, high: float, is_jpeg: bool) -> str:
    margin = (high - low) * END_SHARE
    between = (grey.levels > low + margin) & (grey.levels < high - margin)
    ends = 1 - float(between.mean())
    if is_jpeg and ends >= MIN_ENDS:
        return "JPEG has blurred black and white along the borders"
    if ends >= MIN_ENDS and _edge_share(grey.levels, between) >= MIN_AT_EDGE:
        return "the borders are smoothed (anti-aliasing), or the mask was resized"
    return "soft labels: probabilities, or the mean of several annotators' masks"


def _edge_share(levels: np.ndarray, between: np.ndarray) -> float:
    """Share of the in-between pixels with a darker and a brighter end within two pixels."""
    if not between.any():
        return 1.0
    low, high = float(levels.min()), float(levels.max())
    margin = (high - low) * END_SHARE
    near_low = ndimage.binary_dilation(levels <= low + margin, SQUARE, iterations=2)
    near_high = ndimage.binary_dilation(levels >= high - margin, SQUARE, iterations=2)
    return float((near_low & near_high)[between].mean())


def _of_colours(image: Image.Image, is_jpeg: bool) -> Diagnosis:
    colours = colours_of(image)
    if colours is None or len(colours) > MAX_CLASSES:
        return Diagnosis(
            found=f"{'more than 256' if colours is None else len(colours)} colours",
            means="JPEG has blurred the colours"
            if is_jpeg
            else "many shades of colour, or an image",
            override="data.mask_threshold=0.5",
            todo="data.mask_threshold=0.5 takes what is bright in any colour; if the colours"
            " are different classes, save the mask with one flat colour for each",
        )
    packed = np.asarray(image).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values, counts = np.unique(packed, return_counts=True)
    names = [f"#{value:06x}" for value in values]
    shares = counts / counts.sum()
    return _of_classes(names, shares, _listed(names, shares))


def _of_classes(names: list[str], shares: np.ndarray, found: str) -> Diagnosis:
    background = int(shares.argmax())
    others = [name for i, name in enumerate(names) if i != background]
    quoted = [f'"{name}"' if name.startswith("#") else name for name in others]
    override = shlex.quote(f"data.mask_foreground=[{','.join(quoted)}]")
    if len(others) == 1:
        means = f"two values, of which {names[background]}, the more frequent, is the background"
        todo = f"{override} if {names[background]} is the background"
    else:
        means = f"{len(others)} classes on the background {names[background]}"
        todo = f"{override} takes them as one structure; leave out those that do not belong to it"
    return Diagnosis(found=found, means=means, override=override, todo=todo)


def _listed(names: list[str], shares: np.ndarray) -> str:
    if len(names) > MAX_CLASSES:
        return f"{len(names)} levels {names[0]}..{names[-1]}"
    return ", ".join(
        f"{name} ({_percent(share)})" for name, share in zip(names, shares, strict=True)
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
