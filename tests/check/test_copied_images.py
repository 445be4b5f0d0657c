"""Copies are found in any encoding; images of two eyes or two persons are not copies."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from conftest import tiny_image
from PIL import Image

from fundus_cli.check.copied_images import BLOCK, CopyGroup, descriptor, find_copies, fine_pattern
from fundus_cli.data.fov import find_fov
from fundus_cli.data.images import read_image


def groups(images: Sequence[np.ndarray]) -> list[CopyGroup]:
    descriptors = np.stack([descriptor(image, find_fov(image)) for image in images])
    is_small = np.array([image.shape[0] < 96 for image in images])
    return find_copies(
        descriptors, is_small, lambda n: fine_pattern(images[n], find_fov(images[n]))
    )


def saved_again(image: np.ndarray, quality: int, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    size = (round(width * factor), round(height * factor))
    stream = io.BytesIO()
    Image.fromarray(image).resize(size, Image.Resampling.BICUBIC).save(
        stream, "JPEG", quality=quality
    )
    return np.asarray(Image.open(stream))


def test_different_synthetic_images_are_no_copies() -> None:
    assert groups([tiny_image(seed, 128)[0] for seed in range(40)]) == []


def test_mirrored_and_rotated_copies_are_found() -> None:
    images = [tiny_image(seed, 128)[0] for seed in range(4)]
    images += [images[2][:, ::-1], images[0][::-1, ::-1]]
    found = groups(images)
    assert [group.members for group in found] == [(0, 5), (2, 4)]
    assert [group.orientations for group in found] == [
        ("rotated by 180 degrees",),
        ("mirrored left to right",),
    ]


def test_blank_images_match_nothing() -> None:
    blank = np.full((64, 64, 3), 100, np.uint8)
    assert groups([blank, blank, tiny_image(0)[0]]) == []


def test_copies_in_different_blocks_are_found() -> None:
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(BLOCK + 50, 32, 32))
    descriptors /= np.linalg.norm(descriptors, axis=(1, 2), keepdims=True)
    descriptors[BLOCK + 7] = descriptors[3]
    descriptors[BLOCK + 9] = descriptors[3]
    fine = {3: 1.0, BLOCK + 7: 1.0, BLOCK + 9: 1.0}
    found = find_copies(
        descriptors.astype(np.float16),
        np.zeros(len(descriptors), bool),
        lambda n: np.full((1, 1), fine[n]),
    )
    assert [group.members for group in found] == [(3, BLOCK + 7, BLOCK + 9)]


def test_thousands_of_equal_images_stay_one_group() -> None:
    same = np.tile(descriptor(*_with_fov(0)), (1500, 1, 1))
    found = find_copies(same, np.zeros(1500, bool), lambda n: np.ones((1, 1)))
    assert [len(group.members) for group in found] == [1500]


def _with_fov(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image = tiny_image(seed)[0]
    return image, find_fov(image)


def test_real_copies_are_found_and_both_eyes_are_not(real_data: Path) -> None:
    names = ("01L", "01R", "07L", "07R", "12L")
    folder = real_data / "CHASE_DB1"
    images = [read_image(folder / f"Image_{name}.jpg", 80) for name in names]
    assert groups(images) == []
    copies = [
        saved_again(images[0], 40, 1),
        saved_again(images[1], 75, 0.3),
        saved_again(images[2], 90, 0.2),
        (255 * (images[3] / 255.0) ** 0.7).astype(np.uint8),
        np.pad(images[4], ((40, 40), (90, 90), (0, 0))),
    ]
    assert [group.members for group in groups([*images, *copies])] == [
        (0, 5),
        (1, 6),
        (2, 7),
        (3, 8),
        (4, 9),
    ]
