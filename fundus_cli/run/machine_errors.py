"""Turn errors that the machine causes (memory, disk, permissions) into one-line errors."""

import errno
import os

from fundus_cli.errors import MachineError

OUT_OF_MEMORY_WORDS = ("can't allocate memory", "out of memory", "not enough memory")

MACHINE_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENODEV),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or torch, of whatever type, means out of memory."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in OUT_OF_MEMORY_WORDS)


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
