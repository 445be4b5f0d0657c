"""The run folder: locked by one process, never overwritten."""

import contextlib
import errno
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fundus_cli.config import TrainConfig
from fundus_cli.errors import MachineError, RunFolderError
from fundus_cli.run.files import (
    machine_error,
    read_json,
    remove_stale_temporaries,
    write_json,
    writing_in,
)
from fundus_cli.runtime.locking import lock_file, lock_folder

LOCK_NAME = ".lock"
SUBFOLDERS = ("overlays", "pictures")
"""Folders in a run folder that files are written into."""
CANNOT_LOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
RUN_FILES = ("config.json", "last.pt", "best.pt", "log.csv", "summary.json")


def holds_run(folder: Path) -> bool:
    """Whether this folder holds a run."""
    return any((folder / name).exists() for name in RUN_FILES)


def check_writable(output: str) -> None:
    """Fail early when the run folder cannot be created; leaves nothing behind.

    Raises:
        MachineError: the nearest existing folder above cannot be written.
        RunFolderError: a file has the folder's name, or it is the root of a drive.
    """
    _refuse_root(Path(output), "output")
    path = Path(output).absolute()
    try:
        while not path.exists() and path != path.parent:
            path = path.parent
        if not path.is_dir():
            raise RunFolderError(f"output={output}: {path} is a file; choose another folder")
        # A file without a name, where the system has such: a kill leaves nothing behind.
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise machine_error(Path(output), error) from error


def check_unused(config: TrainConfig) -> None:
    """Fail early when the run folder holds a run that this command may not change.

    Raises:
        RunFolderError: it does, and neither resume nor overwrite is set.
    """
    if config.resume is None and not config.overwrite and holds_run(Path(config.output)):
        raise RunFolderError(
            f"output={config.output}: already holds a run; continue it with resume=auto, "
            "or move it aside with overwrite=true"
        )


@contextlib.contextmanager
def locked(output: str, overwrite: bool = False, key: str = "output") -> Iterator[Path]:
    """The run folder (or the folder of `key`), locked for this process until the block ends.

    The operating system releases the lock when the process ends, so locks cannot become stale.

    Raises:
        RunFolderError: another process has locked it, or overwrite cannot move it aside.
        MachineError: it cannot be written.
    """
    folder = Path(output)
    _refuse_root(folder, key)
    with contextlib.ExitStack() as held:
        try:
            own = _take(folder, key, held)
            if overwrite and holds_run(folder):
                _move_aside(folder, key, held)
                own = _take(folder, key, held)
        except OSError as error:
            raise machine_error(folder, error) from error
        if own is not None:
            held.enter_context(writing_in(folder, own))
        for place in (folder, *(folder / name for name in SUBFOLDERS)):
            remove_stale_temporaries(place)
        yield folder


def holder(folder: Path) -> str | None:
    """The process that has locked a folder; None when none has, or when there is no folder."""
    if not folder.is_dir():
        return None
    try:
        with contextlib.ExitStack() as held:
            _lock(folder, held)
    except BlockingIOError:
        return _holder_of(folder)
    except OSError:
        return None
    return None


def _refuse_root(folder: Path, key: str) -> None:
    if folder.resolve() == Path(folder.resolve().anchor):
        raise RunFolderError(f"{key}={folder}: is the root of a drive; choose a folder below it")


def _move_aside(folder: Path, key: str, held: contextlib.ExitStack) -> None:
    """Rename a locked folder; its lock is kept, so that no other process takes it meanwhile."""
    here, there = Path.cwd().resolve(), folder.resolve()
    if here == there or there in here.parents:
        raise RunFolderError(
            f"{key}={folder}: is the current folder or contains it, so overwrite=true cannot move "
            f"it aside; start from another folder, or choose another {key}=..."
        )
    if os.name == "nt":
        # Windows renames no folder in which a file is open.
        held.close()
    folder.rename(_backup_path(folder))


def _backup_path(folder: Path) -> Path:
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1000):
        suffix = f".{number}" if number else ""
        path = folder.with_name(f"{folder.name}.before-{stamp}{suffix}")
        if not path.exists():
            return path
    raise RunFolderError(f"output={folder}: too many earlier runs beside it")


def _take(folder: Path, key: str, held: contextlib.ExitStack) -> int | None:
    """Lock a folder and write into its lock file who holds it; returns the folder's descriptor."""
    try:
        own, name = _lock(folder, held)
    except BlockingIOError as error:
        raise RunFolderError(
            f"{key}={folder}: in use by {_holder_of(folder)}; wait for it or choose another "
            f"{key}=..."
        ) from error
    except OSError as error:
        if error.errno not in CANNOT_LOCK:
            raise
        raise MachineError(
            f"{folder / LOCK_NAME}: this file system cannot lock files ({error.strerror}); choose "
            f"a folder on another drive with {key}=..."
        ) from error
    os.ftruncate(name, 0)
    os.pwrite(name, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return own


def _lock(folder: Path, held: contextlib.ExitStack) -> tuple[int | None, int]:
    """Lock a folder and the lock file in it; returns their descriptors.

    The folder's own lock cannot be deleted; the file's is seen by other machines on a network drive
    too.
    """
    own = lock_folder(folder)
    if own is not None:
        held.callback(os.close, own)
    name = lock_file(folder / LOCK_NAME)
    held.callback(os.close, name)
    return own, name


def _holder_of(folder: Path) -> str:
    """What the process that has locked a folder has written about itself."""
    try:
        return (folder / LOCK_NAME).read_text(errors="replace").strip() or "another process"
    except OSError:
        return "another process"


def read_summary(folder: Path) -> dict[str, object] | None:
    """The content of summary.json; None where it is missing or damaged."""
    return read_json(folder / "summary.json") or None


def write_status(folder: Path, status: str, **more: object) -> None:
    """Write summary.json: `running`, `done`, `failed` or `stopped`, and what a leaderboard
    needs."""
    write_json(folder / "summary.json", {"status": status, **more})
