"""W-Net: a second U-Net that sees the image and the logits of the first one."""

import torch
from torch import Tensor, nn

from fundus_cli.model.unet import UNet


class WNet(nn.Module):
    """Two U-Nets in a row, both trained on the target (Galdran et al. 2022, Little W-Net).

    The second one gets the image with the first one's logits as further channels, so that it can
    close gaps and remove isolated pixels, with few parameters.

    Args:
        in_channels: C, channels of the image.
        num_structures: S, one logit each.
        base_channels: channels of the first level of either U-Net.
        depth: number of downsamplings by 2.
    """

    def __init__(
        self, in_channels: int, num_structures: int, base_channels: int, depth: int
    ) -> None:
        super().__init__()
        self.first = UNet(in_channels, num_structures, base_channels, depth)
        self.second = UNet(in_channels + num_structures, num_structures, base_channels, depth)

    @property
    def heads(self) -> list[nn.Conv2d]:
        """The last convolution of each U-Net."""
        return [*self.first.heads, *self.second.heads]

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (N, S, H, W) of images (N, C, H, W); while training those of both U-Nets."""
        first = self.first(image)
        # Each U-Net pads odd sizes itself, so both see the image's size.
        second: Tensor = self.second(torch.cat([image.to(first.dtype), first], dim=1))
        return (first, second) if self.training else second
