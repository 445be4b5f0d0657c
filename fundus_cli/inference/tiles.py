"""Predict large images in overlapping tiles without seams, in bounded memory."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

MAX_BYTES = 1_000_000_000
"""Images whose prediction would need more than about this much are predicted in tiles."""
BYTES_PER_CHANNEL = 24
"""Per pixel and channel of the first level: skip, upsampled, both joined, two convolutions' results
and a little for the convolution itself, in float32."""
MAX_TILE_PX = 1024
GRID_PX = 128
"""Tiles begin at multiples of this, so that they are pooled on the grid of the whole image."""
OVERLAP_PX = 256
MARGIN_PX = 112
"""Margin at a tile's edge whose logits are discarded: a U-Net of depth 4 sees up to 108 pixels
far."""


def whole_or_tiled(model: nn.Module, image: Tensor) -> Tensor:
    """Logits (1, S, H, W) of an image (1, C, H, W), in tiles if the whole needs too much memory."""
    tile_px = tile_side(model)
    if image.shape[2] * image.shape[3] <= max_pixels(model) or max(image.shape[2:]) <= tile_px:
        logits: Tensor = model(image)
        return logits
    return tiled(model, image, tile_px, OVERLAP_PX, MARGIN_PX)


def max_pixels(model: nn.Module) -> int:
    """Maximum number of pixels that can be predicted at once within MAX_BYTES."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.out_channels if first is not None else 1
    return MAX_BYTES // (BYTES_PER_CHANNEL * channels)


def tile_side(model: nn.Module) -> int:
    """Side of the tiles, a multiple of GRID_PX and larger than their overlap."""
    fits = math.isqrt(max_pixels(model)) // GRID_PX * GRID_PX
    return max(OVERLAP_PX + GRID_PX, min(MAX_TILE_PX, fits))


def tiled(model: nn.Module, image: Tensor, tile_px: int, overlap_px: int, margin_px: int) -> Tensor:
    """Logits (1, S, H, W) of (1, C, H, W) from overlapping tiles.

    At a tile's edge its weight is 0 over `margin_px` and 1 from `overlap_px - margin_px` on; in
    between it rises linearly while its neighbour's falls.

    Args:
        model: (1, C, h, w) to (1, S, h, w).
        image: the prepared image.
        tile_px: side of the tiles.
        overlap_px: how far neighbours overlap; tile_px - overlap_px should be a multiple of what
            the network pools together.
        margin_px: less than half of overlap_px.
    """
    height, width = image.shape[2:]
    total: Tensor | None = None
    weights = torch.zeros(1, 1, height, width, device=image.device)
    for top, bottom in _spans(height, tile_px, overlap_px):
        for left, right in _spans(width, tile_px, overlap_px):
            logits = model(image[:, :, top:bottom, left:right]).float()
            down = _weight(top, bottom, height, overlap_px, margin_px)
            along = _weight(left, right, width, overlap_px, margin_px)
            weight = (down[:, None] * along).to(image.device)
            if total is None:
                total = torch.zeros(1, logits.shape[1], height, width, device=image.device)
            total[..., top:bottom, left:right] += logits.mul_(weight)
            weights[..., top:bottom, left:right] += weight
    assert total is not None
    return total.div_(weights)


def _spans(length: int, tile_px: int, overlap_px: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start + tile_px < length:
        yield start, start + tile_px
        start += tile_px - overlap_px
    yield start, length


def _weight(start: int, stop: int, length: int, overlap_px: int, margin_px: int) -> Tensor:
    """(stop - start) weights, 0 to 1, that fall towards a tile's edge but not the image's
    border."""
    place = torch.arange(stop - start) + 0.5
    slope = overlap_px - 2 * margin_px
    weight = torch.ones(stop - start)
    if start > 0:
        weight = torch.minimum(weight, (place - margin_px) / slope)
    if stop < length:
        weight = torch.minimum(weight, (stop - start - place - margin_px) / slope)
    return weight.clamp(min=0)
