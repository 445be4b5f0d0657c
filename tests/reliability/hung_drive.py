"""A drive that has gone away: a FUSE file system that nobody serves.

The kernel waits for its server's first answer before it lets anyone look into it, so every call
that touches a file there hangs, as on a network drive whose server is gone. A process that waits
can be killed, as with NFS.
"""

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

MNT_DETACH = 2


@contextlib.contextmanager
def hung_drive(place: Path) -> Iterator[None]:
    """Mount it at an existing folder until the block ends; skips where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        channel = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here ({error.strerror})")
    options = f"fd={channel},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0".encode()
    try:
        if libc.mount(b"hung", os.fsencode(place), b"fuse", 0, options) != 0:
            pytest.skip(f"mounting is not allowed here ({os.strerror(ctypes.get_errno())})")
        try:
            yield
        finally:
            libc.umount2(os.fsencode(place), MNT_DETACH)
    finally:
        # Without its server the kernel lets everyone go who still waits.
        os.close(channel)
