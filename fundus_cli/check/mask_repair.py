"""Repair one mask for the copy, if it is unambiguous: upright like its image, and 0/255."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fundus_cli.check.alignment import Darkness, Orientation, Verdict, align, rotated
from fundus_cli.check.file_header import is_jpeg, read_facts
from fundus_cli.check.misalignment import MAX_COVERED
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.masks import PLAIN, Grey, MaskRule, read_mask, read_pixels

EXIF_ROTATIONS = {
    2: Orientation.mirrored,
    3: Orientation.rotated_180,
    4: Orientation.flipped,
    6: Orientation.rotated_90,
    8: Orientation.rotated_270,
}
"""Rotations that undo EXIF orientations; the two that also mirror are not handled."""


class LeftOut(Exception):  # noqa: N818 (a decision, not an error)
    """An image is left out of the copy; `path` is the file at fault."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why


@dataclass(slots=True, kw_only=True)
class RepairedMask:
    """A mask of the repaired copy.

    Attributes:
        pixels: (H, W) uint8 of 0 and 1.
        steps: (what was changed, why).
    """

    path: Path
    pixels: np.ndarray
    steps: list[tuple[str, str]] = field(default_factory=list)


class MaskRepairer:
    """Reads and repairs masks by one rule."""

    def __init__(self, rule: MaskRule, max_megapixels: float) -> None:
        self._rule, self._max_megapixels = rule, max_megapixels

    def read(self, path: Path) -> RepairedMask:
        """Read a mask by the given rule; if it is refused or emptied, without a rule.

        Raises:
            BadFile: damaged or ambiguous.
        """
        if self._rule != PLAIN:
            try:
                mask = read_mask(path, self._rule, self._max_megapixels)
            except BadFile:
                mask = np.zeros(0, np.uint8)
            # JPEG never keeps black exactly black, so an emptied mask is plausible for a JPEG only.
            if mask.any() or (mask.size and self._rule.threshold is not None and is_jpeg(path)):
                return self._encoded(path, mask, "read by the rule given")
        return self._encoded(path, read_mask(path, PLAIN, self._max_megapixels), "")

    def fitted(
        self, image_path: Path, path: Path, image: np.ndarray, fov: np.ndarray
    ) -> RepairedMask:
        """Rotate a mask like its image, and undo an inversion.

        Raises:
            LeftOut: it is ambiguous or has another size.
        """
        try:
            repaired = self.read(path)
        except BadFile as error:
            raise LeftOut(path, str(error)) from error
        expected = EXIF_ROTATIONS.get(read_facts(image_path, self._max_megapixels).orientation)
        if expected is not None:
            found = align(image, repaired.pixels, fov, Darkness(image, fov))
            if found.verdict is Verdict.rotated and found.orientation is expected:
                repaired.pixels = np.ascontiguousarray(rotated(repaired.pixels, expected))
                repaired.steps.append(
                    ("mask rotated", f"{expected.value}, as EXIF rotates its image")
                )
        if repaired.pixels.shape != image.shape[:2]:
            (h, w), (mh, mw) = image.shape[:2], repaired.pixels.shape
            raise LeftOut(path, f"mask and image differ in size: {mw}x{mh} and {w}x{h}")
        share = float(repaired.pixels[fov].mean())
        if not self._rule.foreground and share > MAX_COVERED:
            found = align(image, repaired.pixels, fov, Darkness(image, fov))
            if found.verdict is Verdict.inverted:
                repaired.pixels = 1 - repaired.pixels
                why = f"marked {share:.0%} of the field of view, and what is bright"
                repaired.steps.append(("mask inverted", why))
        return repaired

    def _encoded(self, path: Path, mask: np.ndarray, how: str) -> RepairedMask:
        repaired = RepairedMask(path=path, pixels=mask)
        if not self._is_0_255(path, mask):
            why = f"was {read_facts(path, self._max_megapixels).encoding}"
            repaired.steps.append(("mask made 0/255", f"{why}, {how}" if how else why))
        return repaired

    def _is_0_255(self, path: Path, mask: np.ndarray) -> bool:
        """Whether the file has exactly these grey levels."""
        try:
            stored = read_pixels(path, PLAIN, self._max_megapixels)
        except BadFile:
            return False
        if not isinstance(stored, Grey) or stored.levels.dtype != np.uint8:
            return False
        return bool((stored.levels == mask * np.uint8(255)).all())
