"""Images as scanners, exports and slides leave them: other surrounds, frames, texts, crops."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Painted = tuple[np.ndarray, np.ndarray]
"""An image (H, W, 3) uint8 and its true field of view (H, W) bool."""
Painter = Callable[[np.ndarray, np.ndarray], Painted]


@dataclass(frozen=True)
class Kind:
    """One way of spoiling an image with a black surround.

    Attributes:
        paint: the spoilt image and its field of view.
        decidable: the field of view can be found; otherwise a warning is expected.
        fields: number of fields of view in the result.
    """

    paint: Painter
    decidable: bool = True
    fields: int = 1


def px(image: np.ndarray, share: float, least: int = 1) -> int:
    """A share of the longer side in whole pixels."""
    return max(least, round(share * max(image.shape[:2])))


def on(colour: tuple[int, int, int], noise: float = 1.0, slope: float = 0.0) -> Painter:
    """The surround in another colour, with noise and with a slope from left to right."""

    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        random = np.random.default_rng(1)
        flat = np.asarray(colour) + np.linspace(-slope / 2, slope / 2, image.shape[1])[:, None]
        flat = np.broadcast_to(flat, image.shape) + random.normal(0, noise, image.shape)
        covered = np.where(fov[..., None], image, flat)
        return covered.clip(0, 255).round().astype(np.uint8), fov

    return paint


def then(*painters: Painter) -> Painter:
    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        for one in painters:
            image, fov = one(image, fov)
        return image, fov

    return paint


def jpeg(quality: int) -> Painter:
    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream).convert("RGB")), fov

    return paint


def line(side: str, colour: tuple[int, int, int], share: float = 0.002) -> Painter:
    """A line along one edge, as scanners leave it."""

    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        image, fov, wide = image.copy(), fov.copy(), px(image, share, 2)
        at = {"top": np.s_[:wide], "bottom": np.s_[-wide:], "left": np.s_[:, :wide]}
        at["right"] = np.s_[:, -wide:]
        image[at[side]] = colour
        fov[at[side]] = False
        return image, fov

    return paint


def page(colour: tuple[int, int, int], *shares: float, noise: float = 0.0) -> Painter:
    """A page around the image, by shares of its longer side: top, right, bottom, left."""

    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        top, right, bottom, left = (px(image, share, 0) for share in shares)
        height, width = fov.shape
        size = (height + top + bottom, width + left + right)
        random = np.random.default_rng(2)
        paper = np.asarray(colour) + random.normal(0, noise, (*size, 3))
        paper, place = paper.clip(0, 255).astype(np.uint8), np.zeros(size, bool)
        paper[top : top + height, left : left + width] = image
        place[top : top + height, left : left + width] = fov
        return paper, place

    return paint


def text(
    words: str, x: float, y: float, colour: tuple[int, int, int], share: float = 0.04
) -> Painter:
    """Words at a place given by shares of width and height."""

    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        drawn, (height, width) = Image.fromarray(image), fov.shape
        font = ImageFont.load_default(px(image, share, 8))
        ImageDraw.Draw(drawn).text((x * width, y * height), words, fill=colour, font=font)
        return np.asarray(drawn), fov

    return paint


def notch(colour: tuple[int, int, int]) -> Painter:
    """A small square at the right of the border, as cameras mark what is up."""

    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        image, half = image.copy(), px(image, 0.015, 2)
        columns = np.flatnonzero(fov.any(axis=0))
        row = int(np.flatnonzero(fov[:, columns[-1]]).mean())
        image[row - half : row + half, columns[-1] - 2 * half : columns[-1] + 1] = colour
        return image, fov

    return paint


def tab(image: np.ndarray, fov: np.ndarray) -> Painted:
    """A bright tab that stands out of the border to the upper right."""
    image, (row, column) = image.copy(), ndimage.center_of_mass(fov)
    radius, half = np.sqrt(fov.sum() / np.pi), px(image, 0.02, 2)
    y, x = (int(at + s * radius * 0.72) for at, s in ((row, -1), (column, 1)))
    square = np.zeros_like(fov)
    square[max(0, y - half) : y + half, x - half : x + half] = True
    image[square & ~fov] = (200, 120, 60)
    return image, fov


def cut(image: np.ndarray, fov: np.ndarray) -> Painted:
    """Bands of the surround's colour over the top and the bottom of the field."""
    rows = np.flatnonzero(fov.any(axis=1))
    deep = int(0.1 * (rows[-1] - rows[0]))
    fov = fov.copy()
    fov[: rows[0] + deep] = False
    fov[rows[-1] - deep :] = False
    return image, fov


