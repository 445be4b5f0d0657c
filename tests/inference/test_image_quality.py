"""What tells a fundus image from other pictures."""

import numpy as np
import pytest

from fundus_cli.data.samples import FundusImage, level_counts, prepare
from fundus_cli.inference.image_quality import MIN_LEVEL, quality_warnings


def disc(side: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.asarray(x**2 + y**2 <= radius**2)


def fundus_image(image: np.ndarray, fov: np.ndarray, origin: str = "found") -> FundusImage:
    return prepare("a", image, fov, origin, None)


def painted(fov: np.ndarray, *colour: int) -> np.ndarray:
    return (fov[..., None] * np.array(colour)).astype(np.uint8)


def test_levels_are_counted_inside_alone() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    fov = rng.random((40, 30)) < 0.7
    expected = [np.bincount(image[..., channel][fov], minlength=256) for channel in range(3)]
    assert np.array_equal(level_counts(image, fov), expected)
    assert np.array_equal(level_counts(image[..., 1], fov), expected[1:2])


def test_an_ordinary_image_raises_none() -> None:
    fov = disc(200, 95)
    assert (
        quality_warnings(fundus_image(painted(fov, 150, 90, 40), fov), painted(fov, 150, 90, 40))
        == []
    )


@pytest.mark.parametrize("num_dark", [0.4, 0.6])
def test_darkness_is_the_median_of_the_brightest_channel(num_dark: float) -> None:
    fov = disc(200, 95)
    image = painted(fov, 80, 60, 40)
    at = np.flatnonzero(fov)
    image.reshape(-1, 3)[at[: int(num_dark * len(at))]] = (30, 20, 10)
    brightest = image.max(axis=2)[fov]
    told = quality_warnings(fundus_image(image, fov), image)
    is_dark = np.median(brightest) < MIN_LEVEL
    assert is_dark == (num_dark > 0.5)
    assert told == (["too dark: median brightness 30 of 255"] if is_dark else [])


def test_a_median_between_two_levels() -> None:
    # Half of the pixels at 49 and half at 50 lie at 49.5, just below what is asked.
    fov = disc(200, 95)
    image = painted(fov, 49, 40, 30)
    at = np.flatnonzero(fov)
    assert len(at) % 2 == 0
    image.reshape(-1, 3)[at[: len(at) // 2]] = (50, 40, 30)
    assert quality_warnings(fundus_image(image, fov), image) == [
        "too dark: median brightness 50 of 255"
    ]
    image.reshape(-1, 3)[at[len(at) // 2]] = (50, 40, 30)
    assert quality_warnings(fundus_image(image, fov), image) == []


def test_every_sign_has_its_line() -> None:
    fov, small, half = disc(200, 95), disc(400, 70), disc(200, 95)
    half[105:] = False
    tiny = disc(64, 30)
    everywhere = np.ones((200, 200), bool)
    for inside, colour, beginning in (
        (everywhere, (150, 90, 40), "not a fundus image? no dark surround"),
        (small, (150, 90, 40), "not a fundus image? only 10% of the image is bright"),
        (half, (150, 90, 40), "cut off? 53% of the round"),
        (fov, (40, 90, 150), "not a fundus image? mean red, green, blue 40, 90, 150"),
        (tiny, (150, 90, 40), "too small: the field of view is 6"),
    ):
        image = painted(inside, *colour)
        (told,) = quality_warnings(fundus_image(image, inside), image)
        assert told.startswith(beginning)
