"""Read text files that may come from a stranger: no pipe, no device, nothing without end."""

import os
import stat
from pathlib import Path


def read_regular(path: Path, most_bytes: int) -> str:
    """The text of a regular file in UTF-8.

    Args:
        path: the file, or a link to one.
        most_bytes: size up to which it is read.

    Raises:
        OSError: it does not exist or cannot be opened.
        ValueError: it is a pipe, a device or a folder, is larger, or is not UTF-8; the message is
            the reason without the path.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # checked first: opening a device can have effects
        raise ValueError("not a regular file")
    # Should a pipe take the file's place now, opening it does not wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"larger than {most_bytes / 1e6:.3g} MB")
    return content.decode("utf-8")
