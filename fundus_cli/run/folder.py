"""The run folder: locked by one process, never overwritten."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from fundus_cli.config import TrainConfig
from fundus_cli.errors import MachineError, RunFolderError
from fundus_cli.run.files import machine_error, read_json, remove_stale_temporaries, write_json

LOCK_NAME = ".lock"
RUN_FILES = ("config.json", "last.pt", "best.pt", "log.csv", "summary.json")


def holds_run(folder: Path) -> bool:
    """Whether this folder holds a run."""
    return any((folder / name).exists() for name in RUN_FILES)


def check_writable(output: str) -> None:
    """Fail early when the run folder cannot be created; leaves nothing behind.

    Raises:
        MachineError: the nearest existing folder above cannot be written.
        RunFolderError: a file has the folder's name.
    """
    path = Path(output).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    if not path.is_dir():
        raise RunFolderError(f"output={output}: {path} is a file; choose another folder")
    probe = path / f".fundus.{os.getpid()}.tmp"
    try:
        probe.touch()
        probe.unlink()
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
        RunFolderError: another process has locked it.
        MachineError: it cannot be written.
    """
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder, key)
        if overwrite and holds_run(folder):
            os.close(lock)
            folder.rename(_backup_path(folder))
            folder.mkdir()
            lock = _lock(folder, key)
    except OSError as error:
        raise machine_error(folder, error) from error
    try:
        remove_stale_temporaries(folder)
        yield folder
    finally:
        os.close(lock)


def _backup_path(folder: Path) -> Path:
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1000):
        suffix = f".{number}" if number else ""
        path = folder.with_name(f"{folder.name}.before-{stamp}{suffix}")
        if not path.exists():
            return path
    raise RunFolderError(f"output={folder}: too many earlier runs beside it")


def _lock(folder: Path, key: str) -> int:
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock_exclusively(descriptor)
    except (BlockingIOError, PermissionError):
        holder = path.read_text(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise RunFolderError(
            f"{key}={folder}: in use by {holder}; wait for it or choose another {key}=..."
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise MachineError(
            f"{path}: this file system cannot lock files ({error.strerror}); choose a folder on "
            f"another drive with {key}=..."
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return descriptor


def _lock_exclusively(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_summary(folder: Path) -> dict[str, object] | None:
    """The content of summary.json; None where it is missing or damaged."""
    return read_json(folder / "summary.json") or None


def write_status(folder: Path, status: str, **more: object) -> None:
    """Write summary.json: `running`, `done`, `failed` or `stopped`, and what a leaderboard
    needs."""
    write_json(folder / "summary.json", {"status": status, **more})
