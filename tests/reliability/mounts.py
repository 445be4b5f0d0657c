"""File systems of the tests' own: one that hangs, one that is small; skipped without the right."""

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

MNT_DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def hung_drive(place: Path) -> Iterator[None]:
    """A drive that has gone away, at an existing folder until the block ends.

    It is a FUSE file system that nobody serves. The kernel waits for its server's first answer
    before it lets anyone look into it, so every call that touches a file there hangs, as on a
    network drive whose server is gone. A process that waits can be killed, as with NFS.
    """
    try:
        channel = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here ({error.strerror})")
    options = f"fd={channel},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0".encode()
    try:
        with _mounted(place, b"fuse", options):
            yield
    finally:
        # Without its server the kernel lets everyone go who still waits.
        os.close(channel)


@contextlib.contextmanager
def small_drive(place: Path, megabytes: int) -> Iterator[None]:
    """A file system in memory that is soon full, at an existing folder until the block ends."""
    with _mounted(place, b"tmpfs", f"size={megabytes}m".encode()):
        yield


@contextlib.contextmanager
def _mounted(place: Path, kind: bytes, options: bytes) -> Iterator[None]:
    if LIBC.mount(b"none", os.fsencode(place), kind, 0, options) != 0:
        pytest.skip(f"mounting is not allowed here ({os.strerror(ctypes.get_errno())})")
    try:
        yield
    finally:
        LIBC.umount2(os.fsencode(place), MNT_DETACH)
