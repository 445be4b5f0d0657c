"""Bilinear as torch's own, but for the rounding of places."""

import pytest
import torch
import torch.nn.functional as F

from fundus_cli.inference.resizing import resized


@pytest.mark.parametrize("hw", [(7, 9), (14, 18), (13, 40), (3, 2), (1, 1), (5, 9)])
def test_it_is_bilinear_without_aligned_corners(hw: tuple[int, int]) -> None:
    logits = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(logits, hw, mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized(logits, hw), expected, atol=1e-5, rtol=0)


def test_the_same_size_changes_nothing() -> None:
    logits = torch.randn(1, 1, 33, 20)
    assert torch.equal(resized(logits, (33, 20)), logits)


def test_halfway_between_two_pixels_lies_their_mean() -> None:
    row = torch.tensor([[[[0.0, 4.0]]]])
    assert resized(row, (1, 4)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
