"""Decode an image file with Pillow, or raise BadFile; all image files are read through this module.

Pillow decodes; this module decides which files reach it and which of its results can be trusted.
The list of formats is closed, so that none of Pillow's other decoders is ever run.
"""

import gzip
import io
import math
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL.ImageFile import ImageFile

# Registers TIFF; otherwise the first TIFF makes Pillow import all of its forty decoders.
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

PNM_SUFFIXES = (".ppm", ".pgm", ".pbm")
READABLE_SUFFIXES: tuple[str, ...] = (
    *(".tif", ".tiff", ".gif", *PNM_SUFFIXES),
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp"),
    *(".webp", ".jp2", ".j2k", ".jpx", ".avif"),
)
"""Extensions of files that can be read, in lower case; .gz may follow those of PNM."""

FORMATS = (
    *("TIFF", "GIF", "PPM", "PNG", "JPEG", "BMP"),
    # Pillow may be built without these.
    *(
        form
        for form, feature in (("WEBP", "webp"), ("JPEG2000", "jpg_2000"), ("AVIF", "avif"))
        if features.check(feature)
    ),
)
FORMAT_NAMES = ("TIFF", "GIF", "PNM", "PNG", "JPEG", "BMP", "WebP", "JPEG 2000", "AVIF")

MAX_METADATA = 8_000_000
"""Bytes of metadata in front of a JPEG's image; Pillow's time grows with the square of it."""

CANNOT_OPEN = "cannot be opened"
NOT_A_FILE = "is not a regular file but a folder, pipe, socket or device"
EMPTY = "is empty (0 bytes); copy or download it again"
MARKUP = "is a web page or other markup under an image's name; download it again"
LFS_POINTER = "is a Git-LFS pointer, not the image; run `git lfs pull`"
UNREADABLE = (
    "cannot be read as an image: damaged, cut short, or not "
    f"{', '.join(FORMAT_NAMES[:-1])} or {FORMAT_NAMES[-1]}"
)
TIFF_TYPE = (
    "is a TIFF whose numbers are of a type that is not read; save it as 8-bit, as 16-bit whole "
    "numbers, or as 32-bit float with one channel"
)
METADATA = "has too much metadata in front of the image (at most 8 MB); save it again without"
NO_MEMORY = "does not fit into memory"
TOO_LARGE = "is larger than data.max_megapixels allows"
FRAMES = "has more than one frame or page; save one per file"
LAYOUT = "is a TIFF variant that Pillow misreads; save it as 8-bit PNG"
WHITE_IS_ZERO = (
    "is a TIFF that stores white as 0 (MinIsWhite), which programs read differently; save it as PNG"
)
NOT_FINITE = "holds values that are not finite (NaN or infinity)"
COLOUR_MODE = "has a colour model that is not supported; save it as 8-bit RGB or grey"


class BadFile(Exception):  # noqa: N818 (the file is bad, not the program)
    """A file that cannot be used.

    Args:
        kind: what is wrong and what to do about it, the same text for every such file.
        found: the value found in this file, or "".
    """

    def __init__(self, kind: str, found: str = "") -> None:
        super().__init__(kind, found)
        self.kind = kind
        self.found = found

    def __str__(self) -> str:
        return f"{self.kind} [{self.found}]" if self.found else self.kind


class Storage(NamedTuple):
    """How the file stores its samples, which cannot be seen in the decoded image."""

    bits: int
    """Per sample; of colours with more than 8, Pillow keeps the upper 8."""
    signed: bool
    white_is_zero: bool
    declares_full_scale: bool
    """Whole numbers of mode I are scaled so that 65535 is white."""
    num_unread: int = 0
    """Further channels of a TIFF without a stated meaning, which Pillow drops."""


def is_readable_name(name: str) -> bool:
    """Whether the extension, in any case, is one of READABLE_SUFFIXES or a gzipped PNM."""
    lowered = name.lower()
    if lowered.endswith(".gz"):
        return lowered.removesuffix(".gz").endswith(PNM_SUFFIXES)
    return lowered.endswith(READABLE_SUFFIXES)


