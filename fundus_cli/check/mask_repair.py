"""One mask for the repaired copy: read if not in doubt, upright like its photograph, 0/255."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fundus_cli.check.alignment import Darkness, Orientation, Verdict, align, turned
from fundus_cli.check.file_header import is_jpeg, read_facts
from fundus_cli.check.misalignment import MAX_COVERED
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.masks import PLAIN, Grey, MaskRule, read_mask, read_pixels

EXIF_TURNS = {
    2: Orientation.mirrored,
    3: Orientation.turned_180,
    4: Orientation.flipped,
    6: Orientation.turned_90,
    8: Orientation.turned_270,
}
"""What EXIF orientations ask for; the two that also mirror a turned picture are left alone."""


class LeftOut(Exception):  # noqa: N818 (a decision, not an error)
    """A photograph cannot be in the copy: `path` is the file at fault."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why


@dataclass(slots=True, kw_only=True)
class MendedMask:
    """A mask as the copy holds it.

    Attributes:
        pixels: (H, W) uint8 of 0 and 1.
        steps: (what was changed, why).
    """

    path: Path
    pixels: np.ndarray
    steps: list[tuple[str, str]] = field(default_factory=list)


class MaskMender:
    """Reads and mends masks by one rule."""

    def __init__(self, rule: MaskRule, max_megapixels: float) -> None:
        self._rule, self._most = rule, max_megapixels

    def read(self, path: Path) -> MendedMask:
        """A mask by the rule given; what that refuses or empties, without, if not in doubt.

        Raises:
            BadFile: damaged, or open to more than one reading.
        """
        if self._rule != PLAIN:
            try:
                mask = read_mask(path, self._rule, self._most)
            except BadFile:
                mask = np.zeros(0, np.uint8)
            # JPEG never keeps black quite black, so only of a JPEG is an emptied mask believed.
            if mask.any() or (mask.size and self._rule.threshold is not None and is_jpeg(path)):
                return self._spelled(path, mask, "read by the rule given")
        return self._spelled(path, read_mask(path, PLAIN, self._most), "")

    def fitted(
        self, photograph: Path, path: Path, image: np.ndarray, fov: np.ndarray
    ) -> MendedMask:
        """A mask turned like its photograph, and not inverted.

        Raises:
            LeftOut: it cannot be read without a doubt, or is of another size.
        """
        try:
            mended = self.read(path)
        except BadFile as error:
            raise LeftOut(path, str(error)) from error
        asked = EXIF_TURNS.get(read_facts(photograph, self._most).orientation)
        if asked is not None:
            found = align(image, mended.pixels, fov, Darkness(image, fov))
            if found.verdict is Verdict.turned and found.orientation is asked:
                mended.pixels = np.ascontiguousarray(turned(mended.pixels, asked))
                mended.steps.append(("mask turned", f"{asked.value}, as its photograph by EXIF"))
        if mended.pixels.shape != image.shape[:2]:
            (h, w), (mh, mw) = image.shape[:2], mended.pixels.shape
            raise LeftOut(path, f"mask and photograph differ in size: {mw}x{mh} and {w}x{h}")
        share = float(mended.pixels[fov].mean())
        if not self._rule.foreground and share > MAX_COVERED:
            found = align(image, mended.pixels, fov, Darkness(image, fov))
            if found.verdict is Verdict.inverted:
                mended.pixels = 1 - mended.pixels
                why = f"marked {share:.0%} of the field of view, and what is bright"
                mended.steps.append(("mask inverted", why))
        return mended

    def _spelled(self, path: Path, mask: np.ndarray, how: str) -> MendedMask:
        mended = MendedMask(path=path, pixels=mask)
        if not self._is_0_255(path, mask):
            why = f"was {read_facts(path, self._most).spelling}"
            mended.steps.append(("mask made 0/255", f"{why}, {how}" if how else why))
        return mended

    def _is_0_255(self, path: Path, mask: np.ndarray) -> bool:
        """Whether the file has these very grey levels."""
        try:
            stored = read_pixels(path, PLAIN, self._most)
        except BadFile:
            return False
        if not isinstance(stored, Grey) or stored.levels.dtype != np.uint8:
            return False
        return bool((stored.levels == mask * np.uint8(255)).all())
