"""File names as ids, and as text that is safe for every file and terminal."""

import unicodedata
from pathlib import PurePath

from fundus_cli.data.decoding import PNM_SUFFIXES
from fundus_cli.errors import printable


def image_stem(name: str) -> str:
    """An image's file name without its extension; `.ppm.gz` counts as one extension."""
    path = PurePath(name)
    is_packed = path.suffix.lower() == ".gz" and path.stem.lower().endswith(PNM_SUFFIXES)
    return PurePath(path.stem).stem if is_packed else path.stem


def plain_name(name: str) -> str:
    """Normalise to Unicode NFC; bytes that are not UTF-8 and control characters become \\xNN."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return printable(unicodedata.normalize("NFC", text))
