"""Write files whole or not at all."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from fundus_cli.config.regular_files import read_regular
from fundus_cli.errors import DataError, MachineError, RunFolderError
from fundus_cli.runtime.locking import is_at
from fundus_cli.runtime.temporaries import TEMPORARY, sync

MOST_BYTES = 64_000_000
MOST_LEVELS = 50
"""Limits of text and JSON files that are read."""

_own_folders: dict[Path, int] = {}
"""Folders that this process has locked, with the descriptor of each."""


@contextlib.contextmanager
def writing_in(folder: Path, descriptor: int) -> Iterator[None]:
    """Within the block, refuse to write into any other folder that takes this one's name.

    Args:
        folder: as it is named in the paths to write.
        descriptor: of the open folder.
    """
    _own_folders[folder] = descriptor
    try:
        yield
    finally:
        del _own_folders[folder]


def _check_own(path: Path) -> None:
    for folder in path.parents:
        descriptor = _own_folders.get(folder)
        if descriptor is not None and not is_at(descriptor, folder):
            raise RunFolderError(
                f"output={folder}: is another folder than the one that this process has locked, "
                "which was moved or deleted; nothing is written into it"
            )


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through `write(file)` to a temporary name, sync, rename.

    A reader sees the old file or the new one; an exception leaves the old one and no temporary.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
        RunFolderError: the folder is no longer the one that this process has locked.
    """
    _check_own(path)
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        cause = _os_error(error)
        if cause is not None:
            raise machine_error(path, cause) from error
        raise


def _temporary(path: Path) -> Path:
    """A temporary name beside `path`, short enough for file systems even where `path` is not."""
    name = path.name
    if len(os.fsencode(name)) > 200:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{os.getpid()}{TEMPORARY}")


def _os_error(error: BaseException | None) -> OSError | None:
    """The operating system's error behind an error of torch."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        error = error.__cause__ or error.__context__
    return None


def machine_error(path: Path, error: OSError) -> MachineError:
    """One line about a file that cannot be written: the system's reason and the free space."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    hint = "choose another folder with output=..."
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        there = next(folder for folder in path.absolute().parents if folder.exists())
        free = shutil.disk_usage(there).free
        hint = (
            f"{free / 1e6:.1f} MB free; make room and run the same command with resume=auto "
            "(fundus-train) or as it is (the others)"
        )
    return MachineError(f"{path}: cannot be written ({reason}); {hint}")


def remove_stale_temporaries(folder: Path) -> None:
    """Delete the temporary files of killed writers; call while holding the folder's lock."""
    for path in folder.glob(f".*.[0-9]*{TEMPORARY}"):
        # A folder of this name is not ours.
        if path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def inside(folder: Path, *names: str | Path) -> Path:
    """The path of a file below `folder`; every name that comes from elsewhere goes through here.

    Raises:
        DataError: the names are absolute or lead out of the folder.
    """
    below = Path(*names)
    if below.anchor or ".." in below.parts or not below.parts:
        raise DataError(
            f"{folder}: nothing may be written as {str(below)!r}, which leads out of it"
        )
    return folder / below


def strict(value: Any) -> Any:
    """The same value with NaN and infinities as None, as strict JSON requires."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def write_json(path: Path, content: object) -> None:
    """Strict JSON, indented; NaN is written as null."""
    text = json.dumps(strict(content), indent=2, allow_nan=False, ensure_ascii=False)
    write_whole(path, lambda file: file.write((text + "\n").encode()))


def read_text(path: Path) -> str:
    """The text of a file of a run folder, which may come from a stranger.

    Raises:
        OSError: it does not exist or cannot be opened.
        ValueError: it is a pipe or a device, is larger than MOST_BYTES, or is not UTF-8.
    """
    return read_regular(path, MOST_BYTES).decode("utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty when the file is missing, damaged or holds no mapping."""
    try:
        content = json.loads(read_text(path), parse_int=_whole_number)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and _has_levels(content, MOST_LEVELS) else {}


def _whole_number(digits: str) -> int | float:
    # Python's integers have no end, and most of what is done with a number ends at a float.
    return int(digits) if len(digits) < 300 else float(digits)


def _has_levels(value: object, most: int) -> bool:
    """Whether mappings and lists are nested in at most `most` levels."""
    if not isinstance(value, dict | list):
        return True
    children = value.values() if isinstance(value, dict) else value
    return most > 0 and all(_has_levels(child, most - 1) for child in children)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A header and a row per mapping; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return to_cell(value) if isinstance(value, str) else value


FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The beginning of a text that spreadsheets would compute, or that `to_cell` has quoted."""


def to_cell(text: str) -> str:
    """The text of a CSV cell; a quote in front keeps spreadsheets from computing it."""
    return f"'{text}" if FORMULA.match(text) and not _is_number(text) else text


def from_cell(cell: str) -> str:
    """The text that `to_cell` wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def link_whole(source: Path, destination: Path) -> None:
    """Make `destination` a hard link to `source` in one atomic step.

    Both names keep their content when the other is later replaced, since files are only ever
    replaced whole. Where the file system has no hard links the bytes are copied.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
        RunFolderError: the folder is no longer the one that this process has locked.
    """
    _check_own(destination)
    temporary = _temporary(destination)
    try:
        temporary.unlink(missing_ok=True)
        os.link(source, temporary)
        temporary.replace(destination)
        # Replacing one link by another to the same file leaves the temporary name behind.
        temporary.unlink(missing_ok=True)
        sync(destination.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        with source.open("rb") as file:
            write_whole(destination, lambda out: shutil.copyfileobj(file, out))
