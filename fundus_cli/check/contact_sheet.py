"""Write contact sheets: pages that show every image with the outlines of its masks."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from fundus_cli.check.findings import Severity
from fundus_cli.data.regions import brightest
from fundus_cli.run.files import write_whole

OUTLINES = ((80, 230, 255), (255, 235, 60), (190, 120, 255), (255, 255, 255))
"""Colours of the first, second, ... structure; none is a colour of the retina."""
FOV_OUTLINE = (150, 150, 150)
FRAMES = {Severity.error: (235, 40, 40), Severity.warning: (255, 160, 0)}
GROUND, PAPER, INK = (16, 16, 16), (32, 32, 32), (235, 235, 235)
FEW = 200
"""Maximum number of images for large tiles."""
MIN_COVERED = 0.35
"""Share of a tile's pixel that makes it part of the mask; below half, as vessels are thin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Tiles of a page."""

    tile_px: int
    columns: int
    rows: int


LARGE = Layout(tile_px=400, columns=4, rows=3)
SMALL = Layout(tile_px=180, columns=9, rows=7)


def layout_for(count: int) -> Layout:
    """Large tiles while that gives a few pages, small ones for big sets."""
    return LARGE if count <= FEW else SMALL


def render_tile(
    image: np.ndarray, masks: list[np.ndarray], fov: np.ndarray, tile_px: int
) -> np.ndarray:
    """Render the field of view of an image with the outlines of the masks and of the field.

    Args:
        image: (H, W, 3) uint8.
        masks: each (H, W), 0 and 1.
        fov: (H, W) bool, not empty.
        tile_px: longer side of the tile.

    Returns:
        (h, w, 3) uint8, brightened so that dark images can be judged.
    """
    rows, columns = np.flatnonzero(fov.any(axis=1)), np.flatnonzero(fov.any(axis=0))
    margin = 1 + max(len(rows), len(columns)) // 50
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    here = np.s_[top : rows[-1] + 1 + margin, left : columns[-1] + 1 + margin]
    height, width = fov[here].shape
    factor = tile_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    kernel = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    tile = np.array(Image.fromarray(image[here]).resize(size, kernel), dtype=np.float32)
    light = float(np.percentile(brightest(tile), 98))
    tile = np.clip(tile * (225 / max(light, 25)), 0, 255)
    _render_outline(tile, fov[here], size, 0.5, FOV_OUTLINE)
    for mask, colour in zip(masks, OUTLINES * len(masks), strict=False):
        _render_outline(tile, mask[here], size, MIN_COVERED, colour)
    return np.asarray(tile, dtype=np.uint8)


def _render_outline(
    tile: np.ndarray,
    mask: np.ndarray,
    size: tuple[int, int],
    least: float,
    colour: tuple[int, int, int],
) -> None:
    full = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    inside = np.asarray(full.resize(size, Image.Resampling.BOX)) >= 255 * least
    edge = inside & ~ndimage.binary_erosion(inside, border_value=1)
    tile[edge] = 0.25 * tile[edge] + 0.75 * np.array(colour, np.float32)


class ContactSheet:
    """Writes a page whenever it is full, so that only one is ever in memory."""

    def __init__(self, folder: Path, title: str, layout: Layout, count: int) -> None:
        self.paths: list[Path] = []
        self._layout, self._folder, self._title = layout, folder, title
        self._num_pages = -(-count // (layout.columns * layout.rows))
        self._tiles: list[tuple[np.ndarray | None, str, Severity | None]] = []

    def add(self, tile: np.ndarray | None, caption: str, worst: Severity | None) -> None:
        """Add a tile; None adds an empty one. `worst` decides the colour of its frame."""
        self._tiles.append((tile, caption, worst))
        if len(self._tiles) == self._layout.columns * self._layout.rows:
            self.finish()

    def finish(self) -> None:
        """Write the last page.

        Raises:
            MachineError: it cannot be written.
        """
        if not self._tiles:
            return
        digits = len(str(self._num_pages))
        number = len(self.paths) + 1
        path = self._folder / f"contact_sheet_{number:0{digits}}.png"
        buffer = io.BytesIO()
        self._page(number).save(buffer, "PNG", compress_level=1)
        write_whole(path, lambda file: file.write(buffer.getbuffer()))
        self.paths.append(path)
        self._tiles = []

    def _page(self, number: int) -> Image.Image:
        side, gap = self._layout.tile_px, max(6, self._layout.tile_px // 40)
        text = max(11, side // 22)
        cell = (side + 2 * gap, side + 2 * gap + round(text * 1.5))
        columns = min(self._layout.columns, len(self._tiles))
        rows = -(-len(self._tiles) // self._layout.columns)
        head = round(text * 3)
        page = Image.new("RGB", (max(columns * cell[0], 760), head + rows * cell[1]), GROUND)
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(text)
        title = f"{self._title}   page {number} of {self._num_pages}"
        legend = "outline: mask    red frame: error    orange frame: warning"
        pen.text((gap * 2, text * 0.3), title, font=font, fill=INK)
        pen.text((gap * 2, text * 1.6), legend, font=font, fill=(170, 170, 170))
        for place, (tile, caption, worst) in enumerate(self._tiles):
            row, column = divmod(place, self._layout.columns)
            x, y = column * cell[0] + gap, head + row * cell[1] + gap
            box = (x - gap // 2, y - gap // 2, x + side + gap // 2, y + side + gap // 2)
            pen.rectangle(box, fill=PAPER)
            if tile is None:
                pen.text((x + gap, y + side // 2), "cannot be shown", font=font, fill=INK)
            else:
                h, w = tile.shape[:2]
                page.paste(Image.fromarray(tile), (x + (side - w) // 2, y + (side - h) // 2))
            if worst in FRAMES:
                pen.rectangle(box, outline=FRAMES[worst], width=max(3, side // 80))
            pen.text((x, y + side + gap), _fitting(pen, caption, font, side), font=font, fill=INK)
        return page


def _fitting(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, px: int
) -> str:
    """Shorten a text that is too long in the middle."""
    shown, keep = text, len(text)
    while pen.textlength(shown, font=font) > px and keep > 4:
        keep -= 1
        shown = f"{text[: keep // 2]}...{text[len(text) - keep // 2 :]}"
    return shown
