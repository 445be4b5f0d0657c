"""Findings about unmatched files, and the pairs that their names suggest."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from fundus_cli.check.file_findings import PAIRING
from fundus_cli.check.findings import Finding, below, finding
from fundus_cli.config.overrides import quoted
from fundus_cli.data.folder_contents import image_folders
from fundus_cli.data.mismatches import Mismatch, MismatchKind, plain_id
from fundus_cli.data.templates import Pairing

IMAGE_FOLDER = re.compile(r"image|img|photo|original|input|picture", re.IGNORECASE)
MASK_FOLDER = re.compile(r"mask|label|manual|annotation|vessel|target|seg|truth|gt", re.IGNORECASE)

Pairs = dict[tuple[str, str], Path]
"""{(role of the mask, id of the image): mask of another name}."""


def suggested_pairs(pairing: Pairing) -> Pairs:
    """Masks that belong to an image according to their name, although the template differs.

    The common start and end of all image names and of all mask names are removed, then case and
    leading zeros. Only unmatched files are paired, and only where the rest is unique on both sides.
    """
    pairs: Pairs = {}
    for role, missing, left_over in _by_role(pairing.mismatches):
        files = {m.identifier: m.files[0] for m in left_over}
        images = _cores([m.identifier for m in missing])
        masks = _cores(list(files))
        for normal in (lambda core: core, plain_id):
            wanted = _unique((normal(core), i) for i, core in images.items())
            there = _unique((normal(core), i) for i, core in masks.items())
            for core in wanted.keys() & there.keys() - {""}:
                pairs.setdefault((role, wanted[core]), files[there[core]])
        wanted = _unique((plain_id(m.identifier), m.identifier) for m in missing)
        there = _unique((plain_id(name), name) for name in files)
        for name in wanted.keys() & there.keys():
            pairs[role, wanted[name]] = files[there[name]]
    counts = Counter(pairs.values())
    return {key: path for key, path in pairs.items() if counts[path] == 1}


def _by_role(
    mismatches: Sequence[Mismatch],
) -> list[tuple[str, list[Mismatch], list[Mismatch]]]:
    """(role, missing, left over) of every role that has both."""
    roles = dict.fromkeys(m.role for m in mismatches)
    split = [
        (
            role,
            [m for m in mismatches if m.role == role and m.kind is MismatchKind.missing],
            [m for m in mismatches if m.role == role and m.kind is MismatchKind.left_over],
        )
        for role in roles
    ]
    return [entry for entry in split if entry[1] and entry[2]]


def _cores(names: Sequence[str]) -> dict[str, str]:
    """{name: the rest without the common start and end}; numbers are never split."""
    if len(names) < 2:
        return {}
    start = re.sub(r"\d+$", "", _common_start(names))
    rest = [name[len(start) :] for name in names]
    end = _common_start([name[::-1] for name in rest])[::-1]
    end = re.sub(r"^\d+", "", end)
    return {name: name[len(start) : len(name) - len(end)] for name in names if len(name) > len(end)}


def _common_start(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(character for character, _ in same)


def _unique(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{key: value} of the keys that occur once."""
    listed = list(entries)
    counts = Counter(key for key, _ in listed)
    return {key: value for key, value in listed if counts[key] == 1}


def pairing_findings(pairing: Pairing, pairs: Pairs, root: Path) -> list[Finding]:
    """A finding per mismatch."""
    mask_of = {path: identifier for (_, identifier), path in pairs.items()}
    found = []
    for m in pairing.mismatches:
        names = [below(path, root) for path in m.files]
        text, todo = f"{m.split} {m.role}", ""
        match m.kind:
            case MismatchKind.no_image:
                text = f"{m.split}: expected {m.template}; {_overview(root)}"
                todo = _overrides_for(m, root)
            case MismatchKind.not_listed:
                names, text = [], f"{m.split}: {m.identifier}"
            case MismatchKind.missing:
                text += f", expected {m.template}"
                mask = pairs.get((m.role, m.identifier))
                if mask is not None:
                    text += f"; its name suggests {below(mask, root)}"
                    todo = "rename the mask, or fix=true pairs them in a copy"
            case MismatchKind.left_over:
                if m.files[0] in mask_of:
                    text += f"; its name suggests the image {mask_of[m.files[0]]}"
                    todo = "rename the mask, or fix=true pairs them in a copy"
        found.append(finding(PAIRING[m.kind], names, text, split=m.split, todo=todo))
    return found


def _overview(root: Path) -> str:
    folders = image_folders(root)
    if not folders:
        return "no image file in any subfolder"
    shown = [f"{'.' if name == '.' else name + '/'} ({n})" for name, n in list(folders.items())[:8]]
    return "image files are in " + ", ".join(shown)


def _overrides_for(mismatch: Mismatch, root: Path) -> str:
    """The overrides that find the images, if the names of the folders are unambiguous."""
    if mismatch.split == "test":
        return "data.test=null if there are no test images; otherwise set data.test.image"
    folders = list(image_folders(root))
    images = [n for n in folders if IMAGE_FOLDER.search(n) and not MASK_FOLDER.search(n)]
    masks = [n for n in folders if MASK_FOLDER.search(n)]
    if len(images) != 1 or len(masks) != 1:
        return ""
    overrides = (
        quoted("data.train.image", f"{images[0]}/{{id}}.*"),
        quoted("data.train.targets.vessel", f"{masks[0]}/{{id}}.*"),
        "data.train.fov=null data.test=null",
    )
    return " ".join(shlex.quote(o) if '"' in o else o for o in overrides) + " (or names that fit)"
