"""Normalise images, globally in the field of view or locally.

`fov` standardises each channel by its mean and standard deviation in the field of view, which
removes exposure and colour of a camera. `local` standardises by the mean and deviation around each
pixel, which also removes uneven illumination and regional contrast.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fundus_cli.config import Normalisation
from fundus_cli.data.gpu_transfer import on_device, zeros_and_ones
from fundus_cli.data.samples import FundusImage

LOCAL_SIGMA_PX = 40
"""Standard deviation of the Gaussian of local means: 1/20 of the default field of view of 800
px."""
LOCAL_LIMIT = 4.0
"""Values are clamped to this many local standard deviations."""
BLOCK_PX = 8
"""Side of the blocks whose means the Gaussian is taken over; small beside LOCAL_SIGMA_PX."""
MIN_STD = 1 / 255
"""One grey level: smaller deviations are noise of the file format."""


def normalise(image: Tensor, fov_mask: Tensor, fundus_images: Sequence[FundusImage]) -> Tensor:
    """Zero mean and unit deviation per channel by each image's field of view; 0 outside it.

    Args:
        image: (N, 3, H, W), 0 to 1; it is overwritten, as a fresh tensor costs more than the sums.
        fov_mask: (N, 1, H, W) bool.
        fundus_images: N, for their statistics.
    """
    mean = on_device(np.stack([one.mean for one in fundus_images]), image.device)
    std = on_device(np.stack([one.std for one in fundus_images]), image.device)
    return (
        image.sub_(mean[..., None, None]).div_(std[..., None, None]).mul_(zeros_and_ones(fov_mask))
    )


def normalise_locally(image: Tensor, fov_mask: Tensor) -> Tensor:
    """Standardise each pixel by the local mean and the local standard deviation.

    Both are weighted by a Gaussian of LOCAL_SIGMA_PX over pixels of the field of view alone, so
    that its border leaves no edge. Uses operations that can be exported.

    Args:
        image: (N, 3, H, W) float32, 0 to 1, whole images.
        fov_mask: (N, 1, H, W) bool.

    Returns:
        (N, 3, H, W) float32 from -LOCAL_LIMIT to LOCAL_LIMIT, 0 outside the field of view.
    """
    weight = fov_mask.float()
    total = _local_mean(weight)
    deviation = (image - _upsampled(_local_mean(image * weight) / total, image)) * weight
    variance = _local_mean(deviation.square()) / total
    std = _upsampled((variance + MIN_STD**2).sqrt(), image)
    return (deviation / std).clamp(-LOCAL_LIMIT, LOCAL_LIMIT)


def _local_mean(planes: Tensor) -> Tensor:
    """Gaussian mean around the centre of each block; never 0, so that it can be a divisor."""
    height, width = planes.shape[-2:]
    planes = F.pad(planes, (0, -width % BLOCK_PX, 0, -height % BLOCK_PX))
    blocks = F.avg_pool2d(planes, BLOCK_PX)
    sigma = LOCAL_SIGMA_PX / BLOCK_PX
    reach = round(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=planes.device)
    kernel = torch.exp(-offsets.float().square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    num, channels = blocks.shape[:2]
    flat = blocks.reshape(num * channels, 1, *blocks.shape[2:])
    flat = F.conv2d(flat, kernel[None, None, :, None], padding=(reach, 0))
    flat = F.conv2d(flat, kernel[None, None, None, :], padding=(0, reach))
    return flat.reshape(blocks.shape) + 1e-12


def _upsampled(blocks: Tensor, image: Tensor) -> Tensor:
    """Values per block as values per pixel, bilinear between the centres of the blocks."""
    height, width = image.shape[-2:]
    pixels = F.interpolate(blocks, scale_factor=float(BLOCK_PX), mode="bilinear")
    return pixels[..., :height, :width]


def local_as_bytes(fundus_image: FundusImage) -> np.ndarray:
    """`normalise_locally` of an image as (3, H, W) uint8, for `from_share`."""
    image = torch.from_numpy(fundus_image.image)[None].float().div_(255)
    local = normalise_locally(image, torch.from_numpy(fundus_image.fov_mask)[None, None])
    share = local.add_(LOCAL_LIMIT).mul_(255 / (2 * LOCAL_LIMIT))
    return share.round_().to(torch.uint8)[0].numpy()


def from_share(share: Tensor, fov_mask: Tensor) -> Tensor:
    """Local deviations from bytes / 255, 0 outside the field of view; `share` is overwritten."""
    return share.mul_(2 * LOCAL_LIMIT).sub_(LOCAL_LIMIT).mul_(zeros_and_ones(fov_mask))


def prepared_image(
    fundus_image: FundusImage, normalisation: Normalisation, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Image (1, 3, H, W) float32 as the network sees it, and field of view (1, 1, H, W) bool."""
    image = torch.from_numpy(fundus_image.image)[None].to(device).float().div_(255)
    fov_mask = torch.from_numpy(fundus_image.fov_mask)[None, None].to(device)
    match normalisation:
        case Normalisation.fov:
            image = normalise(image, fov_mask, [fundus_image])
        case Normalisation.local:
            image = normalise_locally(image, fov_mask)
    return image, fov_mask
