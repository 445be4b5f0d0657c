"""How the process keeps memory."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's malloc.h."""
KEPT_BYTES = 2**31 - 1
"""So much freed memory a process keeps; mallopt takes no larger number."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next allocation instead of giving it back each time.

    Every step frees and asks again for the same hundreds of megabytes. Given back, each page has to
    be cleared by the kernel before it is used once more: a sixth of a step's time. Does nothing on
    other systems, nor where the environment already tunes malloc.
    """
    tuned = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if sys.platform != "linux" or tuned:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
