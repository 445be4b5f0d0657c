"""File names as ids and as text that every file and terminal takes."""

import unicodedata
from pathlib import PurePath

from fundus_cli.data.decoding import PNM_SUFFIXES


def image_stem(name: str) -> str:
    """An image's file name without its ending; of `.ppm.gz` both go."""
    path = PurePath(name)
    is_packed = path.suffix.lower() == ".gz" and path.stem.lower().endswith(PNM_SUFFIXES)
    return PurePath(path.stem).stem if is_packed else path.stem


def plain_name(name: str) -> str:
    """Unicode form NFC, with bytes that are no UTF-8 written as \\xNN."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)