def crop(top: float, bottom: float, left: float, right: float) -> Painter:
    """A part of the field's bounding box, by shares of it."""

    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        rows, columns = np.flatnonzero(fov.any(axis=1)), np.flatnonzero(fov.any(axis=0))
        tall, wide = rows[-1] - rows[0], columns[-1] - columns[0]
        ys = slice(rows[0] + int(top * tall), rows[0] + int(bottom * tall))
        xs = slice(columns[0] + int(left * wide), columns[0] + int(right * wide))
        return image[ys, xs], fov[ys, xs]

    return paint


def beside(gap: float, colour: tuple[int, int, int], *, stacked: bool = False) -> Painter:
    """The image and its mirror image in one file."""

    def paint(image: np.ndarray, fov: np.ndarray) -> Painted:
        axis = 0 if stacked else 1
        shape = list(image.shape)
        shape[axis] = px(image, gap, 0)
        between = np.broadcast_to(np.asarray(colour, np.uint8), shape)
        both = np.concatenate([image, between, image[:, ::-1]], axis=axis)
        none = np.zeros(shape[:2], bool)
        return both, np.concatenate([fov, none, fov[:, ::-1]], axis=axis)

    return paint


def screenshot(image: np.ndarray, fov: np.ndarray) -> Painted:
    """A viewer's window: title bar, tool bar with buttons, status bar."""
    image, fov = page((240, 240, 240), 0.08, 0.02, 0.05, 0.02)(image, fov)
    image, bar = image.copy(), px(image, 0.03, 3)
    image[:bar] = (30, 80, 160)
    for left in range(bar, image.shape[1] - 2 * bar, 3 * bar):
        image[bar + 2 : 2 * bar, left : left + bar] = (90, 90, 90)
    return text("fundus viewer - Image 12", 0.02, 0.0, (255, 255, 255), 0.025)(image, fov)


def scene(image: np.ndarray, fov: np.ndarray) -> Painted:
    """A surround full of structure, as bright as the retina."""
    random = np.random.default_rng(3)
    coarse = random.normal(0, 1, (*image.shape[:2], 3))
    coarse = sum(ndimage.gaussian_filter(coarse, (s, s, 0)) * s for s in (1.0, 4.0, 16.0))
    colour = np.array([150, 100, 70]) + 40 * np.asarray(coarse)
    return np.where(fov[..., None], image, colour).clip(0, 255).astype(np.uint8), fov


def grey(image: np.ndarray, fov: np.ndarray) -> Painted:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB")), fov


WHITE, BLACK = (255, 255, 255), (0, 0, 0)
OD, DATE = text("OD 45", 0.01, 0.01, WHITE), text("2021-03-04", 0.76, 0.94, WHITE)
DARK_OD, DARK_DATE = text("OD 45", 0.01, 0.01, BLACK), text("2021-03-04", 0.76, 0.94, BLACK)

