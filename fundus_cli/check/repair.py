"""Write a repaired copy of a data set: unambiguous problems are fixed, the rest is left out."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fundus_cli.check.findings import below
from fundus_cli.check.inspect_dataset import Survey, survey
from fundus_cli.check.inspect_image import Inspected
from fundus_cli.check.repair_image import Change, Entry, ImageRepairer, left_out, mask_folder
from fundus_cli.config import DataConfig, MaskChannel, SplitConfig, to_plain
from fundus_cli.data.mismatches import Mismatch, MismatchKind
from fundus_cli.data.templates import SampleFiles
from fundus_cli.errors import RunFolderError
from fundus_cli.run.files import machine_error, remove_stale_temporaries, write_whole
from fundus_cli.runtime.temporaries import TEMPORARY, sync
from fundus_cli.runtime.timeouts import Timeout, in_order

PRESET = Path("configs") / "data" / "repaired.yaml"
SUFFIX = "{id}.*"
COPY_FOLDERS = tuple(
    f"{split}_{kind}"
    for split in ("train", "test")
    for kind in ("images", "masks", "fov", "observer2")
)
UNFINISHED = f".copy{TEMPORARY}"
"""Folder in the output folder that is there until the copy and the report are complete."""


@dataclass(slots=True, kw_only=True)
class Repair:
    """A repaired copy.

    Attributes:
        changes: a row per change or file left out.
        written: {train or test: images in the copy}.
        after: the check of the copy.
    """

    changes: list[Change] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    after: Survey

    def plain(self) -> dict[str, object]:
        """Plain values for report.json."""
        return {
            "written": self.written,
            "changes": [change.plain() for change in self.changes],
            "still_wrong": [one.plain() for one in self.after.wrong],
        }


def refuse_place(folder: Path, root: Path) -> None:
    """Raise RunFolderError unless a copy can be written there without touching the data set."""
    there, here = folder.resolve(), root.resolve()
    if there == here or here in there.parents:
        raise RunFolderError(
            f"output={folder}: is inside the data set; fix=true needs another folder"
        )
    if (folder / UNFINISHED).exists():
        return
    taken = [name for name in COPY_FOLDERS if (folder / name).exists()]
    if taken:
        raise RunFolderError(f"output={folder}: already contains {taken[0]}; choose another folder")


def _begin_copy(folder: Path) -> Path:
    """A new folder for the copy until it is complete; deletes what a killed process has left."""
    unfinished = folder / UNFINISHED
    if unfinished.exists():
        # refuse_place let the killed process write here, so these are its own.
        for name in (*COPY_FOLDERS, UNFINISHED):
            shutil.rmtree(folder / name, ignore_errors=True)
    try:
        unfinished.mkdir()
    except OSError as error:
        raise machine_error(unfinished, error) from error
    return unfinished


def _move_copy(folder: Path) -> None:
    """Give the copy's folders their names, now that all are complete."""
    try:
        for path in sorted((folder / UNFINISHED).iterdir()):
            path.rename(folder / path.name)
        sync(folder)
    except OSError as error:
        raise machine_error(folder, error) from error


def finish_copy(folder: Path) -> None:
    """Call once the report is written: from now on the folder is refused for another copy."""
    (folder / UNFINISHED).rmdir()


def repair(result: Survey, folder: Path, progress: Callable[[int], None]) -> Repair:
    """Write the repaired copy, and check it again.

    The copy has the layout of data=folder, and configs/data/repaired.yaml for what this layout
    cannot express (persons, several structures, a second observer).

    A killed process leaves no half copy under these names, and the same call starts again. Call
    `finish_copy` once the report is written.

    Raises:
        MachineError: it cannot be written.
    """
    entries, changes = _entries(result)
    written = {"train": 0, "test": 0}
    unfinished = _begin_copy(folder)
    repairer = ImageRepairer(result.config, result.root, unfinished)
    timeout = Timeout.of(result.config)
    try:
        repaired = in_order(
            repairer, entries, timeout, lambda entry: f"copying {entry.files.image}"
        )
        for entry, (is_written, of_entry) in zip(entries, repaired, strict=True):
            changes += of_entry
            written[entry.split] += is_written
            progress(len(entries))
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _move_copy(folder)
    config = _config_of_copy(result.config, written["test"] > 0)
    _write_preset(config, folder)
    after = survey(replace(config, root=str(folder)), folder, None, lambda total: None)
    return Repair(changes=changes, written=written, after=after)


