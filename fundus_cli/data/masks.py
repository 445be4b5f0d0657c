"""Read a mask file as 0 and 1, and refuse ambiguous ones with the key that decides."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from fundus_cli.config import MaskChannel, require
from fundus_cli.data.decoding import (
    COLOUR_MODE,
    NOT_FINITE,
    BadFile,
    Storage,
    decode,
    opened,
    storage_of,
)

NOT_TWO_VALUED = (
    "mask is not two-valued; data.mask_threshold or data.mask_foreground decides what counts"
)
ONE_COLOUR = (
    "mask has one colour and it is not black: all structure, or inverted?"
    " data.mask_foreground decides"
)
NO_BLACK = "mask has two colours, neither of them black; data.mask_foreground decides what counts"
HAS_ALPHA = (
    "mask has transparency that is not the same everywhere; if it holds the structure, set"
    " data.mask_channel=alpha, otherwise save it without"
)
NO_ALPHA = "mask has no transparency for data.mask_channel=alpha to read"
MIN_IS_WHITE = (
    "mask is a TIFF that stores white as 0 (MinIsWhite): inverted or not? data.mask_foreground"
    " decides, or save it as PNG"
)
TOO_DARK = (
    "mask's levels are as low as labels, and data.mask_threshold, a share of full scale, would"
    " empty it; set data.mask_foreground to the levels that count, or data.mask_threshold to"
    " null if there is only one level other than black"
)
UNKNOWN_FULL_SCALE = (
    "mask holds numbers without a known full scale, of which data.mask_threshold is a share;"
    " data.mask_foreground decides what counts"
)
FOV_NOT_TWO_VALUED = "field-of-view mask has grey levels or colours far from black and white"

FURTHER_CHANNELS = (
    "mask is a TIFF with channels beyond grey or RGB, one of which may hold the structure; save"
    " each structure as a file of its own"
)
LOSSY_LIST = (
    "mask was compressed with loss, which blurs the values that data.mask_foreground lists; save it"
    " as PNG, or set data.mask_threshold=0.5 instead"
)
LOSSY_FORMATS = ("JPEG", "MPO", "AVIF")
MANY_COLOURS = 16
"""A drawing has fewer values besides those that are listed."""

MAX_COLOURS = 256
LABEL_SHARE = 15 / 255
"""Levels 0 to 15 of 255 are taken for class indices rather than grey levels."""
FOV_EDGE_SHARE = 0.1
"""A JPEG's ringing along the border stays below this share; of an image, more is mid-grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """How masks are read: data.mask_channel, data.mask_threshold and data.mask_foreground."""

    channel: MaskChannel
    threshold: float | None
    foreground: tuple[str, ...]

    def __post_init__(self) -> None:
        for value in self.foreground:
            require(
                re.fullmatch(r"[0-9]{1,10}|#[0-9a-fA-F]{6}", value) is not None,
                "data.mask_foreground",
                value,
                "grey levels like 255 or colours like #ff0000",
            )


PLAIN = MaskRule(channel=MaskChannel.colour, threshold=None, foreground=())
"""No rule: black, and one other colour that is the structure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grey:
    """One number per pixel; a 1-bit image's are bool."""

    levels: NDArray[Any]
    full_scale: float | None


def read_mask(path: Path, rule: MaskRule, max_megapixels: float) -> NDArray[np.uint8]:
    """The upright mask (H, W), 1 where the structure is.

    Without a rule the mask must hold black and at most one other colour, which is the structure.
    With rule.foreground the listed colours are the structure, present or not; with rule.threshold
    it is every pixel whose brightest channel is above that share of full scale.

    Raises:
        BadFile: damaged, not an image, or ambiguous.
    """
    pixels = read_pixels(path, rule, max_megapixels)
    if rule.foreground:
        return _listed(pixels, rule.foreground).view(np.uint8)
    if rule.threshold is not None:
        return _above(pixels, rule.threshold).view(np.uint8)
    is_structure = _not_black(pixels)
    if is_structure.all():
        raise BadFile(ONE_COLOUR, colours_found(pixels))
    return is_structure.view(np.uint8)


def read_fov_mask(path: Path, max_megapixels: float) -> NDArray[np.bool_]:
    """The upright field-of-view mask (H, W), True inside.

    Read as a mask without a rule, but it may be True everywhere; where JPEG compression has blurred
    black and white into more levels, it is thresholded at half scale.

    Raises:
        BadFile: damaged, not an image, or more than a tenth of it far from both black and white.
    """
    pixels = read_pixels(path, PLAIN, max_megapixels)
    try:
        return _not_black(pixels)
    except BadFile as error:
        darkest, brightest = _extreme_channels(pixels)
        if brightest.full_scale is None:
            raise
        is_black = brightest.levels < brightest.full_scale / 8
        is_white = darkest.levels > brightest.full_scale * 7 / 8
        if np.mean(is_black | is_white) < 1 - FOV_EDGE_SHARE:
            raise BadFile(FOV_NOT_TWO_VALUED, error.found) from error
        return np.asarray(brightest.levels > brightest.full_scale / 2)


