"""The name of temporary files, and syncing with the disk."""

import os
from pathlib import Path

TEMPORARY = ".fundus.tmp"
"""Ending of temporary files and folders, which no other program gives to its own."""


def sync(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's names (not on Windows)."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