@contextmanager
def opened(path: Path, max_megapixels: float) -> Iterator[ImageFile]:
    """The file as a lazy Pillow image of one frame and allowed size; pixels are not yet decoded.

    Any exception inside the `with` block becomes BadFile, so do nothing but decode in it.
    """
    _prepare_pillow(max_megapixels)
    with _errors_as_bad_file(), _open_regular(path) as file:
        stream, formats = _checked_stream(file, max_megapixels)
        try:
            image = Image.open(stream, formats=formats)
        except UnidentifiedImageError:
            if found := _unread_tiff(stream):
                raise BadFile(TIFF_TYPE, found) from None
            raise
        width, height = image.size
        if width * height > max_megapixels * 1e6:
            raise BadFile(TOO_LARGE, f"{width}x{height}")
        # Phones add a depth map or a small copy to the image, which comes first.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise BadFile(FRAMES)
        yield image


def _prepare_pillow(max_megapixels: float) -> None:
    # Pillow's own limit (about 89 megapixels) stays unless the user asks for more. Its warnings
    # about odd metadata would print, or raise under -W error, for files that read well; the filter
    # is global because warnings.catch_warnings is not safe with threads.
    pixels = math.ceil(max_megapixels * 1e6)
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixels
    quiet = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    if warnings.filters[:1] != [quiet]:
        warnings.filterwarnings("ignore", category=Warning, module=r"PIL\.")


@contextmanager
def _errors_as_bad_file() -> Iterator[None]:
    try:
        yield
    except BadFile:
        raise
    except MemoryError as error:
        raise BadFile(NO_MEMORY) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise BadFile(TOO_LARGE, f"more than {limit / 1e6:.0f} megapixels") from error
    except Exception as error:  # damaged bytes raise almost anything inside the decoders
        if type(error) is RuntimeError:
            raise  # Pillow never raises it; torch does, at any line, when a worker process dies
        text = "" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BadFile(UNREADABLE, " ".join(text.split())[:100]) from error


def _open_regular(path: Path) -> IO[bytes]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # checked first: opening a FIFO blocks
            raise BadFile(NOT_A_FILE)
        return path.open("rb")
    except OSError as error:
        raise BadFile(CANNOT_OPEN, error.strerror or type(error).__name__) from error


def _checked_stream(file: IO[bytes], max_megapixels: float) -> tuple[IO[bytes], tuple[str, ...]]:
    head = file.read(256)
    file.seek(0)
    if not head:
        raise BadFile(EMPTY)
    if head.startswith(b"version https://git-lfs"):
        raise BadFile(LFS_POINTER)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise BadFile(MARKUP)
    if head.startswith(b"\xff\xd8") and (size := _metadata_bytes(file)) > MAX_METADATA:
        raise BadFile(METADATA, f"{size / 1e6:.0f} MB")
    if not head.startswith(b"\x1f\x8b"):
        return file, FORMATS
    max_bytes = max_megapixels * 8e6  # 16-bit RGB with a little to spare
    plain = io.BytesIO()
    with gzip.GzipFile(fileobj=file) as packed:
        while block := packed.read(1 << 20):
            plain.write(block)
            if plain.tell() > max_bytes:
                raise BadFile(TOO_LARGE, f"more than {max_bytes / 1e6:g} MB in a gzip file")
    return plain, ("PPM",)


def _metadata_bytes(file: IO[bytes]) -> int:
    """Bytes of the segments in front of a JPEG's image data; `file` is rewound."""
    position = 2
    while position <= MAX_METADATA:
        file.seek(position)
        head = file.read(4)
        # At the start of scan (DA) the image begins; what is no segment is Pillow's to judge.
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            break
        position += 2 + int.from_bytes(head[2:], "big")
    file.seek(0)
    return position


