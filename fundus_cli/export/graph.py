"""Everything between a scaled image and its probabilities as one module to export."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fundus_cli.config import Normalisation
from fundus_cli.data.normalisation import normalise_locally
from fundus_cli.inference.predictor import FLIPS
from fundus_cli.inference.resizing import resized

INPUTS = ("image", "fov_mask", "native_fov_mask")
OUTPUT = "probability"


class PredictionGraph(nn.Module):
    """The computation of `Predictor` in tensor operations, for whole batches.

    It includes normalisation, flips, the mean of the members' logits, resizing to native size and
    the sigmoid, but not decoding, detecting the field of view and scaling the image.

    Args:
        models: the members, in evaluation mode.
        normalisation: as the members were trained.
        tta: average over four flips of each image.
    """

    def __init__(
        self, models: Sequence[nn.Module], normalisation: Normalisation, tta: bool
    ) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.normalisation = normalisation
        self.flips = FLIPS if tta else FLIPS[:1]

    def forward(self, image: Tensor, fov_mask: Tensor, native_fov_mask: Tensor) -> Tensor:
        """Probabilities (N, S, h, w) float32, 0 outside the field of view.

        Args:
            image: (N, 3, H, W) uint8 at working resolution.
            fov_mask: (N, 1, H, W) bool at working resolution.
            native_fov_mask: (N, 1, h, w) bool; its size is that of the result.
        """
        prepared = image.float() / 255
        match self.normalisation:
            case Normalisation.fov:
                prepared = _normalised(prepared, fov_mask)
            case Normalisation.local:
                prepared = normalise_locally(prepared, fov_mask)
        logits = torch.stack(
            [
                model(prepared.flip(dims) if dims else prepared).flip(dims)
                for model in self.models
                for dims in self.flips
            ]
        ).mean(0)
        logits = resized(logits, native_fov_mask.shape[2:])
        return torch.sigmoid(logits) * native_fov_mask


def _normalised(image: Tensor, fov_mask: Tensor) -> Tensor:
    """As samples.fov_statistics and normalisation.normalise do, in double precision too."""
    inside = fov_mask.double()
    num = inside.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (image.double() * inside).sum((2, 3), keepdim=True) / num
    variance = ((image.double() - mean).square() * inside).sum((2, 3), keepdim=True) / num
    std = variance.sqrt().clamp(min=1 / 255)
    return (image - mean.float()) / std.float() * fov_mask
