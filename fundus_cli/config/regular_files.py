"""Read files that may come from a stranger: no pipe, no device, nothing without end."""

import os
import stat
from pathlib import Path


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file.

    Args:
        path: the file, or a link to one.
        most_bytes: size up to which it is read.

    Raises:
        OSError: it does not exist or cannot be opened.
        ValueError: it is a pipe, a device or a folder, or is larger; the message is the reason
            without the path.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # checked first: opening a device can have effects
        raise ValueError("not a regular file")
    # Should a pipe take the file's place now, opening it does not wait for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"larger than {most_bytes / 1e6:.3g} MB")
    return content
