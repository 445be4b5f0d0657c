"""Read an image file, and refuse a file that cannot be read unambiguously."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus_cli.data.decoding import (
    NOT_FINITE,
    READABLE_SUFFIXES,
    BadFile,
    decode,
    is_readable_name,
    opened,
    storage_of,
)

__all__ = ["READABLE_SUFFIXES", "BadFile", "is_readable_name", "read_image"]

TRANSPARENT = "image is transparent in places; save it without transparency"
BLACK_AND_WHITE = "image has only black and white; is it a mask?"
ZERO_ONE = "image holds only 0 and 1 of 255: is it a mask, or were values from 0 to 1 rounded?"
DIM = (
    "image's values stay below a quarter of full scale, as if a 16-bit or float file held 8 to"
    " 14 bits; scale them to full scale (65535, or 1 in a float file), or save it with 8 bits"
)
NO_FULL_SCALE = "image holds whole numbers without a known full scale; save it with 8 bits"
FLOAT_RANGE = "image holds float values outside 0 to 1; scale them, or save it with 8 bits"

ORIENTATION = 0x0112
"""Number of the EXIF tag."""


def read_image(path: Path, max_megapixels: float) -> NDArray[np.uint8]:
    """The upright image as (H, W, 3), 0 to 255; grey is repeated, colour profiles are ignored.

    16-bit grey is value / 257, float grey value * 255, both rounded; of 16-bit colours the upper
    byte is kept. Nothing is ever stretched by its own range.

    Raises:
        BadFile: damaged, not an image, too large, several frames, or values of unclear meaning.
    """
    with opened(path, max_megapixels) as file:
        storage = storage_of(file)
        image, alpha = decode(file, storage)
        if storage.signed or (image.mode == "I" and not storage.declares_full_scale):
            raise BadFile(NO_FULL_SCALE, f"{storage.bits} bits{', signed' * storage.signed}")
        if image.mode == "1":
            raise BadFile(BLACK_AND_WHITE)
        if image.mode in ("L", "CMYK"):
            image = image.convert("RGB")
        samples: NDArray[Any] = np.array(image)
    if alpha is not None and alpha.min() < 255:
        raise BadFile(TRANSPARENT, f"lowest alpha {alpha.min()}")
    if samples.dtype == np.uint8:
        if storage.bits > 8 and samples.max() < 64:
            raise BadFile(DIM, f"brightest value below {256 * (int(samples.max()) + 1)} of 65535")
        if samples.max() == 1:
            raise BadFile(ZERO_ONE)
        return samples
    return np.repeat(_to_8_bit(samples, storage.bits)[:, :, None], 3, axis=2)


def _to_8_bit(grey: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if grey.dtype.kind == "f":
        if not np.isfinite(grey).all():
            raise BadFile(NOT_FINITE)
        if grey.min() < 0 or grey.max() > 1:
            raise BadFile(FLOAT_RANGE, f"{grey.min():g}..{grey.max():g}")
        full_scale = 1
    else:
        full_scale = 4095 if bits == 12 else 65535
    if grey.max() < full_scale / 4:
        raise BadFile(DIM, f"brightest value {grey.max():g} of {full_scale}")
    if full_scale == 1:
        rounded = np.rint(grey * 255)
    else:
        rounded = (grey.astype(np.uint32) * 255 + full_scale // 2) // full_scale
    return rounded.astype(np.uint8)  # type: ignore[no-any-return]
