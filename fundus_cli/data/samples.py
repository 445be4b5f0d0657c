"""Decode, check and prepare one image, alone or with its masks.

Each file is decoded once per run. The image, its soft targets and its field of view are kept as
uint8 at working resolution. The annotation is also kept as packed bits at native size, where scores
are computed.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_cli.config import DataConfig
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.fov import (
    FieldOfView,
    circle_diameter_px,
    field_of_view,
    longer_side_px,
)
from fundus_cli.data.images import read_image
from fundus_cli.data.masks import MaskRule, read_fov_mask, read_mask
from fundus_cli.data.templates import SampleFiles
from fundus_cli.errors import DataError


class UnusableFile(Exception):  # noqa: N818 (the file is at fault, not the program)
    """A file of an image cannot be used.

    Attributes:
        path: the file.
        kind: what is wrong and what to do, the same text for every file with this problem.
        found: the value found in this file; may be empty.
    """

    def __init__(self, path: Path, kind: str, found: str = "") -> None:
        super().__init__(path, kind, found)
        self.path, self.kind, self.found = path, kind, found

    def __str__(self) -> str:
        return f"{self.path}: {self.kind} {self.found}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMasks:
    """Binary masks of one size, packed eight pixels per byte."""

    shape: tuple[int, int, int]
    bits: np.ndarray

    @classmethod
    def pack(cls, masks: np.ndarray) -> "PackedMasks":
        """Pack (S, H, W) of 0 and 1."""
        num, height, width = masks.shape
        return cls(shape=(num, height, width), bits=np.packbits(masks.astype(bool)))

    def unpack(self) -> np.ndarray:
        """(S, H, W) bool."""
        flat = np.unpackbits(self.bits, count=int(np.prod(self.shape)))
        return flat.reshape(self.shape).astype(bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class FundusImage:
    """An image ready for the network.

    Attributes:
        image: (3, H, W) uint8 at working resolution.
        fov_mask: (H, W) bool at working resolution.
        mean: (3,) float32 of image / 255 inside the field of view.
        std: (3,) float32 likewise, never 0.
        native_fov: (1, h, w) at the image's own size.
        fov_origin: `file` or `found`.
        fov_diameter_px: of the circle that the field of view is part of, at native size.
        is_round: whether there is such a circle; otherwise the diameter is the longer side, and the
            image's scale is unknown.
        num_fields: number of fields of view in the image; the others are ignored.
    """

    id: str
    image: np.ndarray
    fov_mask: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    native_fov: PackedMasks
    fov_origin: str
    fov_diameter_px: float
    is_round: bool = True
    num_fields: int = 1

    @property
    def native_hw(self) -> tuple[int, int]:
        """Height and width of the image's file."""
        return self.native_fov.shape[1:]

    @property
    def has_border(self) -> bool:
        """Whether anything is outside the field of view."""
        return not bool(self.native_fov.unpack().all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(FundusImage):
    """An image with its masks, ready for training and scoring.

    Attributes:
        target: (S, H, W) uint8, share of each working pixel that the structure covers, 0 to 255.
        native_targets: (S, h, w) at the image's own size.
        native_observer2: second observer's masks by structure, where there are any.
        hashes: sha256 of each file by its path below the data set's folder.
        pixel_hash: sha256 of the decoded image, equal for copies under other names.
    """

    files: SampleFiles
    target: np.ndarray
    native_targets: PackedMasks
    native_observer2: dict[str, PackedMasks]
    hashes: dict[str, str]
    pixel_hash: str

    @property
    def file_hash(self) -> str:
        """sha256 of the image's file."""
        return next(iter(self.hashes.values()))


def mask_rule(config: DataConfig) -> MaskRule:
    """The rule for reading masks that the data config sets."""
    return MaskRule(
        channel=config.mask_channel,
        threshold=config.mask_threshold,
        foreground=tuple(config.mask_foreground),
    )


def read_sample(files: SampleFiles, config: DataConfig, root: Path) -> Sample:
    """Decode and check all files of one image.

    Raises:
        UnusableFile: the first file that cannot be used.
    """
    image = _read(files.image, read_image, config.max_megapixels)
    prepared = _prepared(files.id, files.image, image, files.fov, config)
    rule = mask_rule(config)
    targets = [
        _same_size(image, _read(path, read_mask, rule, config.max_megapixels), path)
        for path in files.targets.values()
    ]
    observer2 = {
        name: _same_size(image, _read(path, read_mask, rule, config.max_megapixels), path)
        for name, path in files.observer2.items()
    }
    hw = prepared.fov_mask.shape
    return Sample(
        **{f.name: getattr(prepared, f.name) for f in fields(FundusImage)},
        files=files,
        target=np.stack([resize_mask(target, hw) for target in targets]),
        native_targets=PackedMasks.pack(np.stack(targets)),
        native_observer2={n: PackedMasks.pack(m[None]) for n, m in observer2.items()},
        hashes={p.relative_to(root).as_posix(): file_sha256(p) for p in files.paths()},
        pixel_hash=hashlib.sha256(np.ascontiguousarray(image).data).hexdigest(),
    )


def read_for_prediction(
    identifier: str, path: Path, fov_path: Path | None, config: DataConfig
) -> tuple[FundusImage, np.ndarray]:
    """An image without masks, prepared as `read_sample` does, and its native (h, w, 3) uint8.

    Args:
        identifier: the image's id.
        path: its file.
        fov_path: its field-of-view mask; None: detected in the image.
        config: the checkpoint's data config, for the working resolution and the size limit.

    Raises:
        UnusableFile: the first file that cannot be used.
    """
    image = _read(path, read_image, config.max_megapixels)
    return _prepared(identifier, path, image, fov_path, config), image


def _prepared(
    identifier: str, path: Path, image: np.ndarray, fov_path: Path | None, config: DataConfig
) -> FundusImage:
    if fov_path is not None:
        given = _read(fov_path, read_fov_mask, config.max_megapixels)
        fov, origin = FieldOfView(mask=_same_size(image, given, fov_path)), "file"
    else:
        fov, origin = field_of_view(image), "found"
    if not fov.mask.any():
        what = "field-of-view mask is empty" if origin == "file" else "image is all black"
        raise UnusableFile(fov_path or path, what)
    return prepare(identifier, image, fov, origin, config.working_diameter_px)


def prepare_pixels(
    identifier: str, pixels: np.ndarray, fov: np.ndarray | None, config: DataConfig
) -> FundusImage:
    """An image in memory, prepared as `read_for_prediction` does with a file.

    Args:
        identifier: the image's id.
        pixels: (h, w, 3) uint8, upright.
        fov: (h, w) bool; None: the field of view is detected in the image.
        config: the checkpoint's data config, for the working resolution.

    Raises:
        DataError: there is no pixel inside the field of view.
    """
    origin = "found" if fov is None else "file"
    seen = field_of_view(pixels) if fov is None else FieldOfView(mask=fov)
    if not seen.mask.any():
        raise DataError("image: is all black" if origin == "found" else "fov: is empty")
    return prepare(identifier, pixels, seen, origin, config.working_diameter_px)


def prepare(
    identifier: str,
    image: np.ndarray,
    fov: FieldOfView | np.ndarray,
    origin: str,
    wanted_px: int | None,
) -> FundusImage:
    """Scale an image (h, w, 3) uint8 with its field of view to working resolution.

    Args:
        identifier: the image's id.
        image: upright, 0 to 255.
        fov: the field of view or its mask (h, w) bool, True somewhere.
        origin: `file` or `found`.
        wanted_px: diameter of the field of view at working resolution; None keeps the native size.
    """
    seen = FieldOfView(mask=fov) if isinstance(fov, np.ndarray) else fov
    fov = seen.mask
    diameter = circle_diameter_px(fov)
    if math.isnan(diameter):
        diameter = seen.diameter_px
    is_round = not math.isnan(diameter)
    if not is_round:
        diameter = longer_side_px(fov)
    hw = working_size(image.shape[:2], diameter, wanted_px)
    small = resize_image(image, hw)
    small_fov = resize_mask(fov, hw) >= 128
    mean, std = fov_statistics(small, small_fov)
    return FundusImage(
        id=identifier,
        image=np.ascontiguousarray(small.transpose(2, 0, 1)),
        fov_mask=small_fov,
        mean=mean,
        std=std,
        native_fov=PackedMasks.pack(fov[None]),
        fov_origin=origin,
        fov_diameter_px=diameter,
        is_round=is_round,
        num_fields=seen.num_fields,
    )


def _read(path: Path, reader: Callable[..., np.ndarray], *arguments: object) -> np.ndarray:
    try:
        return reader(path, *arguments)
    except BadFile as error:
        raise UnusableFile(path, error.kind, error.found) from error


def _same_size(image: np.ndarray, mask: np.ndarray, path: Path) -> np.ndarray:
    if mask.shape != image.shape[:2]:
        (h, w), (mh, mw) = image.shape[:2], mask.shape
        found = f"{mw}x{mh}, image {w}x{h}"
        raise UnusableFile(path, "mask and image differ in size", found)
    return mask


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        # hashlib.file_digest allocates and clears a larger buffer, which is slow for small files.
        while block := file.read(1 << 16):
            digest.update(block)
    return digest.hexdigest()


def working_size(
    native_hw: tuple[int, ...], found_px: float, wanted_px: int | None
) -> tuple[int, int]:
    """Height and width at which the network sees an image.

    The image is scaled until its field of view, `found_px` wide, has the diameter `wanted_px`,
    so that a vessel is about as many pixels wide for every camera; None keeps the native size.
    """
    height, width = native_hw
    if wanted_px is None:
        return height, width
    factor = wanted_px / found_px
    return max(1, round(height * factor)), max(1, round(width * factor))


def resize_image(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 to another size, low-passed first when it shrinks."""
    if image.shape[:2] == hw:
        return image
    resized = Image.fromarray(image).resize((hw[1], hw[0]), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def resize_mask(mask: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """(H, W) of 0 and 1 to the covered share of each pixel of another size, 0 to 255."""
    full = mask.astype(np.uint8) * np.uint8(255)
    if mask.shape == hw:
        return full
    shrinks = hw[0] < mask.shape[0]
    kernel = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(full).resize((hw[1], hw[0]), kernel))


def level_counts(image: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """Histogram of the levels 0 to 255 inside the field of view, (C, 256) integers.

    Means and medians follow from it 20 times faster than from the pixels.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        fov: (H, W) bool.
    """
    inside = Image.fromarray(fov.view(np.uint8) * np.uint8(255))
    return np.reshape(Image.fromarray(image).histogram(inside), (-1, 256))


def fov_statistics(image: np.ndarray, fov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel of image / 255 inside the field of view."""
    if not fov.any():
        image, fov = np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool)
    counts = level_counts(image, fov)
    levels = np.arange(256) / 255
    num = counts.sum(axis=1)
    mean = counts @ levels / num
    variance = (counts * (levels - mean[:, None]) ** 2).sum(axis=1) / num
    std = np.maximum(np.sqrt(variance), 1 / 255)
    return mean.astype(np.float32), std.astype(np.float32)
