"""What the machine lacks (memory, room on the disk, a permission) as one line, not as a bug."""

import errno
import os

from fundus_cli.errors import MachineError

OUT_OF_MEMORY_WORDS = ("can't allocate memory", "out of memory", "not enough memory")

MACHINE_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENODEV),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or torch, whatever its type, means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in OUT_OF_MEMORY_WORDS)


def trouble(error: BaseException) -> MachineError | None:
    """The one line on an error that the machine caused; None for any other."""
    if is_out_of_memory(error):
        return MachineError(
            "out of memory; lower batch_size, data.patch_px, data.fov_diameter_px or "
            "model.base_channels, or end other programs"
        )
    if isinstance(error, OSError) and error.errno in MACHINE_ERRNOS:
        return MachineError(f"{error.filename or 'the system'}: {os.strerror(error.errno)}")
    return None
