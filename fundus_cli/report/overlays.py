"""Render overlays: TP, FN and FP pixels in colour on the image, with a caption."""

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fundus_cli.run.files import write_whole

MIN_WIDTH = 720
"""Smaller overlays are enlarged by a whole factor, so that single pixels can be seen."""

TP_COLOUR, FN_COLOUR, FP_COLOUR = (86, 180, 233), (255, 110, 40), (240, 228, 66)
"""Sky blue, vermilion (lightened for the dark ground) and yellow of Okabe and Ito (2008)."""


def render_overlay(
    image: np.ndarray, prediction: np.ndarray, target: np.ndarray, fov: np.ndarray
) -> np.ndarray:
    """The image in dim grey with every pixel of prediction or target coloured.

    Args:
        image: (H, W, 3) uint8.
        prediction: (H, W) bool.
        target: (H, W) bool.
        fov: (H, W) bool; nothing is coloured outside it.

    Returns:
        (H, W, 3) uint8.
    """
    grey = (image[..., 1] * 0.6).astype(np.uint8)
    drawn = np.repeat(grey[..., None], 3, axis=2)
    drawn[prediction & target & fov] = TP_COLOUR
    drawn[~prediction & target & fov] = FN_COLOUR
    drawn[prediction & ~target & fov] = FP_COLOUR
    return drawn


def save_overlay(path: Path, overlay: np.ndarray, caption: str) -> None:
    """Write an overlay as PNG with a caption and the legend below it.

    Raises:
        MachineError: it cannot be written.
    """
    factor = -(-MIN_WIDTH // overlay.shape[1])
    overlay = overlay.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = overlay.shape[:2]
    size = width // 48
    bar = round(size * 3.4)
    canvas = Image.new("RGB", (width, height + bar), (16, 16, 16))
    canvas.paste(Image.fromarray(overlay), (0, 0))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size)
    pen.text((size * 0.6, height + size * 0.3), caption, font=font, fill=(235, 235, 235))
    x, y = size * 0.6, height + size * 1.9
    legend = (("TP, found", TP_COLOUR), ("FN, missed", FN_COLOUR), ("FP, false", FP_COLOUR))
    for name, colour in legend:
        pen.rectangle((x, y + size * 0.15, x + size * 0.9, y + size * 1.05), fill=colour)
        pen.text((x + size * 1.2, y), name, font=font, fill=(235, 235, 235))
        x += size * 2.2 + pen.textlength(name, font=font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def file_stem(identifier: str) -> str:
    """Convert an id to a file name that is valid on every system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", identifier)[:150]
