"""How much of the test split an epoch looks at."""

from types import SimpleNamespace

import numpy as np
import pytest

from fundus_cli.training.validation import spread


@pytest.mark.parametrize(
    ("num", "max_pixels", "expected"),
    [
        (0, 100, []),
        (1, 5, [0]),
        (4, 40, [0, 1, 2, 3]),
        (4, 39, [0, 2]),
        (5, 30, [0, 2, 4]),
        (5, 20, [0, 3]),
        (5, 9, [0]),
    ],
)
def test_images_of_ten_pixels(num: int, max_pixels: float, expected: list[int]) -> None:
    samples = [SimpleNamespace(id=n, fov_mask=np.ones((2, 5), bool)) for n in range(num)]
    assert [sample.id for sample in spread(samples, max_pixels)] == expected