KINDS = {
    "white": Kind(on(WHITE, 0)),
    "white, noisy": Kind(on((250, 250, 250), 5)),
    "white, JPEG 40": Kind(then(on(WHITE, 0), jpeg(40))),
    "light grey": Kind(on((200, 200, 200))),
    "grey": Kind(on((128, 128, 128))),
    "dark grey": Kind(on((60, 60, 60))),
    "blue": Kind(on((30, 60, 200))),
    "green": Kind(on((60, 160, 80))),
    "beige": Kind(on((230, 220, 190))),
    "grey with a slope": Kind(on((200, 200, 200), 1, 40)),
    "grey image on white": Kind(then(grey, on(WHITE, 0))),
    "grey image on grey": Kind(then(grey, on((160, 160, 160), 1))),
    "white line at the top": Kind(line("top", WHITE)),
    "white line at the left": Kind(line("left", WHITE)),
    "coloured lines": Kind(then(line("right", (0, 200, 0)), line("bottom", (200, 0, 200)))),
    "white line, white surround": Kind(then(on((180, 180, 180)), line("top", WHITE))),
    "white frame": Kind(page(WHITE, 0.01, 0.01, 0.01, 0.01)),
    "two frames": Kind(
        then(page(WHITE, 0.01, 0.01, 0.01, 0.01), page((90, 90, 90), 0.02, 0.02, 0.02, 0.02))
    ),
    "page": Kind(page(WHITE, 0.1, 0.15, 0.3, 0.15)),
    "page, one side": Kind(page(WHITE, 0, 0.4, 0, 0)),
    "page, noisy, JPEG": Kind(then(page((240, 238, 230), 0.1, 0.1, 0.1, 0.1, noise=4), jpeg(60))),
    "page with a caption": Kind(
        then(
            page(WHITE, 0.05, 0.05, 0.2, 0.05), text("Fig. 3. Fundus, right eye", 0.1, 0.88, BLACK)
        )
    ),
    "page, white surround": Kind(then(on(WHITE, 0), page((210, 210, 210), 0.1, 0.1, 0.1, 0.1))),
    "screenshot": Kind(screenshot),
    "texts in two corners": Kind(then(OD, DATE)),
    "texts in four corners": Kind(
        then(OD, DATE, text("ID 0815", 0.8, 0.01, WHITE), text("F 57", 0.01, 0.94, WHITE))
    ),
    "texts on white": Kind(then(on(WHITE, 0), DARK_OD, DARK_DATE)),
    "texts, line and frame": Kind(
        then(OD, DATE, line("top", WHITE), page(WHITE, 0.01, 0.01, 0.01, 0.01))
    ),
    "black notch": Kind(notch(BLACK)),
    "white notch on white": Kind(then(on(WHITE, 0), notch(WHITE))),
    "tab": Kind(tab),
    "tab on white": Kind(then(on(WHITE, 0), tab)),
    "cut, on white": Kind(then(cut, on(WHITE, 0))),
    "cut, on black with lines": Kind(then(cut, on(BLACK, 0), line("left", WHITE))),
    "shifted out, on white": Kind(then(on(WHITE, 0), crop(-0.0, 1.0, 0.25, 1.0))),
    "two side by side": Kind(beside(0.05, BLACK), fields=2),
    "two side by side, touching": Kind(beside(0.0, BLACK), fields=2),
    "two side by side on white": Kind(then(on(WHITE, 0), beside(0.05, WHITE)), fields=2),
    "two stacked, white between": Kind(beside(0.05, WHITE, stacked=True), fields=2),
    "two on a page": Kind(then(beside(0.05, WHITE), page(WHITE, 0.1, 0.1, 0.1, 0.1)), fields=2),
    "crop without border": Kind(crop(0.2, 0.75, 0.2, 0.75), decidable=False),
    "crop with one corner": Kind(crop(0.0, 0.6, 0.0, 0.6), decidable=False),
    "crop in a white frame": Kind(
        then(crop(0.2, 0.75, 0.2, 0.75), page(WHITE, 0.01, 0.01, 0.01, 0.01)), decidable=False
    ),
    "scene": Kind(scene, decidable=False),
}
"""Every kind by its name."""
