"""Match files to path templates, and report every mismatch.

A template is a path below the data set's folder with {id} in it, as in
`training/images/{id}_training.tif`. Extensions match in any case; `.*` stands for every supported
image format; `.tif` also finds `.tiff`, `.jpg` also `.jpeg`, and `.ppm` also `.ppm.gz`.
"""

import fnmatch
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from fundus_cli.config import SplitConfig
from fundus_cli.data.decoding import READABLE_SUFFIXES
from fundus_cli.data.folder_contents import unread_in
from fundus_cli.data.mismatches import Mismatch, MismatchKind, plain_id
from fundus_cli.errors import DataError, Problems, printable

JUNK = re.compile(r"(\..*|thumbs\.db|desktop\.ini|.*~|~.*)", re.IGNORECASE)
"""Names of files that systems and editors create; never images."""

TWIN_SUFFIXES = {".tif": r"\.tiff?", ".tiff": r"\.tiff?", ".jpg": r"\.jpe?g", ".jpeg": r"\.jpe?g"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFiles:
    """The files of one image."""

    id: str
    image: Path
    targets: dict[str, Path]
    fov: Path | None = None
    observer2: dict[str, Path] = field(default_factory=dict)

    def paths(self) -> list[Path]:
        """Every file, the image first."""
        fov = [self.fov] if self.fov is not None else []
        return [self.image, *self.targets.values(), *fov, *self.observer2.values()]


class FileIndex:
    """The files below a folder; each directory is listed once, for any number of templates."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.num_junk = 0
        self._names_by_folder: dict[str, list[str]] = {}

    def find(self, template: str) -> dict[str, list[Path]]:
        """{id: every file that fits the template}; ids are in Unicode form NFC, and printable."""
        parts = template.split("/")
        base = folder_of(template)
        first_open = base.count("/") + 1 if base else 0
        pattern = re.compile(template_pattern("/".join(parts[first_open:])))
        found: dict[str, list[Path]] = {}
        for name in self._names(base, deep=first_open < len(parts) - 1):
            match = pattern.fullmatch(unicodedata.normalize("NFC", name))
            if match:
                found.setdefault(printable(match["id"]), []).append(self.root / base / name)
        return found

    def _names(self, base: str, deep: bool) -> list[str]:
        key = f"{base}//{deep}"
        if key not in self._names_by_folder:
            names = list(_walk(self.root / base) if deep else _scan(self.root / base))
            kept = [name for name in names if not JUNK.fullmatch(name.rpartition("/")[2])]
            self.num_junk += len(names) - len(kept)
            self._names_by_folder[key] = sorted(kept)
        return self._names_by_folder[key]


def _scan(folder: Path) -> Iterable[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error


def _walk(folder: Path) -> Iterable[str]:
    for here, _, names in os.walk(folder):
        below = Path(here).relative_to(folder)
        yield from ((below / name).as_posix() for name in names)


def template_pattern(template: str) -> str:
    """The regular expression of a template's open part, with the group `id`."""
    stem, suffix = template, ""
    if template.endswith(".*"):
        stem = template[:-2]
        types = "|".join(re.escape(s[1:]) for s in READABLE_SUFFIXES)
        suffix = rf"\.(?i:(?:{types})(?:(?<=p[pgb]m)\.gz)?)"
    else:
        dot = template.rfind(".")
        if dot > template.rfind("}"):
            stem, literal = template[:dot], template[dot:].lower()
            twin = TWIN_SUFFIXES.get(literal, re.escape(literal))
            optional_gz = r"(?:\.gz)?" if literal in (".ppm", ".pgm", ".pbm") else ""
            suffix = f"(?i:{twin}{optional_gz})"
    pattern = re.escape(unicodedata.normalize("NFC", stem)).replace(r"\*", "[^/]*")
    pattern = pattern.replace(r"\{id\}", "(?P<id>[^/]+)", 1).replace(r"\{id\}", "(?P=id)")
    return pattern + suffix


def ids_in(template: str, names: Iterable[str]) -> list[str]:
    """The ids of those names, as paths below the data set's folder, that fit a template."""
    pattern = re.compile(template_pattern(template))
    matches = (pattern.fullmatch(unicodedata.normalize("NFC", name)) for name in names)
    return [printable(match["id"]) for match in matches if match]


def listed(identifier: str, patterns: Sequence[str]) -> bool:
    """Whether an id belongs to a split's `ids`."""
    return any(fnmatch.fnmatchcase(identifier, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The files of one split, paired by id.

    Attributes:
        images: the image of every id.
        targets: {structure: {id: mask}}, also those without an image.
        fovs: {id: field-of-view mask} likewise.
        observer2: {structure: {id: mask}} likewise.
        has_fov: field-of-view masks belong to the split.
        mismatches: everything that does not pair.
    """

    images: dict[str, Path]
    targets: dict[str, dict[str, Path]]
    fovs: dict[str, Path]
    observer2: dict[str, dict[str, Path]]
    has_fov: bool
    mismatches: list[Mismatch]

    def files(self, identifier: str) -> SampleFiles:
        """The existing files of one image; masks may be missing."""
        return SampleFiles(
            id=identifier,
            image=self.images[identifier],
            targets={n: f[identifier] for n, f in self.targets.items() if identifier in f},
            fov=self.fovs.get(identifier),
            observer2={n: f[identifier] for n, f in self.observer2.items() if identifier in f},
        )

    def is_complete(self, identifier: str) -> bool:
        """Whether an image has all files that its split requires."""
        has_targets = all(identifier in files for files in self.targets.values())
        return has_targets and (not self.has_fov or identifier in self.fovs)


def match_split(
    index: FileIndex, split: SplitConfig, split_name: str, problems: Problems
) -> list[SampleFiles]:
    """Pair every image of a split with its masks by id, adding each mismatch to `problems`.

    Returns:
        The complete ones in order of their ids.
    """
    pairing = pair_files(index, split, split_name)
    for mismatch in pairing.mismatches:
        problems.add(*mismatch.problem())
    return [pairing.files(i) for i in sorted(pairing.images) if pairing.is_complete(i)]


def pair_files(index: FileIndex, split: SplitConfig, split_name: str) -> Pairing:
    """Pair every image of a split with its masks by id."""
    mismatches: list[Mismatch] = []

    def wrong(kind: MismatchKind, role: str, template: str, **more: Any) -> None:
        mismatches.append(
            Mismatch(kind=kind, split=split_name, role=role, template=template, **more)
        )

    images = _one_each(index, split.image, split.ids, partial(wrong, role="image"))
    if not images:
        hint = _instead_of_images(index, split, split_name)
        wrong(MismatchKind.no_image, "image", split.image, hint=hint)
    for literal in split.ids:
        if images and not any(c in literal for c in "*?[") and literal not in images:
            wrong(MismatchKind.not_listed, "image", split.image, identifier=literal)
    targets = {
        name: _partners(
            index, template, split, images, partial(wrong, role=f"{name} mask", structure=name)
        )
        for name, template in split.targets.items()
    }
    has_fov = split.fov is not None and (not split.fov_optional or bool(index.find(split.fov)))
    fovs = (
        _partners(index, split.fov, split, images, partial(wrong, role="field-of-view mask"))
        if has_fov and split.fov is not None
        else {}
    )
    observer2 = {
        name: _one_each(
            index, template, split.ids, partial(wrong, role="second observer", structure=name)
        )
        for name, template in split.observer2.items()
    }
    return Pairing(
        images=images,
        targets=targets,
        fovs=fovs,
        observer2=observer2,
        has_fov=has_fov,
        mismatches=mismatches,
    )


def _instead_of_images(index: FileIndex, split: SplitConfig, split_name: str) -> str:
    """Why a split has no image: other ids, other endings, images further down, or no folder."""
    if ids := sorted(index.find(split.image)):
        between = f"{ids[0]} to {ids[-1]}" if len(ids) > 1 else ids[0]
        patterns = ", ".join(map(printable, split.ids))
        return (
            f"; {len(ids)} files fit, with ids {between}, but none is in "
            f"data.{split_name}.ids=[{patterns}]"
        )
    folder = folder_of(split.image)
    if not folder.endswith("_images") and (index.root / f"{split_name}_images").is_dir():
        return f"; there is a folder {split_name}_images, which data=folder reads"
    if not (index.root / folder).is_dir():
        without = "; without test images: data.test=null" if split_name == "test" else ""
        return f"; there is no folder {folder}{without}"
    unread = unread_in(index.root / folder)
    return f"; the folder holds {unread}" if unread else "; the folder is empty"


def folder_of(template: str) -> str:
    """The folders of a template in front of its first wildcard; "" for the data set's own."""
    parts = template.split("/")[:-1]
    return "/".join(takewhile(lambda part: "{id}" not in part and "*" not in part, parts))


def _one_each(
    index: FileIndex, template: str, ids: Sequence[str], wrong: Callable[..., None]
) -> dict[str, Path]:
    unique = {}
    for identifier, paths in index.find(template).items():
        if not listed(identifier, ids):
            continue
        if len(paths) > 1:
            wrong(
                MismatchKind.doubled,
                template=template,
                identifier=identifier,
                files=tuple(sorted(paths)),
            )
        unique[identifier] = paths[0]
    return unique


def _partners(
    index: FileIndex,
    template: str,
    split: SplitConfig,
    images: dict[str, Path],
    wrong: Callable[..., None],
) -> dict[str, Path]:
    found = _one_each(index, template, split.ids, wrong)
    left_over = {identifier for identifier in found if identifier not in images}
    left_over_by_plain = {plain_id(identifier): identifier for identifier in sorted(left_over)}
    for identifier in images:
        if identifier not in found:
            near = left_over_by_plain.get(plain_id(identifier))
            wrong(
                MismatchKind.missing,
                template=template,
                identifier=identifier,
                files=(images[identifier],),
                near=found[near] if near is not None else None,
            )
    for identifier in sorted(left_over):
        wrong(
            MismatchKind.left_over,
            template=split.image,
            identifier=identifier,
            files=(found[identifier],),
        )
    return found
