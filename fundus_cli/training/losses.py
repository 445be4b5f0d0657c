"""Loss functions; only pixels inside the field of view count."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fundus_cli.config import LossConfig, LossName

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""loss(logits, target, fov_mask) -> scalar."""


def bce_loss(logits: Tensor, target: Tensor, fov_mask: Tensor) -> Tensor:
    """Mean binary cross-entropy over all structures of all pixels inside the field of view.

    -(t log p + (1 - t) log(1 - p)) with p = sigmoid(logit), computed from the logits so that it
    stays finite, in float32 also under autocast. The mean is over the batch as a whole:
    an image with a larger field of view weighs more. Where no pixel is inside, the loss and its
    gradient are 0.

    Args:
        logits: (N, S, H, W), before the sigmoid.
        target: (N, S, H, W), 0 to 1.
        fov_mask: (N, 1, H, W), True where a pixel counts.
    """
    inside = _zeros_and_ones(fov_mask)
    total = F.binary_cross_entropy_with_logits(
        logits.float(), target.float(), weight=inside, reduction="sum"
    )
    # Counted in integers: a float32 sum of ones is not exact above 16.7 million pixels.
    return total / (fov_mask.sum() * logits.shape[1]).clamp(min=1)


def soft_dice_loss(logits: Tensor, target: Tensor, fov_mask: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice of each image and structure, averaged over both.

    dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth) with p = sigmoid(logit) and sums over
    the pixels inside the field of view (Milletari et al. 2016, with plain instead of squared terms
    in the denominator). Computed in float32 also under autocast. Where no pixel is inside, the
    loss of that image and its gradient are 0.

    Args:
        logits: (N, S, H, W), before the sigmoid.
        target: (N, S, H, W), 0 to 1.
        fov_mask: (N, 1, H, W), True where a pixel counts.
        smooth: above 0, in pixels; softens the loss for small and absent structures.
    """
    inside = _zeros_and_ones(fov_mask)
    probability = logits.float().sigmoid() * inside
    target = target.float() * inside
    overlap = (probability * target).sum((2, 3))
    total = probability.sum((2, 3)) + target.sum((2, 3))
    dice = (2 * overlap + smooth) / (total + smooth)
    return 1 - dice.mean()


def _zeros_and_ones(mask: Tensor) -> Tensor:
    # Via uint8, which PyTorch converts to float ten times faster than bool.
    return mask.view(torch.uint8).float()


def build_loss(config: LossConfig) -> Loss:
    """The loss that `config` names; bce_dice is (1 - dice_weight) bce + dice_weight soft Dice."""
    weight = config.dice_weight

    def bce_dice_loss(logits: Tensor, target: Tensor, fov_mask: Tensor) -> Tensor:
        bce = bce_loss(logits, target, fov_mask)
        return (1 - weight) * bce + weight * soft_dice_loss(logits, target, fov_mask)

    match config.name:
        case LossName.bce:
            return bce_loss
        case LossName.bce_dice:
            return bce_dice_loss
