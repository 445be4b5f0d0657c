"""Bicubic as torch's own, but for the rounding of places."""

import pytest
import torch
import torch.nn.functional as F

from fundus_cli.inference.resizing import resized


@pytest.mark.parametrize("hw", [(7, 9), (14, 18), (13, 40), (3, 2), (1, 1), (5, 9)])
def test_it_is_bicubic_without_aligned_corners(hw: tuple[int, int]) -> None:
    logits = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(logits, hw, mode="bicubic", align_corners=False)
    torch.testing.assert_close(resized(logits, hw), expected, atol=1e-5, rtol=0)


def test_the_same_size_changes_nothing() -> None:
    logits = torch.randn(1, 1, 33, 20)
    assert torch.equal(resized(logits, (33, 20)), logits)


def test_halfway_between_two_pixels_lies_their_mean() -> None:
    row = torch.tensor([[[[0.0, 0.0, 4.0, 4.0]]]])
    between = resized(row, (1, 12)).flatten()
    assert float(between[5:7].mean()) == pytest.approx(2)
    assert between[[1, 4, 7, 10]].tolist() == [0.0, 0.0, 4.0, 4.0]


def test_a_quarter_of_a_pixel_by_hand() -> None:
    # Keys' weights at 1.25, 0.25, 0.75, 1.75 with the slope -0.75.
    weights = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
    row = torch.zeros(1, 1, 1, 8)
    row[..., 3] = 1.0
    found = resized(row, (1, 16)).flatten()
    # Output 7 lies at 3.25, so it sees pixel 3 at a quarter; 9 at 4.25, 5 at 2.25, 3 at 1.25.
    assert found[[9, 7, 5, 3]].tolist() == pytest.approx(weights)
