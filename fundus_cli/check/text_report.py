"""Write the report as text and as JSON."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fundus_cli.check.findings import Group, below, counts, grouped, printable, summed
from fundus_cli.check.inspect_dataset import Survey
from fundus_cli.check.inspect_image import Inspected
from fundus_cli.check.repair import Repair
from fundus_cli.config.overrides import quoted
from fundus_cli.data.dataset import SPLITS

PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./+-]+")
"""Values that need no quotes on the command line."""
MAX_FILES_SHOWN = 12
"""Maximum number of files per kind on the terminal; report.txt lists all."""


def text_lines(result: Survey, max_files: int | None) -> list[str]:
    """The report as lines.

    Args:
        result: the checked data set.
        max_files: files listed per kind of finding, None for all.
    """
    lines = [f"data={result.config.name} data.root={printable(str(result.root))}"]
    for split in SPLITS:
        of_split = [one for one in result.images if one.job.split == split]
        if of_split:
            lines += _split_lines(split, of_split)
    lines += _covered_lines(result)
    number = counts(result.findings)
    notes = f", {number['note']} note{'s' * (number['note'] != 1)}" if number["note"] else ""
    lines += ["", summed(result.findings) + notes]
    for group in grouped(result.findings):
        lines += ["", *_group_lines(group, max_files)]
    return lines


def _split_lines(split: str, images: Sequence[Inspected]) -> list[str]:
    lines = [f"  {split}: {len(images)} images"]
    seen = [one.facts[path] for one in images if (path := one.job.files.image) in one.facts]
    sizes = (f"{one.hw[1]}x{one.hw[0]}" for one in images if one.hw is not None)
    lines.append(f"    sizes      {_most(sizes)}")
    lines.append(f"    formats    {_most(f.encoding for f in seen)}")
    masks = [
        one.facts[path]
        for one in images
        for path in one.job.files.targets.values()
        if path in one.facts
    ]
    lines.append(f"    masks      {_most(f.encoding for f in masks)}")
    own = sum(one.job.files.fov is not None for one in images)
    lines.append(f"    field of view  {own} from files, {len(images) - own} detected")
    return lines


def _most(values: Iterable[str]) -> str:
    """`999x960 (20), 700x605 (3)`: the most frequent values, with their number."""
    listed = Counter(values).most_common()
    shown = ", ".join(f"{value} ({number})" for value, number in listed[:5])
    rest = sum(number for _, number in listed[5:])
    return (shown or "none readable") + (f", {rest} others" if rest else "")


def _covered_lines(result: Survey) -> list[str]:
    lines = []
    for structure in result.config.structures:
        shares = [
            one.covered[structure] / one.inside for one in result.images if structure in one.covered
        ]
        if shares:
            lines.append(
                f"  {structure}: marks {np.mean(shares):.1%} of the field of view on average, "
                f"{min(shares):.1%} to {max(shares):.1%}"
            )
    return lines


def _group_lines(group: Group, max_files: int | None) -> list[str]:
    number = len(group.findings)
    lines = [f"{group.severity.value.upper()}  {group.kind.what}  [{group.kind.code}: {number}]"]
    lines += [f"  likely  {group.means}", f"  do      {group.todo}"]
    shown = group.findings if max_files is None else group.findings[:max_files]
    for one in shown:
        names = " and ".join(one.files)
        lines.append("    " + "   ".join(part for part in (names, one.found) if part))
    if len(shown) < number:
        lines.append(f"    and {number - len(shown)} more, see report.txt")
    return lines


def plain(result: Survey) -> dict[str, object]:
    """The content of report.json."""
    return {
        "data": result.config.name,
        "root": printable(str(result.root)),
        "counts": counts(result.findings),
        "findings": [one.plain() for one in result.findings],
        "images": [_image_facts(one, result) for one in result.images],
        "contact_sheet": [path.name for path in result.pages],
    }


def _image_facts(one: Inspected, result: Survey) -> dict[str, object]:
    facts = one.facts.get(one.job.files.image)
    files = one.job.files
    return {
        "id": printable(files.id),
        "split": one.job.split,
        "file": below(files.image, result.root),
        "height": one.hw[0] if one.hw is not None else None,
        "width": one.hw[1] if one.hw is not None else None,
        "format": facts.format if facts else None,
        "mode": facts.mode if facts else None,
        "bits": facts.bits if facts else None,
        "exif_orientation": facts.orientation if facts else None,
        "fov_px": one.inside or None,
        "fov_file": below(files.fov, result.root) if files.fov is not None else None,
        "masks": {
            name: {
                "file": below(path, result.root),
                "marked_px": one.covered.get(name),
                "alignment": one.alignments[path].plain() if path in one.alignments else None,
            }
            for name, path in files.targets.items()
        },
    }


def repair_lines(made: Repair, result: Survey, folder: Path) -> list[str]:
    """Summarise the repaired copy: its content, what was left out, and how to train on it."""
    num_by_change = Counter(change.what for change in made.changes)
    number = " and ".join(f"{count} {split}" for split, count in made.written.items())
    lines = ["", f"REPAIRED COPY  {printable(str(folder))}: {number} images"]
    lines += [f"  {what}: {count}" for what, count in num_by_change.items()]
    left = [change for change in made.changes if not change.file]
    lines += [f"    {change.source}   {change.why}" for change in left]
    if made.after.wrong:
        lines += ["  not repaired, copied unchanged:"]
        lines += [
            f"    {' and '.join(one.files)}   {one.kind.what}   {one.found}".rstrip()
            for one in made.after.wrong
        ]
    lines.append("  changes.csv has a row per change; train on the copy with")
    root = _override("data.root", str(folder))
    no_test = "" if made.written["test"] else " data.test=null"
    if len(result.config.structures) == 1:
        lines.append(f"    fundus-train {root}{no_test}")
    presets = shlex.quote(str(folder / "configs"))
    lines.append(f"    fundus-train --config-dir {presets} data=repaired {root}   (keeps data.*)")
    return lines


def _override(key: str, value: str) -> str:
    """key=value as a shell and Hydra take it."""
    return f"{key}={value}" if PLAIN_VALUE.fullmatch(value) else shlex.quote(quoted(key, value))