def _copying(entry: Entry) -> str:
    return f"copying {entry.files.image}"


def _entries(result: Survey) -> tuple[list[Entry], list[Change]]:
    """The images to copy with all their masks, and the files that are left out."""
    copy_of = _equal_images(result)
    entries, changes = [], []
    for split, pairing in result.pairings.items():
        pairs = result.pairs[split]
        doubled = {
            (m.role, m.identifier): m.files
            for m in pairing.mismatches
            if m.kind is MismatchKind.doubled
        }
        for identifier in sorted(pairing.images):
            files = _with_pairs(pairing.files(identifier), pairs)
            if files.image in copy_of:
                kept = below(copy_of[files.image], result.root)
                changes.append(left_out(files.image, result.root, f"the same image as {kept}"))
                continue
            of_this = {role: paths for (role, i), paths in doubled.items() if i == identifier}
            renamed = frozenset(p for (_, i), p in pairs.items() if i == identifier)
            entries.append(Entry(split=split, files=files, doubled=of_this, renamed=renamed))
        used = set(pairs.values())
        changes += [
            left_out(m.files[0], result.root, "has no image")
            for m in pairing.mismatches
            if _is_left_over(m) and m.files[0] not in used
        ]
    return entries, changes


def _is_left_over(mismatch: Mismatch) -> bool:
    return mismatch.kind is MismatchKind.left_over


def _with_pairs(files: SampleFiles, pairs: dict[tuple[str, str], Path]) -> SampleFiles:
    """Add the masks that are paired by similar names."""
    targets, fov = dict(files.targets), files.fov
    for (role, identifier), path in pairs.items():
        if identifier != files.id:
            continue
        if role == "field-of-view mask":
            fov = path
        else:
            targets[role.removesuffix(" mask")] = path
    return replace(files, targets=targets, fov=fov)


def _equal_images(result: Survey) -> dict[Path, Path]:
    """{image to leave out: its duplicate that is kept}; images of test are kept."""
    first: dict[str, Inspected] = {}
    left: dict[Path, Path] = {}
    structures = set(result.config.structures)

    def rank(one: Inspected) -> tuple[bool, bool, str]:
        return not structures <= set(one.covered), one.job.split != "test", one.job.files.id

    for one in sorted(result.images, key=rank):
        if not one.pixel_hash:
            continue
        kept = first.setdefault(one.pixel_hash, one)
        if kept is not one:
            left[one.job.files.image] = kept.job.files.image
    return left


def _config_of_copy(config: DataConfig, has_test: bool) -> DataConfig:
    """The data config of the copy, whose masks need no rule."""
    return replace(
        config,
        name="repaired",
        root=None,
        train=_split_of_copy(config.train, "train"),
        test=_split_of_copy(config.test, "test") if config.test and has_test else None,
        mask_channel=MaskChannel.colour,
        mask_threshold=None,
        mask_foreground=[],
        demo=None,
    )


def _split_of_copy(split: SplitConfig, name: str) -> SplitConfig:
    single = len(split.targets) == 1
    return SplitConfig(
        image=f"{name}_images/{SUFFIX}",
        targets={
            structure: f"{mask_folder(name, structure, single)}/{SUFFIX}"
            for structure in split.targets
        },
        fov=f"{name}_fov/{SUFFIX}",
        observer2={s: f"{name}_observer2/{s}/{SUFFIX}" for s in split.observer2},
    )


def _write_preset(config: DataConfig, folder: Path) -> None:
    """configs/data/repaired.yaml: every value as JSON, which is YAML."""
    plain = to_plain(config)
    assert isinstance(plain, dict)
    lines = [
        "# Written by fundus-check: fundus-train --config-dir <here>/configs data=repaired"
        " data.root=<here>",
        "defaults: [_base]",
    ]
    lines += [f"{key}: {json.dumps(value)}" for key, value in plain.items() if key != "root"]
    path = folder / PRESET
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_temporaries(path.parent)
    write_whole(path, lambda file: file.write(("\n".join(lines) + "\n").encode()))
