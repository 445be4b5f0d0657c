"""Describe the files of a folder that are not read: other endings, and images further down."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fundus_cli.data.decoding import FORMAT_NAMES, is_readable_name
from fundus_cli.errors import printable

MAX_DEPTH = 3
MAX_FOLDERS = 2000
"""Folders that are looked at: a message must not wait for a whole drive."""

IMAGE_ENDINGS = {
    *(".dcm", ".dicom", ".heic", ".heif", ".jxl", ".svg", ".psd", ".xcf", ".exr", ".npy", ".npz"),
    *(".mat", ".nii", ".nrrd", ".mha", ".raw", ".nef", ".cr2", ".dng", ".avifs", ".pdf", ".zip"),
    "",
}
"""Endings of files that probably hold images, and are not read; "" is a name without an ending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What a folder holds besides the images directly in it.

    Attributes:
        endings: {ending in lower case: number of files directly in the folder}.
        folders: {folder below it: number of images in it}, down to MAX_DEPTH.
    """

    endings: Counter[str] = field(default_factory=Counter)
    folders: dict[str, int] = field(default_factory=dict)

    @property
    def num_below(self) -> int:
        """Images in subfolders."""
        return sum(self.folders.values())

    def images(self) -> "Unread":
        """Only what probably holds images."""
        kept = {ending: n for ending, n in self.endings.items() if ending in IMAGE_ENDINGS}
        return Unread(endings=Counter(kept), folders=self.folders)

    def __bool__(self) -> bool:
        return bool(self.endings or self.folders)

    def __str__(self) -> str:
        parts = []
        if self.endings:
            listed = [f"{n} {e or 'without an ending'}" for e, n in sorted(self.endings.items())]
            parts.append(f"{', '.join(listed)} (read are {', '.join(FORMAT_NAMES)})")
        if self.folders:
            shown = [f"{name}/ ({n})" for name, n in sorted(self.folders.items())[:3]]
            more = ", ..." if len(self.folders) > 3 else ""
            parts.append(f"{_images(self.num_below)} in subfolders: {', '.join(shown)}{more}")
        return printable(" and ".join(parts))


def _images(number: int) -> str:
    return f"{number} image{'s' * (number != 1)}"


def image_folders(root: Path) -> dict[str, int]:
    """{folder below root, `.` for root: number of image files in it}, down to MAX_DEPTH."""
    found = {}
    for here, names in _walk(root):
        if number := sum(is_readable_name(name) for name in names):
            found[here.relative_to(root).as_posix()] = number
    return found


def unread_in(folder: Path) -> Unread:
    """What a folder holds that is not read; empty where it cannot be listed."""
    endings: Counter[str] = Counter()
    for here, names in _walk(folder):
        if here == folder:
            hidden_or_read = (n for n in names if not n.startswith(".") and not is_readable_name(n))
            endings.update(Path(name).suffix.lower() for name in hidden_or_read)
            break
    folders = image_folders(folder)
    folders.pop(".", None)
    return Unread(endings=endings, folders=folders)


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for number, (here, folders, names) in enumerate(os.walk(root)):
        if number >= MAX_FOLDERS:
            return
        relative = Path(here).relative_to(root)
        if len(relative.parts) >= MAX_DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(here), names
