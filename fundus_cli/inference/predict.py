"""One photograph to probabilities at its native size, whole or in overlapping tiles."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fundus_cli.config import Normalisation
from fundus_cli.data.samples import Sample
from fundus_cli.data.sampling import Batch, whole_image
from fundus_cli.runtime import autocast

WHOLE_MAX_PIXELS = 2_500_000
"""Photographs with more working pixels are predicted in tiles, to bound memory."""
TILE_PX = 1024
TILE_OVERLAP_PX = 256


class Predictor:
    """A network with all that its predictions depend on."""

    def __init__(
        self,
        model: nn.Module,
        normalisation: Normalisation,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.model = model
        self.normalisation = normalisation
        self.device = device
        self.dtype = dtype

    def logits(self, sample: Sample) -> tuple[Tensor, Batch]:
        """Logits (1, S, H, W) float32 at working resolution, and the input they belong to."""
        batch = whole_image(sample, self.normalisation, self.device)
        self.model.eval()
        with torch.inference_mode(), autocast(self.device, self.dtype):
            image = batch.image.contiguous(memory_format=torch.channels_last)
            if image.shape[2] * image.shape[3] <= WHOLE_MAX_PIXELS:
                logits = self.model(image)
            else:
                logits = tiled(self.model, image, TILE_PX, TILE_OVERLAP_PX)
        return logits.float(), batch

    def probability(self, sample: Sample) -> np.ndarray:
        """(S, h, w) float32 at the photograph's native size, 0 outside the field of view."""
        return self.at_native_size(self.logits(sample)[0], sample)

    def at_native_size(self, logits: Tensor, sample: Sample) -> np.ndarray:
        """Logits of `sample` as (S, h, w) probabilities, 0 outside the field of view."""
        with torch.inference_mode():
            if tuple(logits.shape[2:]) != sample.native_hw:
                logits = F.interpolate(
                    logits, sample.native_hw, mode="bilinear", align_corners=False
                )
            probability = torch.sigmoid(logits.contiguous())[0].cpu().numpy()
        probability *= sample.native_fov.unpack()
        return np.ascontiguousarray(probability)


def tiled(model: nn.Module, image: Tensor, tile_px: int, overlap_px: int) -> Tensor:
    """Logits of (1, C, H, W) from overlapping tiles, blended by weights that fall off linearly."""
    height, width = image.shape[2:]
    total: Tensor | None = None
    weights = torch.zeros(1, 1, height, width, device=image.device)
    for top in _starts(height, tile_px, overlap_px):
        for left in _starts(width, tile_px, overlap_px):
            tile = image[:, :, top : top + tile_px, left : left + tile_px]
            logits = model(tile).float()
            weight = _ramp(tile.shape[2], overlap_px)[:, None] * _ramp(tile.shape[3], overlap_px)
            weight = weight.to(image.device)
            if total is None:
                total = torch.zeros(1, logits.shape[1], height, width, device=image.device)
            place = (..., slice(top, top + tile.shape[2]), slice(left, left + tile.shape[3]))
            total[place] += logits * weight
            weights[place] += weight
    assert total is not None
    return total / weights


def _starts(length: int, tile_px: int, overlap_px: int) -> list[int]:
    if length <= tile_px:
        return [0]
    stride = tile_px - overlap_px
    return [*range(0, length - tile_px, stride), length - tile_px]


def _ramp(length: int, overlap_px: int) -> Tensor:
    """1 in the middle, falling towards both ends over the overlap, never 0."""
    from_end = torch.minimum(torch.arange(length), torch.arange(length).flip(0)) + 1.0
    return (from_end / overlap_px).clamp(max=1.0)
