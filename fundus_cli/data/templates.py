"""Path templates to matched files, with every mismatch named.

A template is a path below the data set's folder with {id} in it, as in
`training/images/{id}_training.tif`. Endings match in any case; `.*` stands for every image type
that can be read; `.tif` also finds `.tiff`, `.jpg` also `.jpeg`, and `.ppm` also `.ppm.gz`.
"""

import fnmatch
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fundus_cli.config import SplitConfig
from fundus_cli.data.decoding import READABLE_SUFFIXES
from fundus_cli.errors import Problems

JUNK = re.compile(r"(\..*|thumbs\.db|desktop\.ini|.*~|~.*)", re.IGNORECASE)
"""Names that systems and editors leave behind; never photographs."""

TWIN_SUFFIXES = {".tif": r"\.tiff?", ".tiff": r"\.tiff?", ".jpg": r"\.jpe?g", ".jpeg": r"\.jpe?g"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFiles:
    """The files of one photograph."""

    id: str
    image: Path
    targets: dict[str, Path]
    fov: Path | None = None
    observer2: dict[str, Path] = field(default_factory=dict)

    def paths(self) -> list[Path]:
        """Every file, the photograph first."""
        fov = [self.fov] if self.fov is not None else []
        return [self.image, *self.targets.values(), *fov, *self.observer2.values()]


class FileIndex:
    """The files below a folder, listed once per directory whatever the number of templates."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.num_junk = 0
        self._names_by_folder: dict[str, list[str]] = {}

    def find(self, template: str) -> dict[str, list[Path]]:
        """{id: every file that fits the template}; ids are in Unicode form NFC."""
        parts = template.split("/")
        first_open = next(i for i, part in enumerate(parts) if "{id}" in part or "*" in part)
        pattern = re.compile(template_pattern("/".join(parts[first_open:])))
        base = "/".join(parts[:first_open])
        found: dict[str, list[Path]] = {}
        for name in self._names(base, deep=first_open < len(parts) - 1):
            match = pattern.fullmatch(unicodedata.normalize("NFC", name))
            if match:
                found.setdefault(match["id"], []).append(self.root / base / name)
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


def listed(identifier: str, patterns: Sequence[str]) -> bool:
    """Whether an id belongs to a split's `ids`."""
    return any(fnmatch.fnmatchcase(identifier, pattern) for pattern in patterns)


def match_split(
    index: FileIndex, split: SplitConfig, split_name: str, problems: Problems
) -> list[SampleFiles]:
    """Pair every photograph of a split with its masks by id, adding each mismatch to `problems`.

    Returns:
        The complete ones in order of their ids.
    """
    images = _one_each(index, split.image, split.ids, problems, f"{split_name} photograph")
    if not images:
        problems.add(f"{split_name}: no photograph found; expected", split.image)
    for literal in split.ids:
        if images and not any(c in literal for c in "*?[") and literal not in images:
            problems.add(f"{split_name}: listed in data.{split_name}.ids but not found", literal)
    targets = {
        name: _partners(index, template, split, images, problems, f"{split_name} {name} mask")
        for name, template in split.targets.items()
    }
    fovs = (
        _partners(index, split.fov, split, images, problems, f"{split_name} field-of-view mask")
        if split.fov is not None
        else {}
    )
    observer2 = {
        name: _one_each(index, template, split.ids, problems, f"{split_name} second observer")
        for name, template in split.observer2.items()
    }
    return [
        SampleFiles(
            id=identifier,
            image=image,
            targets={name: files[identifier] for name, files in targets.items()},
            fov=fovs.get(identifier),
            observer2={
                n: files[identifier] for n, files in observer2.items() if identifier in files
            },
        )
        for identifier, image in sorted(images.items())
        if all(identifier in files for files in targets.values())
        and (split.fov is None or identifier in fovs)
    ]


def _one_each(
    index: FileIndex, template: str, ids: Sequence[str], problems: Problems, what: str
) -> dict[str, Path]:
    unique = {}
    for identifier, paths in index.find(template).items():
        if not listed(identifier, ids):
            continue
        if len(paths) > 1:
            names = " and ".join(sorted(path.name for path in paths))
            problems.add(f"{what}: more than one file for one id; keep one", names)
        unique[identifier] = paths[0]
    return unique


def _partners(
    index: FileIndex,
    template: str,
    split: SplitConfig,
    images: dict[str, Path],
    problems: Problems,
    what: str,
) -> dict[str, Path]:
    found = _one_each(index, template, split.ids, problems, what)
    left_over = {identifier for identifier in found if identifier not in images}
    for identifier in images:
        if identifier not in found:
            near = sorted(other for other in left_over if _alike(other, identifier))
            hint = f" (found {found[near[0]].name}, which is another name)" if near else ""
            problems.add(
                f"{what} missing, expected {template}, for", images[identifier].name + hint
            )
    for identifier in sorted(left_over):
        problems.add(f"{what} without a photograph {split.image}", found[identifier].name)
    return found


def _alike(one: str, other: str) -> bool:
    """Whether two ids differ only in case or in leading zeros."""

    def plain(text: str) -> str:
        return re.sub(r"0+(?=\d)", "", text.casefold())

    return plain(one) == plain(other)
