"""One photograph to probabilities at its native size, whole or in overlapping tiles."""

from collections.abc import Sequence

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


FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Dimensions to mirror: as it is, left-right, up-down, both."""


class Predictor:
    """One network or an ensemble, with all that its predictions depend on.

    Attributes:
        models: the members; their logits are averaged.
        normalisation: how photographs are prepared, the same for every member.
        device: where the members lie.
        dtype: number format of the members' products.
        tta: average each member's logits over the four mirrored photographs too.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        normalisation: Normalisation,
        device: torch.device,
        dtype: torch.dtype,
        *,
        tta: bool = False,
    ) -> None:
        self.models = tuple(models)
        self.normalisation = normalisation
        self.device = device
        self.dtype = dtype
        self.tta = tta

    def logits(self, sample: Sample) -> tuple[Tensor, Batch]:
        """Logits (1, S, H, W) float32 at working resolution, and the input they belong to."""
        batch = whole_image(sample, self.normalisation, self.device)
        return self.logits_of(batch.image), batch

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (1, S, H, W) float32 of a prepared photograph (1, 3, H, W)."""
        flips = FLIPS if self.tta else FLIPS[:1]
        total: Tensor | float = 0.0
        with torch.inference_mode(), autocast(self.device, self.dtype):
            for model in self.models:
                model.eval()
                for dims in flips:
                    seen = image.flip(dims).contiguous(memory_format=torch.channels_last)
                    total = total + _whole_or_tiled(model, seen).float().flip(dims)
        assert isinstance(total, Tensor)
        return total / (len(self.models) * len(flips))

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


def _whole_or_tiled(model: nn.Module, image: Tensor) -> Tensor:
    if image.shape[2] * image.shape[3] <= WHOLE_MAX_PIXELS:
        logits: Tensor = model(image)
        return logits
    return tiled(model, image, TILE_PX, TILE_OVERLAP_PX)


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
