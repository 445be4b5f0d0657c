"""Lock files and folders for one process; the operating system releases a lock when it ends."""

import os
from pathlib import Path


def lock_file(path: Path) -> int:
    """Create and lock a file; returns its descriptor, which holds the lock until it is closed.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be created, or its file system cannot lock.
    """
    return _lock(path, os.O_RDWR | os.O_CREAT)


def lock_folder(folder: Path) -> int | None:
    """Create and lock a folder; returns its descriptor, which holds the lock until it is closed.

    The lock belongs to the folder itself: nothing in it can be deleted to get around the lock, and
    the lock moves along when the folder is renamed. It is seen on this machine only.

    Returns:
        None where folders cannot be locked: on Windows and on some network drives.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be created.
    """
    if os.name == "nt":
        folder.mkdir(parents=True, exist_ok=True)
        return None
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return _lock(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process has renamed it since
        except BlockingIOError:
            raise
        except OSError:
            return None


def _lock(path: Path, flags: int) -> int:
    """Open and lock what has this name, also where it is replaced in between."""
    while True:
        descriptor = os.open(path, flags, 0o644)
        try:
            _lock_exclusively(descriptor)
            if is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether a name still leads to the file or folder that is open under this descriptor."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock_exclusively(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
