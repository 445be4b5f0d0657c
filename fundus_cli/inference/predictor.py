"""Predict probabilities at native size, with one network or several."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fundus_cli.config import Normalisation
from fundus_cli.data.batches import Batch, whole_image
from fundus_cli.data.normalisation import prepared_image
from fundus_cli.data.samples import FundusImage, Sample
from fundus_cli.errors import DivergedError
from fundus_cli.inference.resizing import resized
from fundus_cli.inference.tiles import whole_or_tiled
from fundus_cli.runtime.device import autocast

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Dimensions to flip: none, left-right, up-down, both."""


class Predictor:
    """One network or an ensemble, with all that its predictions depend on.

    Attributes:
        models: the members; their logits are averaged.
        normalisation: how images are prepared, the same for every member.
        device: of the members.
        dtype: precision of the members' products.
        tta: average each member's logits over four flips of the image too.
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
        """Logits (1, S, H, W) float32 at working resolution, and the input they belong to.

        Raises:
            DivergedError: one of them is not finite.
        """
        batch = whole_image(sample, self.normalisation, self.device)
        return _finite(self.logits_of(batch.image), sample), batch

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (1, S, H, W) float32 of a prepared image (1, 3, H, W)."""
        flips = FLIPS if self.tta else FLIPS[:1]
        total: Tensor | float = 0.0
        with torch.inference_mode(), autocast(self.device, self.dtype):
            for model in self.models:
                model.eval()
                for dims in flips:
                    seen = image.flip(dims).contiguous(memory_format=torch.channels_last)
                    total = total + whole_or_tiled(model, seen).float().flip(dims)
        assert isinstance(total, Tensor)
        return total / (len(self.models) * len(flips))

    def probability(self, fundus_image: FundusImage) -> np.ndarray:
        """(S, h, w) float32 at the image's native size, 0 outside the field of view.

        Raises:
            DivergedError: a logit is not finite.
        """
        image, _ = prepared_image(fundus_image, self.normalisation, self.device)
        return self.at_native_size(_finite(self.logits_of(image), fundus_image), fundus_image)

    def at_native_size(self, logits: Tensor, fundus_image: FundusImage) -> np.ndarray:
        """Logits of an image as (S, h, w) probabilities, 0 outside the field of view."""
        with torch.inference_mode():
            if tuple(logits.shape[2:]) != fundus_image.native_hw:
                logits = resized(logits, fundus_image.native_hw)
            probability = torch.sigmoid(logits.contiguous())[0].cpu().numpy()
        probability *= fundus_image.native_fov.unpack()
        return np.ascontiguousarray(probability)


def _finite(logits: Tensor, fundus_image: FundusImage) -> Tensor:
    """The same logits, of which no probability, threshold or score would be a number otherwise."""
    if not bool(torch.isfinite(logits).all()):
        raise DivergedError(
            f"image {fundus_image.id}: the network's output is not finite, so its training has "
            "diverged; train again with a lower optimizer.lr"
        )
    return logits
