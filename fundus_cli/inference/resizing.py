"""Logits at another size, the same to the last digits in torch and in every exported file."""

from collections.abc import Sequence

import torch
from torch import Tensor


def resized(logits: Tensor, hw: Sequence[int]) -> Tensor:
    """(N, S, H, W) to (N, S, *hw), bilinear as F.interpolate is without align_corners.

    Written out because each program's own operator rounds the places between pixels in its own
    way: on a photograph of 3504 pixels torch's differs by 3e-4 of a logit from onnxruntime's, which
    is more than an exported file may.
    """
    return _along(_along(logits, 2, hw[0]), 3, hw[1])


def _along(logits: Tensor, dim: int, length: int) -> Tensor:
    before = logits.shape[dim]
    steps = torch.arange(length, dtype=torch.float32, device=logits.device) + 0.5
    place = (steps * (before / length) - 0.5).clamp(min=0)
    low = place.floor().long().clamp(max=before - 1)
    high = (low + 1).clamp(max=before - 1)
    share = (place - low).reshape(-1, *[1] * (3 - dim))
    below, above = logits.index_select(dim, low), logits.index_select(dim, high)
    return below * (1 - share) + above * share
