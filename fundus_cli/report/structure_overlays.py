"""Render predicted structures as an overlay on an image."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

COLOURS = ((86, 180, 233), (240, 228, 66), (0, 220, 150), (255, 110, 40), (204, 121, 167))
"""Sky blue, yellow, green and vermilion (lightened for the dark ground), purple
(Okabe and Ito 2008)."""
FOV_COLOUR = (255, 255, 255)


def render_structures(image: np.ndarray, masks: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """The dimmed image with each structure in a colour of its own and the border of the FOV.

    Args:
        image: (h, w, 3) uint8.
        masks: (S, h, w) bool; where several are on, the last is seen.
        fov: (h, w) bool.

    Returns:
        (h, w, 3) uint8.
    """
    drawn = (image * 0.7).astype(np.uint8)
    for colour, mask in zip(structure_colours(len(masks)), masks, strict=True):
        drawn[mask] = colour
    border = fov & ~ndimage.binary_erosion(fov, iterations=max(1, fov.shape[0] // 500))
    drawn[border] = FOV_COLOUR
    return drawn


def structure_colours(num: int) -> Sequence[tuple[int, int, int]]:
    """A colour per structure; the five colours repeat."""
    return [COLOURS[index % len(COLOURS)] for index in range(num)]
