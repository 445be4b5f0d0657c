"""Turn errors that the machine causes (memory, disk, permissions) into one-line errors."""

import errno
import os

from fundus_cli.errors import MachineError

OUT_OF_MEMORY_WORDS = (
    *("can't allocate memory", "cannot allocate memory", "out of memory", "not enough memory"),
    *("std::bad_alloc", "can't start new thread", "failed to map segment", "memory protection"),
)
"""In the messages of torch, of threads, and of the loader of shared libraries."""

MACHINE_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENODEV),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or torch, of whatever type, means out of memory.

    Errors behind it count too: libraries that cannot be loaded raise their own about it.
    """
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        told = isinstance(cause, RuntimeError | ImportError | OSError | SystemError)
        if isinstance(cause, MemoryError) or (
            told and any(word in text for word in OUT_OF_MEMORY_WORDS)
        ):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def trouble(error: BaseException) -> MachineError | None:
    """The one-line error for an error that the machine caused; None for any other."""
    if is_out_of_memory(error):
        return MachineError(
            "out of memory; lower batch_size, data.patch_px, data.fov_diameter_px or "
            "model.base_channels, or end other programs"
        )
    if isinstance(error, OSError) and error.errno in MACHINE_ERRNOS:
        return MachineError(f"{error.filename or 'the system'}: {os.strerror(error.errno)}")
    return None
