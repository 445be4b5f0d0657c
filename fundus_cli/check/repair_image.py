"""Write one image with its masks into the repaired copy."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_cli.check.file_header import read_facts
from fundus_cli.check.findings import below, printable
from fundus_cli.check.mask_repair import LeftOut, MaskRepairer, RepairedMask
from fundus_cli.config import DataConfig
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.fov import find_fov
from fundus_cli.data.images import read_image
from fundus_cli.data.masks import read_fov_mask
from fundus_cli.data.samples import mask_rule
from fundus_cli.data.templates import SampleFiles
from fundus_cli.run.files import machine_error, write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An image to copy.

    Attributes:
        split: train or test.
        doubled: {role: all files with the id}.
        renamed: masks that are paired although their names differ from the template.
    """

    split: str
    files: SampleFiles
    doubled: dict[str, tuple[Path, ...]]
    renamed: frozenset[Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of changes.csv.

    Attributes:
        file: path in the copy; "" when left out.
        source: path in the data set.
        is_lost: the image is missing from the copy and is not a duplicate.
    """

    file: str
    source: str
    what: str
    why: str
    is_lost: bool = False

    def plain(self) -> dict[str, object]:
        """Plain values for changes.csv and report.json."""
        return {"file": self.file, "source": self.source, "what": self.what, "why": self.why}


def mask_folder(split: str, structure: str, single: bool) -> str:
    """The copy's folder for the masks of a structure; for a single one, that of data=folder."""
    return f"{split}_masks" if single else f"{split}_masks/{structure}"


def left_out(path: Path, root: Path, why: str, is_lost: bool = False) -> Change:
    """The row of a file that is not in the copy."""
    source = below(path, root)
    return Change(file="", source=source, what="left out", why=printable(why), is_lost=is_lost)


class ImageRepairer:
    """Writes images into the copy; safe to call from several threads."""

    def __init__(self, config: DataConfig, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        self._structures = config.structures
        self._max_megapixels = config.max_megapixels
        self._masks = MaskRepairer(mask_rule(config), self._max_megapixels)

    def __call__(self, entry: Entry) -> tuple[bool, list[Change]]:
        """(whether the image is in the copy, what was changed)."""
        try:
            return True, self._repair(entry)
        except LeftOut as error:
            why = error.why
            if error.path != entry.files.image:
                why = f"{below(error.path, self._root)}: {why}"
            return False, [left_out(entry.files.image, self._root, why, is_lost=True)]

    def _repair(self, entry: Entry) -> list[Change]:
        files = entry.files
        image = self._image(entry)
        fov, fov_row = self._field_of_view(entry, image)
        masks: list[tuple[str, RepairedMask]] = []
        single = len(self._structures) == 1
        for structure in self._structures:
            if structure not in files.targets:
                raise LeftOut(files.image, f"has no {structure} mask")
            path = files.targets[structure]
            self._only_one(entry, f"{structure} mask", lambda p: self._masks.read(p).pixels)
            repaired = self._masks.fitted(files.image, path, image, fov)
            if path in entry.renamed:
                repaired.steps.append(("mask paired by its name", f"was {printable(path.name)}"))
            masks.append((mask_folder(entry.split, structure, single), repaired))
        rows: list[Change] = []
        for structure, path in files.observer2.items():
            try:
                repaired = self._masks.fitted(files.image, path, image, fov)
                masks.append((f"{entry.split}_observer2/{structure}", repaired))
            except LeftOut as error:
                rows.append(left_out(path, self._root, error.why))
        rows += self._write_image(entry, image)
        for place, repaired in masks:
            rows += self._write_mask(place, files.id, repaired)
        self._write_png(f"{entry.split}_fov", files.id, fov)
        return [*rows, fov_row]

    def _image(self, entry: Entry) -> np.ndarray:
        path = entry.files.image
        self._only_one(entry, "image", lambda p: read_image(p, self._max_megapixels))
        try:
            image = read_image(path, self._max_megapixels)
        except BadFile as error:
            raise LeftOut(path, str(error)) from error
        return image

    def _only_one(self, entry: Entry, role: str, reader: Callable[[Path], np.ndarray]) -> None:
        """Of several files for one id, any may be used if all have the same content."""
        paths = entry.doubled.get(role, ())
        try:
            contents = [reader(path) for path in paths]
        except BadFile as error:
            raise LeftOut(entry.files.image, f"several files for one {role}; {error}") from error
        if any(not np.array_equal(contents[0], other) for other in contents[1:]):
            names = " and ".join(path.name for path in paths)
            raise LeftOut(entry.files.image, f"{names} differ; keep one {role}")

    def _field_of_view(self, entry: Entry, image: np.ndarray) -> tuple[np.ndarray, Change]:
        """The field of view from its file if that can be used, otherwise detected."""
        path, why = entry.files.fov, "detected in the image"
        fov = None
        if path is not None:
            try:
                fov = read_fov_mask(path, self._max_megapixels)
                if fov.shape != image.shape[:2] or not fov.any():
                    fov, why = None, f"detected again, {path.name} is empty or of another size"
            except BadFile as error:
                why = f"detected again, {path.name} {error.kind}"
        what = "field of view written"
        if fov is None:
            fov = find_fov(image)
        else:
            assert path is not None
            what, why = "field of view as 0/255", f"from {path.name}"
        if not fov.any():
            raise LeftOut(entry.files.image, "image shows nothing")
        source = below(entry.files.image if path is None else path, self._root)
        file = printable(f"{entry.split}_fov/{entry.files.id}.png")
        return fov, Change(file=file, source=source, what=what, why=printable(why))

    def _write_image(self, entry: Entry, image: np.ndarray) -> list[Change]:
        path, place = entry.files.image, f"{entry.split}_images"
        facts = read_facts(path, self._max_megapixels)
        source = below(path, self._root)
        if facts.orientation != 1:
            file = self._write_png(place, entry.files.id, image)
            why = f"EXIF orientation {facts.orientation}"
            return [Change(file=file, source=source, what="saved upright", why=why)]
        self._write_bytes(place, entry.files.id + _ending(path), path.read_bytes())
        return []

    def _write_mask(self, place: str, identifier: str, repaired: RepairedMask) -> list[Change]:
        file = self._write_png(place, identifier, repaired.pixels)
        source = below(repaired.path, self._root)
        return [
            Change(file=file, source=source, what=what, why=why) for what, why in repaired.steps
        ]

    def _write_png(self, place: str, identifier: str, pixels: np.ndarray) -> str:
        """Write an image unchanged, or a mask (0 and 1, or bool) as 0 and 255."""
        full = pixels if pixels.ndim == 3 else pixels.astype(np.uint8) * np.uint8(255)
        buffer = io.BytesIO()
        Image.fromarray(full).save(buffer, "PNG")
        return self._write_bytes(place, f"{identifier}.png", buffer.getvalue())

    def _write_bytes(self, place: str, name: str, content: bytes) -> str:
        path = self._folder / place / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise machine_error(path.parent, error) from error
        write_whole(path, lambda file: file.write(content))
        return below(path, self._folder)


def _ending(path: Path) -> str:
    """`.jpg`, or both of `.ppm.gz`."""
    return "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix
