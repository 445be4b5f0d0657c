"""Find the images to predict, and name the output file of each."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fundus_cli.config.overrides import quoted
from fundus_cli.data.decoding import is_readable_name
from fundus_cli.data.file_names import image_stem, plain_name
from fundus_cli.data.folder_contents import Unread, unread_in
from fundus_cli.data.templates import JUNK, FileIndex
from fundus_cli.errors import DataError, list_names

PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to predict.

    Attributes:
        path: the image.
        name: its path below the input folder, as in the table.
        target: path of its mask below the output folder (or below a structure's folder).
        fov: its field-of-view mask; None: detected in the image.
    """

    path: Path
    name: str
    target: Path
    fov: Path | None


def find_jobs(source: str, fov: str | None) -> list[Job]:
    """Find the images that `source` names, sorted by name.

    Args:
        source: a file, a folder (the images directly in it) or a pattern.
        fov: a folder of field-of-view masks or a template with {id}.

    Raises:
        DataError: no image was found.
    """
    base, paths = _found(source)
    if not paths:
        raise DataError(f"input={source}: no image found{_instead(source)}")
    relative = [path.relative_to(base) for path in paths]
    masks = _fov_masks(fov)
    return [
        Job(
            path=path,
            name=plain_name(below.as_posix()),
            target=target,
            fov=_own(masks, image_stem(path.name), fov),
        )
        for path, below, target in zip(paths, relative, target_names(relative), strict=True)
    ]


def unread_warning(source: str) -> str:
    """A warning of files in the input folder that probably hold images and are not read, or ""."""
    path = Path(source).expanduser()
    unread = unread_in(path).images() if path.is_dir() else Unread()
    return (
        f"warning: input={source}: not read: {unread}{_takes_all(source, unread)}" if unread else ""
    )


def _instead(source: str) -> str:
    path = Path(source).expanduser()
    unread = unread_in(path) if path.is_dir() else Unread()
    return f"; the folder holds {unread}{_takes_all(source, unread)}" if unread else ""


def _takes_all(source: str, unread: Unread) -> str:
    if not unread.folders:
        return ""
    return f"; '{quoted('input', source.rstrip('/') + '/**/*')}' takes them all"


def _found(source: str) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the images in it."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path, _kept(path.iterdir())
    # A name with brackets may be a pattern, but an existing file (or broken link) comes first.
    if path.exists() or path.is_symlink():
        return path.parent, [path]
    parts = path.parts
    first_open = next((i for i, part in enumerate(parts) if PATTERN.search(part)), None)
    if first_open is None:
        raise DataError(f"input={source}: does not exist")
    base = Path(*parts[:first_open])
    if not base.is_dir():
        raise DataError(f"input={source}: {base} is not a folder")
    return base, _kept(base.glob("/".join(parts[first_open:])))


def _kept(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if is_readable_name(p.name) and not JUNK.fullmatch(p.name))


def target_names(images: Sequence[Path]) -> list[Path]:
    """The path of each image's mask: the image's name with the extension .png.

    Where names differ only in the extension (or in case or Unicode form, which some file systems
    do not distinguish), all of them keep their extension before .png; names that are still equal
    are numbered.
    """
    targets = [path.with_name(image_stem(path.name) + ".png") for path in images]
    groups = defaultdict(list)
    for index, target in enumerate(targets):
        groups[_folded(target)].append(index)
    for indices in groups.values():
        for index in indices if len(indices) > 1 else ():
            targets[index] = images[index].with_name(images[index].name + ".png")
    taken: set[str] = set()
    for index, target in enumerate(targets):
        number = 1
        while _folded(targets[index]) in taken:
            number += 1
            targets[index] = target.with_name(f"{target.stem}_{number}.png")
        taken.add(_folded(targets[index]))
    return targets


def _folded(path: Path) -> str:
    return plain_name(path.as_posix()).casefold()


def _fov_masks(fov: str | None) -> dict[str, list[Path]]:
    if fov is None:
        return {}
    folder, _, name = fov.replace("\\", "/").rpartition("/")
    if "{id}" not in name:
        folder, name = fov, "{id}.*"
    root = Path(folder or ".").expanduser()
    if not root.is_dir():
        raise DataError(f"fov={fov}: {root} is not a folder")
    return FileIndex(root).find(name)


def _own(masks: dict[str, list[Path]], identifier: str, fov: str | None) -> Path | None:
    found = masks.get(plain_name(identifier), [])
    if len(found) > 1:
        names = list_names(path.name for path in found)
        raise DataError(f"fov={fov}: more than one mask for {identifier}: {names}; keep one")
    return found[0] if found else None
