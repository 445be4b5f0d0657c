"""Inspect one image with its masks."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fundus_cli.check import finding_kinds as kinds
from fundus_cli.check.alignment import Alignment, Darkness, Verdict, align
from fundus_cli.check.contact_sheet import render_tile
from fundus_cli.check.copied_images import descriptor
from fundus_cli.check.file_findings import FILES
from fundus_cli.check.file_header import FileFacts, is_jpeg, read_facts
from fundus_cli.check.findings import Finding, Kind, Severity, below, finding
from fundus_cli.check.mask_values import diagnose
from fundus_cli.check.misalignment import misalignment_of, sizes_text
from fundus_cli.config import DataConfig, OnBad
from fundus_cli.data.decoding import NO_MEMORY, BadFile
from fundus_cli.data.fov import field_of_view
from fundus_cli.data.images import read_image
from fundus_cli.data.masks import PLAIN, read_fov_mask, read_mask
from fundus_cli.data.samples import mask_rule
from fundus_cli.data.templates import SampleFiles

MIN_COVERED = 0.005
"""A mask that covers less of the field of view is too small to compare with the image."""
MIN_FOV_OVERLAP = 0.85
"""Minimum intersection over union of a field-of-view mask and the detected field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to inspect; masks may be missing."""

    split: str
    files: SampleFiles


@dataclass(slots=True, kw_only=True)
class UnmatchedMask:
    """A mask that does not fit its image, at reduced size, to be tried on other images.

    Attributes:
        mask: (H, W) float32 at reduced size.
        image_path: the image of the same id.
        seen: the local darkness of that image.
    """

    structure: str
    path: Path
    image_path: Path
    mask: np.ndarray
    seen: Darkness


@dataclass(slots=True, kw_only=True)
class Inspected:
    """The results of inspecting one image and its masks.

    Attributes:
        hw: height and width of the upright image; None if it cannot be read.
        pixel_hash: sha256 of the decoded image.
        descriptor: for finding near-duplicates; None if the image cannot be read.
        covered: {structure: pixels marked inside the field of view}.
        inside: pixels of the field of view.
        alignments: {mask file: its alignment with the image}.
        tile: for the contact sheet, None if not wanted.
    """

    job: Job
    facts: dict[Path, FileFacts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    hw: tuple[int, int] | None = None
    pixel_hash: str = ""
    descriptor: np.ndarray | None = None
    covered: dict[str, int] = field(default_factory=dict)
    inside: int = 0
    alignments: dict[Path, Alignment] = field(default_factory=dict)
    unmatched_masks: list[UnmatchedMask] = field(default_factory=list)
    tile: np.ndarray | None = None


class Inspector:
    """Inspects images of one data set; safe to call from several threads."""

    def __init__(self, config: DataConfig, root: Path, tile_px: int | None) -> None:
        self._config = config
        self._root = root
        self._rule = mask_rule(config)
        self._tile_px = tile_px

    def __call__(self, job: Job) -> Inspected:
        """Inspect one image; a file that cannot be read becomes a finding, never an error."""
        result = Inspected(job=job)
        try:
            self._inspect(result)
        except MemoryError:
            self._add(result, FILES[NO_MEMORY], job.files.image)
        return result

    def _inspect(self, result: Inspected) -> None:
        files = result.job.files
        image = self._read(result, files.image, read_image)
        named = [*files.targets.items(), *files.observer2.items()]
        masks = {path: self._read(result, path, read_mask, self._rule) for _, path in named}
        own_fov = self._read(result, files.fov, read_fov_mask) if files.fov is not None else None
        if image is None:
            return
        result.hw = (image.shape[0], image.shape[1])
        result.pixel_hash = hashlib.sha256(image.tobytes()).hexdigest()
        self._note_encoding(result, files.image, image)
        fov = self._field_of_view(result, image, own_fov)
        if not fov.any():
            return
        result.descriptor = descriptor(image, fov)
        result.inside = int(fov.sum())
        seen = Darkness(image, fov)
        for structure, path in named:
            mask = masks[path]
            if mask is not None:
                self._compare(result, structure, path, mask, image, fov, seen)
        if self._tile_px is not None:
            targets = [masks[path] for path in files.targets.values()]
            fitting = [m for m in targets if m is not None and m.shape == fov.shape]
            result.tile = render_tile(image, fitting, fov, self._tile_px)

    def _read(
        self, result: Inspected, path: Path, reader: Callable[..., np.ndarray], *arguments: object
    ) -> np.ndarray | None:
        limit = self._config.max_megapixels
        try:
            pixels = reader(path, *arguments, limit)
            result.facts[path] = read_facts(path, limit)
            return pixels
        except BadFile as error:
            self._refused(result, path, error)
            return None

    def _refused(self, result: Inspected, path: Path, error: BadFile) -> None:
        kind = FILES[error.kind]
        means, todo, found = "", "", error.found
        if kind.code.startswith("mask-"):
            values = diagnose(path, is_jpeg(path), self._config.max_megapixels)
            if values is not None:
                means, todo, found = values.means, values.todo, values.found
        self._add(result, kind, path, found, means=means, todo=todo)

    def _add(
        self, result: Inspected, kind: Kind, path: Path, found: str = "", **words: str
    ) -> None:
        skips = self._config.on_bad is OnBad.skip and kind.severity is Severity.error
        result.findings.append(
            finding(
                kind,
                [below(path, self._root)],
                found,
                split=result.job.split,
                severity=Severity.warning if skips else None,
                **words,
            )
        )

    def _note_encoding(self, result: Inspected, path: Path, image: np.ndarray) -> None:
        facts = result.facts[path]
        if facts.orientation != 1:
            self._add(result, kinds.EXIF_ROTATED, path, f"orientation {facts.orientation}")
        if facts.bits > 8:
            self._add(result, kinds.SIXTEEN_BIT, path, f"{facts.bits} bits, {facts.mode}")
        if (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all():
            self._add(result, kinds.GREY, path, facts.mode)

    def _field_of_view(
        self, result: Inspected, image: np.ndarray, own: np.ndarray | None
    ) -> np.ndarray:
        files, found = result.job.files, field_of_view(image)
        seen = found.mask
        if found.num_fields > 1:
            self._add(result, kinds.SEVERAL_FIELDS, files.image, f"{found.num_fields} fields")
        if own is not None and own.shape != seen.shape:
            assert files.fov is not None
            self._add(result, kinds.SIZE_DIFFERS, files.fov, sizes_text(own, image))
            own = None
        if own is None:
            if not seen.any():
                self._add(result, kinds.ALL_BLACK, files.image)
            elif seen.all():
                self._add(result, kinds.FOV_NOT_FOUND, files.image)
            elif found.confidence == 0:
                self._add(result, kinds.FOV_NOT_ROUND, files.image)
            return seen
        assert files.fov is not None
        if not own.any():
            self._add(result, kinds.FOV_EMPTY, files.fov)
            return seen
        overlap = float((own & seen).sum()) / max(1, int((own | seen).sum()))
        if overlap < MIN_FOV_OVERLAP and not seen.all():
            text = f"covers {own.mean():.0%} of the image, the detected field {seen.mean():.0%}; "
            self._add(result, kinds.FOV_DISAGREES, files.fov, f"{text}overlap {overlap:.2f}")
        return own

    def _compare(
        self,
        result: Inspected,
        structure: str,
        path: Path,
        mask: np.ndarray,
        image: np.ndarray,
        fov: np.ndarray,
        seen: Darkness,
    ) -> None:
        """Add findings about a mask compared with its image."""
        fits = mask.shape == fov.shape
        if not mask.any():
            self._report_empty(result, path)
        alignment = align(image, mask, fov, seen)
        result.alignments[path] = alignment
        if not fits:
            sizes = sizes_text(mask, image)
            if alignment.verdict is Verdict.rotated:
                sizes += f"; fits when {alignment.orientation.value}"
            self._add(result, kinds.SIZE_DIFFERS, path, sizes)
            return
        covered = int(mask[fov].sum())
        if path in result.job.files.targets.values():
            result.covered[structure] = covered
        share = covered / result.inside
        misalignment = misalignment_of(
            alignment, share, result.facts[result.job.files.image].orientation
        )
        if misalignment is not None:
            self._add(result, misalignment.kind, path, misalignment.found, means=misalignment.means)
        if alignment.verdict is Verdict.unrelated and share >= MIN_COVERED:
            reduced = seen.reduced_mask(mask)
            assert reduced is not None
            result.unmatched_masks.append(
                UnmatchedMask(
                    structure=structure,
                    path=path,
                    image_path=result.job.files.image,
                    mask=reduced,
                    seen=seen,
                )
            )

    def _report_empty(self, result: Inspected, path: Path) -> None:
        limit = self._config.max_megapixels
        blurred = self._rule.threshold is not None and is_jpeg(path)
        if self._rule == PLAIN or blurred:
            self._add(result, kinds.MASK_EMPTY, path)
            return
        try:
            is_black = not read_mask(path, PLAIN, limit).any()
        except BadFile:
            is_black = False
        if is_black:
            self._add(result, kinds.MASK_EMPTY, path)
        else:
            values = diagnose(path, is_jpeg(path), limit)
            found, todo = (values.found, values.todo) if values is not None else ("", "")
            self._add(result, kinds.RULE_EMPTIES, path, found, todo=todo)
