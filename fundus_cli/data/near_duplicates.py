"""Find duplicates across splits: identical, re-encoded or rescaled images."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from fundus_cli.data.samples import Sample

SIGNATURE_PX = 64
"""Side of the compared thumbnail: fine enough for large vessels, too coarse for JPEG artefacts."""
BACKGROUND_PX = 4.0
"""Standard deviation, in thumbnail pixels, of the blur that is subtracted: disc and vessels remain,
without the bright field that all images share."""
MIN_CORRELATION = 0.8
"""Correlation from which two images count as near-duplicates; docs/reliability.md shows the gap
between different and equal images."""
BLUR = gaussian_filter1d(np.eye(SIGNATURE_PX, dtype=np.float32), BACKGROUND_PX, axis=0)
"""Blurs a thumbnail, applied from both sides; many times faster than the filter itself."""
BLOCK = 1024
"""Number of images of each split that are compared at a time."""


def signature(image: np.ndarray, fov_mask: np.ndarray) -> NDArray[np.float32]:
    """Signature of an image, a unit vector of SIGNATURE_PX**2 values; all 0 without contrast.

    The dot product of two signatures is the correlation of the two images' fine contrast inside
    the field of view. The field of view is cut out and scaled to one size, so that neither the
    number of pixels nor the width and colour of the surround matter.

    Args:
        image: (3, H, W) uint8.
        fov_mask: (H, W) bool, True somewhere.
    """
    rows, columns = np.nonzero(fov_mask.any(axis=1))[0], np.nonzero(fov_mask.any(axis=0))[0]
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    covered = _thumbnail(fov_mask[box].astype(np.uint8) * np.uint8(255)) / 255
    inside = covered >= 0.5
    # The surround's pixels are left out of the mean: a bright one would outline every field.
    green = _thumbnail(image[1][box] * fov_mask[box]) / np.maximum(covered, 0.5)
    share = BLUR @ inside.astype(np.float32) @ BLUR.T
    background = BLUR @ (green * inside) @ BLUR.T / np.maximum(share, 1e-3)
    detail = ((green - background) * inside).ravel()
    length = float(np.linalg.norm(detail))
    unit: NDArray[np.float32] = (detail / max(length, 1e-12)).astype(np.float32)
    return unit


def _thumbnail(plane: np.ndarray) -> NDArray[np.float32]:
    size = (SIGNATURE_PX, SIGNATURE_PX)
    small = Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def duplicates_across_splits(samples: dict[str, list[Sample]]) -> list[str]:
    """`train/a.png = test/b.png` for all images with identical pixels in two splits."""
    places = defaultdict(list)
    for split, of_split in samples.items():
        for sample in of_split:
            places[sample.pixel_hash].append((split, sample.files.image.name))
    return [
        " = ".join(f"{split}/{name}" for split, name in found)
        for found in places.values()
        if len({split for split, _ in found}) > 1
    ]


def near_duplicates_across_splits(samples: dict[str, list[Sample]]) -> list[str]:
    """`train/a.png ~ test/b.jpg (correlation 0.99)` for near-duplicates in two splits."""
    splits = [(split, of_split) for split, of_split in samples.items() if of_split]
    signatures = [_signatures(of_split) for _, of_split in splits]
    found = []
    for later in range(1, len(splits)):
        for earlier in range(later):
            (one, ones), (other, others) = splits[earlier], splits[later]
            found += [
                f"{one}/{ones[i].files.image.name} ~ {other}/{others[j].files.image.name} "
                f"(correlation {correlation:.2f})"
                for i, j, correlation in _similar(signatures[earlier], signatures[later])
            ]
    return found


def _signatures(samples: Sequence[Sample]) -> NDArray[np.float32]:
    return np.stack([signature(sample.image, sample.fov_mask) for sample in samples])


def _similar(
    ones: NDArray[np.float32], others: NDArray[np.float32]
) -> Iterator[tuple[int, int, float]]:
    """(i, j, correlation) of near-duplicates, computed in blocks to bound the memory."""
    for top in range(0, len(ones), BLOCK):
        for left in range(0, len(others), BLOCK):
            table = ones[top : top + BLOCK] @ others[left : left + BLOCK].T
            for i, j in np.argwhere(table >= MIN_CORRELATION):
                yield top + int(i), left + int(j), float(table[i, j])
