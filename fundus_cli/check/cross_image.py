"""Checks across images: near-duplicates, persons in several splits, masks of other images."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fundus_cli.check import finding_kinds as kinds
from fundus_cli.check.alignment import MIN_PEAK, Verdict
from fundus_cli.check.copied_images import FINE_SIDE_PX, find_copies, fine_pattern
from fundus_cli.check.findings import Finding, below, finding
from fundus_cli.check.inspect_image import Inspected, UnmatchedMask
from fundus_cli.config import DataConfig
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.fov import find_fov
from fundus_cli.data.images import read_image
from fundus_cli.data.splits import person_of

MAX_UNMATCHED = 40
"""Maximum number of unmatched masks that are tried on each other's images."""
FITS = {Verdict.aligned, Verdict.shifted, Verdict.rotated, Verdict.inverted}
EYE = re.compile(
    r"(?P<person>.*\d)[_\-. ]?(?P<short>l|r|os|od|left|right)"
    r"|(?P<name>.+)[_\-. ](?P<long>l|r|os|od|left|right)",
    re.IGNORECASE,
)
"""Names that contain a person and an eye: `01L`, `7_right`, `a-OD`."""
EYE_PATTERN = r"""'data.person="(.*?)[_\-. ]?(?:[lLrR]|os|od|OS|OD|left|right)$"'"""


def copies(images: Sequence[Inspected], root: Path, max_megapixels: float) -> list[Finding]:
    """Images with identical pixels, then near-duplicates among the rest."""
    by_pixels: dict[str, list[Inspected]] = defaultdict(list)
    for one in images:
        if one.pixel_hash:
            by_pixels[one.pixel_hash].append(one)
    found = [
        _copy(equal, root, is_exact=True, text="the same pixels")
        for equal in by_pixels.values()
        if len(equal) > 1
    ]
    first = [equal[0] for equal in by_pixels.values() if equal[0].descriptor is not None]
    if len(first) < 2:
        return found
    descriptors = np.stack([one.descriptor for one in first if one.descriptor is not None])

    def fine(index: int) -> np.ndarray:
        try:
            image = read_image(first[index].job.files.image, max_megapixels)
        except BadFile:
            # Readable during inspection, so it was changed or deleted since: skip it.
            return np.zeros((FINE_SIDE_PX, FINE_SIDE_PX), np.float32)
        return fine_pattern(image, find_fov(image))

    is_small = np.array([one.inside < FINE_SIDE_PX**2 for one in first])
    for group in find_copies(descriptors, is_small, fine):
        members = [one for k in group.members for one in by_pixels[first[k].pixel_hash]]
        text = ", ".join((f"correlation {group.correlation:.3f}", *group.orientations))
        sizes = sorted({one.hw for one in members if one.hw is not None})
        if len(sizes) > 1:
            text += ", " + " and ".join(f"{w}x{h}" for h, w in sizes)
        found.append(_copy(members, root, is_exact=False, text=text))
    return found


def _copy(members: Sequence[Inspected], root: Path, *, is_exact: bool, text: str) -> Finding:
    splits = sorted({one.job.split for one in members})
    if len(splits) == 1:
        kind = kinds.COPY_WITHIN
    else:
        kind = kinds.COPY_ACROSS if is_exact else kinds.NEAR_COPY_ACROSS
    names = [below(one.job.files.image, root) for one in members]
    return finding(kind, names, f"in {' and '.join(splits)}: {text}", split=",".join(splits))


def persons(images: Sequence[Inspected], config: DataConfig, root: Path) -> list[Finding]:
    """Images of one person in several splits, according to data.person or to the file names."""
    groups: dict[str, list[Inspected]] = defaultdict(list)
    for one in images:
        if config.person is not None:
            groups[person_of(one.job.files.id, config.person)].append(one)
        elif (eye := _eye(one.job.files.id)) is not None:
            groups[eye[0]].append(one)
    found = []
    for members in groups.values():
        splits = sorted({one.job.split for one in members})
        if len(splits) < 2:
            continue
        names = [below(one.job.files.image, root) for one in members]
        text, both = " and ".join(splits), ",".join(splits)
        if config.person is not None:
            found.append(finding(kinds.PERSON_ACROSS, names, text, split=both))
        elif len({_eye(one.job.files.id) for one in members}) == 2:
            todo = (
                f"{EYE_PATTERN} keeps them together in train and val; move images of test by hand"
            )
            found.append(finding(kinds.EYES_APART, names, text, split=both, todo=todo))
    return found


def _eye(identifier: str) -> tuple[str, str] | None:
    """(person, eye) that an id names."""
    match = EYE.fullmatch(identifier)
    if match is None:
        return None
    eye = (match["short"] or match["long"]).casefold()
    side = {"l": "left", "os": "left", "r": "right", "od": "right"}.get(eye, eye)
    return (match["person"] or match["name"]).casefold(), side


def unmatched_masks(images: Sequence[Inspected], root: Path) -> list[Finding]:
    """Masks that do not fit their image, with the image that they fit.

    Without such an image, a mask is reported only if most masks of its structure fit: a disc, for
    example, never correlates with dark lines.
    """
    judged: dict[str, Counter[bool]] = defaultdict(Counter)
    unmatched: list[tuple[UnmatchedMask, str]] = []
    for one in images:
        unmatched += [(mask, one.job.split) for mask in one.unmatched_masks]
        for structure, path in (*one.job.files.targets.items(), *one.job.files.observer2.items()):
            if path in one.alignments and one.alignments[path].verdict is not Verdict.unclear:
                judged[structure][one.alignments[path].verdict in FITS] += 1
    found = []
    others = [mask for mask, _ in unmatched[:MAX_UNMATCHED]]
    for number, (mask, split) in enumerate(unmatched):
        of_structure = judged[mask.structure]
        owner = _owner(mask, others) if number < MAX_UNMATCHED else None
        name = below(mask.path, root)
        if owner is not None:
            text = f"fits {below(owner.image_path, root)}"
            found.append(finding(kinds.MASK_ELSEWHERE, [name], text, split=split))
        elif of_structure[True] > of_structure[False]:
            text = f"{of_structure[True]} of {of_structure.total()} masks fit, this one does not"
            found.append(finding(kinds.MASK_ELSEWHERE, [name], text, split=split))
    return found


def _owner(mask: UnmatchedMask, others: Sequence[UnmatchedMask]) -> UnmatchedMask | None:
    """The mask whose image this one fits."""
    best, owner = MIN_PEAK, None
    for other in others:
        if other is mask or other.seen.hw != mask.mask.shape:
            continue
        fit = float(other.seen.correlations(mask.mask).max())
        if fit >= best:
            best, owner = fit, other
    return owner


def empty_structures(images: Sequence[Inspected], structures: Sequence[str]) -> list[Finding]:
    """Structures whose masks are all empty."""
    found = []
    for structure in structures:
        marked = [one.covered[structure] for one in images if structure in one.covered]
        if len(marked) > 1 and not any(marked):
            text = f"{structure}: {len(marked)} masks"
            found.append(finding(kinds.ALL_EMPTY, [], text))
    return found