def storage_of(image: ImageFile) -> Storage:
    """Determine how the samples are stored; call it before the pixels are decoded.

    Raises:
        BadFile: TIFF layouts whose pixels Pillow 13 scrambles without an error (all measured).
    """
    if isinstance(image, TiffImageFile):
        return _tiff_storage(image)
    bits = 8
    # WebP and AVIF have no tiles before they are decoded.
    codec_args: Any = image.tile[0].args if image.tile else ""
    if image.format == "PNG":
        bits = 16 if str(codec_args).endswith(";16B") else 8
    elif image.format == "JPEG2000":
        bits = 16 if image.mode == "I;16" else 8
    elif image.format == "PPM":
        maxval = codec_args[1] if isinstance(codec_args, tuple) else 255
        bits = 16 if codec_args == "I;16B" or maxval > 255 else 8
    return Storage(
        bits, signed=False, white_is_zero=False, declares_full_scale=image.format == "PPM"
    )


def _unread_tiff(file: IO[bytes]) -> str:
    """The type of the samples of a sound TIFF that Pillow does not know; "" for other files."""
    file.seek(0)
    head = file.read(8)
    if head[:4] not in (b"II*\0", b"MM\0*"):
        return ""
    tags = ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    if not {256, 257, 258} <= set(tags):
        return ""  # the file is cut short or damaged
    bits, kinds = tags.get(258, (1,)), tags.get(339, (1,))
    kind = {1: "unsigned", 2: "signed", 3: "float"}.get(kinds[0], f"type {kinds[0]}")
    channels = tags.get(277, 1)
    if bits[0] < 64 and (kind != "float" or (bits[0], channels) == (32, 1)):
        return ""  # a type that is read: something else is wrong
    return f"{channels} channel{'s' * (channels > 1)} of {bits[0]}-bit {kind}"


def _tiff_storage(image: TiffImageFile) -> Storage:
    tags = image.tag_v2
    bits = max(tags.get(258, (1,)))
    photometric = tags.get(262, 0)
    uncompressed = image.info["compression"] == "raw"
    if uncompressed and tags.get(284) == 2 and (bits != 8 or photometric == 0):
        raise BadFile(LAYOUT, f"channels stored apart, {bits} bits")
    if not uncompressed and tags.prefix == b"MM" and image.mode in ("I", "F"):
        raise BadFile(LAYOUT, "compressed, big-endian, signed or float")
    if photometric == 0 and bits > 8:
        raise BadFile(WHITE_IS_ZERO, f"{bits} bits")
    return Storage(
        bits,
        signed=2 in tags.get(339, (1,)),
        white_is_zero=photometric == 0,
        declares_full_scale=False,
        num_unread=tags.get(338, ()).count(0),
    )


def decode(file: ImageFile, storage: Storage) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Decode the pixels, rotate the image upright and separate its alpha channel, if any.

    Returns:
        The image in mode 1, L, I;16, I;16B, I, F, RGB or CMYK, and alpha (H, W) or None.

    Raises:
        BadFile: other colour models, and 16-bit colours with a transparent colour.
    """
    colour_map = file.tag_v2.get(320) if isinstance(file, TiffImageFile) else None
    image: Image.Image = file
    image.load()
    if image.mode in ("P", "PA") and colour_map and max(colour_map) < 256:
        # Written with 8-bit values where the format has 16, which Pillow divides to black.
        image.putpalette(np.reshape(colour_map, (3, -1)).T.astype(np.uint8).tobytes(), "RGB")
    ImageOps.exif_transpose(image, in_place=True)
    alpha = None
    if image.mode.startswith("I;16") and "transparency" in image.info:
        opaque = np.asarray(image) != image.info["transparency"]
        alpha = opaque.astype(np.uint8) * np.uint8(255)
    elif image.has_transparency_data:
        if image.mode == "RGB" and storage.bits > 8:
            raise BadFile(COLOUR_MODE, "16-bit colours, one of them transparent")
        is_grey_alpha = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if is_grey_alpha else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.getchannel("L") if is_grey_alpha else image.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    is_wide_cmyk = image.mode == "CMYK" and storage.bits > 8
    if is_wide_cmyk or image.mode not in ("1", "L", "I;16", "I;16B", "I", "F", "RGB", "CMYK"):
        raise BadFile(COLOUR_MODE, f"{image.mode}, {storage.bits} bits")
    return image, alpha