def read_pixels(path: Path, rule: MaskRule, max_megapixels: float) -> Grey | Image.Image:
    """Grey levels, or an RGB image that has colours other than grey."""
    with opened(path, max_megapixels) as file:
        storage = storage_of(file)
        if storage.num_unread:
            raise BadFile(FURTHER_CHANNELS, f"{storage.num_unread} further")
        image, alpha = decode(file, storage)
        if image.mode == "CMYK":
            image = image.convert("RGB")
        if rule.foreground and file.format in LOSSY_FORMATS:
            most = len(rule.foreground) + MANY_COLOURS
            if image.getcolors(most) is None:
                raise BadFile(LOSSY_LIST, f"more than {most} colours")
        if image.mode == "RGB" and _has_greys_only(image):
            image = image.getchannel(0)
        levels = None if image.mode == "RGB" else np.asarray(image)
    if storage.white_is_zero and not rule.foreground:
        raise BadFile(MIN_IS_WHITE)
    if storage.bits > 8 and file.mode in ("RGB", "RGBA"):
        raise BadFile(COLOUR_MODE, f"{storage.bits}-bit colours, of which 8 bits can be read")
    if rule.channel is MaskChannel.alpha:
        if alpha is None:
            raise BadFile(NO_ALPHA)
        return Grey(levels=alpha, full_scale=255)
    if alpha is not None and (alpha.min() != alpha.max() or alpha.max() == 0):
        raise BadFile(HAS_ALPHA, f"alpha {alpha.min()}..{alpha.max()}")
    if levels is None:
        return image
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise BadFile(NOT_FINITE)
    return Grey(levels=levels, full_scale=_full_scale(levels, storage))


def _full_scale(levels: NDArray[Any], storage: Storage) -> float | None:
    match levels.dtype.kind, levels.dtype.itemsize:
        case "b", _:
            return 1
        case "u", 1:
            return 255
        case "u", _:
            return 4095 if storage.bits == 12 else 65535
        case "f", _:
            return 1 if levels.max() <= 1 else None
        case _:
            return 65535 if storage.declares_full_scale else None


def _has_greys_only(image: Image.Image) -> bool:
    colours = colours_of(image)
    return colours is not None and all(r == g == b for r, g, b in colours)


def colours_of(image: Image.Image) -> list[tuple[int, int, int]] | None:
    """The distinct colours of an RGB image from dark to bright; None if there are very many."""
    counted = image.getcolors(MAX_COLOURS)
    return None if counted is None else sorted(colour for _, colour in counted)  # type: ignore[misc]


def colours_found(pixels: Grey | Image.Image) -> str:
    """Describe the number and the values of the levels or colours."""
    if isinstance(pixels, Grey):
        names, what = [f"{level:g}" for level in np.unique(pixels.levels)], "grey levels"
    else:
        colours = colours_of(pixels)
        if colours is None:
            return f"more than {MAX_COLOURS} colours"
        names, what = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours], "colours"
    few = len(names) <= 6
    return f"{len(names)} {what} " + (" ".join(names) if few else f"{names[0]}..{names[-1]}")


def _not_black(pixels: Grey | Image.Image) -> NDArray[np.bool_]:
    """True where a pixel is not black, given that all such pixels have one colour.

    Raises:
        BadFile: more than two colours, or two without black.
    """
    if isinstance(pixels, Grey):
        levels = pixels.levels
        low, high = levels.min(), levels.max()
        is_two_valued = bool(((levels == low) | (levels == high)).all())
        has_black = low == high or 0 in (low, high)
    else:
        colours = colours_of(pixels) or []
        is_two_valued = 1 <= len(colours) <= 2
        has_black = len(colours) == 1 or colours[:1] == [(0, 0, 0)]
        brightest = max(range(3), key=colours[-1].__getitem__) if colours else 0
        levels = np.asarray(pixels.getchannel(brightest))
    if not is_two_valued:
        raise BadFile(NOT_TWO_VALUED, colours_found(pixels))
    if not has_black:
        raise BadFile(NO_BLACK, colours_found(pixels))
    return np.asarray(levels != 0)


def _listed(pixels: Grey | Image.Image, foreground: tuple[str, ...]) -> NDArray[np.bool_]:
    wanted = [_as_colour(value) for value in foreground]
    if isinstance(pixels, Grey):
        greys = [r for r, g, b in wanted if r == g == b]
        if pixels.levels.dtype == np.bool_:
            greys = [min(level, 1) for level in greys if level in (0, 1, 255)]
        return np.isin(pixels.levels, greys)
    red, green, blue = (np.asarray(pixels.getchannel(k)) for k in range(3))
    chosen = np.zeros(red.shape, dtype=np.bool_)
    for r, g, b in wanted:
        chosen |= (red == r) & (green == g) & (blue == b)
    return chosen


def _as_colour(value: str) -> tuple[int, int, int]:
    """#rrggbb, or a grey level in the file's own units as three equal channels."""
    if not value.startswith("#"):
        return int(value), int(value), int(value)
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def _above(pixels: Grey | Image.Image, threshold: float) -> NDArray[np.bool_]:
    _, grey = _extreme_channels(pixels)
    if grey.full_scale is None:
        raise BadFile(UNKNOWN_FULL_SCALE, colours_found(grey))
    brightest = grey.levels.max()
    if 0 < brightest <= min(LABEL_SHARE, threshold) * grey.full_scale:
        raise BadFile(TOO_DARK, colours_found(grey))
    return np.asarray(grey.levels > threshold * grey.full_scale)


def _extreme_channels(pixels: Grey | Image.Image) -> tuple[Grey, Grey]:
    """The darkest and the brightest channel of every pixel."""
    if isinstance(pixels, Grey):
        return pixels, pixels
    darkest, brightest = (
        pick(pick(pixels.getchannel(0), pixels.getchannel(1)), pixels.getchannel(2))
        for pick in (ImageChops.darker, ImageChops.lighter)
    )
    return (
        Grey(levels=np.asarray(darkest), full_scale=255),
        Grey(levels=np.asarray(brightest), full_scale=255),
    )
