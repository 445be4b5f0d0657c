"""U-Net: from images of any size to one logit per structure and pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from fundus_cli.model.batch_norm import BatchNorm2d, is_traced
from fundus_cli.model.upsampling import ConvTranspose2d


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with batch norm, same-size convolutions and one head.

    Each of `depth` levels convolves twice, keeps the result as a skip connection and halves the
    size by max pooling; the bottleneck follows; the decoder doubles the size with 2x2 transposed
    convolutions and concatenates the skip. Channels double per level.
    Weights start as PyTorch initialises them. With 3 channels in, 1 structure, 64 base channels
    and depth 4 it has 31,043,521 parameters.

    Differences from the paper, all common today: convolutions are padded with zeros instead of
    cropping the skips, each is followed by batch norm, and there is no dropout.

    Args:
        in_channels: C, channels of the image.
        num_structures: S, one logit each; several may be on at the same pixel.
        base_channels: channels of the first level.
        depth: number of downsamplings by 2, 0 or more.
    """

    def __init__(
        self, in_channels: int, num_structures: int, base_channels: int, depth: int
    ) -> None:
        super().__init__()
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.multiple = 2**depth
        self.encoder = nn.ModuleList(
            DoubleConv(narrow, wide)
            for narrow, wide in zip([in_channels, *widths], widths[:-1], strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = DoubleConv(widths[-2] if depth else in_channels, widths[-1])
        self.upsample = nn.ModuleList(
            ConvTranspose2d(2 * width, width, kernel_size=2, stride=2)
            for width in reversed(widths[:-1])
        )
        self.decoder = nn.ModuleList(
            DoubleConv(2 * width, width) for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(base_channels, num_structures, kernel_size=1)

    @property
    def heads(self) -> list[nn.Conv2d]:
        """The convolutions whose outputs are logits."""
        return [self.head]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, S, H, W) of images (N, C, H, W) with any H, W >= 1.

        Sizes that 2**depth does not divide are padded at the right and bottom by `pad_to_multiple`
        and the logits cropped back.
        """
        height, width = image.shape[-2:]
        features = pad_to_multiple(image, self.multiple)
        if self.training and features.numel() // features.shape[1] == self.multiple**2:
            # Batch norm cannot train on one value per channel, which is what the bottleneck would
            # have.
            features = F.pad(features, (0, self.multiple, 0, 0), mode="replicate")
        skips = []
        for level in self.encoder:
            features = level(features)
            skips.append(features)
            features = self.pool(features)
        features = self.bottleneck(features)
        for upsample, level in zip(self.upsample, self.decoder, strict=True):
            features = level(torch.cat([skips.pop(), upsample(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits[..., :height, :width]


class DoubleConv(nn.Sequential):
    """Twice: 3x3 convolution, batch norm, ReLU; (N, C, H, W) keeps its H and W."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                nn.Conv2d(channels, out_channels, kernel_size=3, padding=1),
                BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """(N, out_channels, H, W) of (N, in_channels, H, W).

        During inference in bfloat16, batch norm is fused into the convolution before it, which
        saves a pass over the image. In float32 it is not, so that an exported file and the
        checkpoint agree to the last digits.
        """
        if self.training or torch.is_grad_enabled() or not _rounds(image) or is_traced():
            features: Tensor = super().forward(image)  # type: ignore[no-untyped-call]
            return features
        for conv, norm in ((self[0], self[1]), (self[3], self[4])):
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            mean, variance = norm.running_mean, norm.running_var
            assert mean is not None and variance is not None
            weight, bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            image = F.conv2d(image, weight, bias, padding=1).relu_()
        return image


def _rounds(image: Tensor) -> bool:
    return torch.is_autocast_enabled(image.device.type)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until H and W of (N, C, H, W) are multiples of `multiple`.

    Repetition adds no edge, unlike zeros (black is not 0 in a normalised image), and needs no
    minimum size, unlike reflection. An image that fits is returned unchanged.
    """
    # An exported graph must pad for every size, not only for that of the example it is made from.
    for_every_size = is_traced()
    height, width = image.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if below == 0 and right == 0 and not for_every_size:
        return image
    return F.pad(image, (0, right, 0, below), mode="replicate")
