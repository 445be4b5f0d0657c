"""Random changes of what a camera and a retina look like: light, contrast, colour, sharpness.

Full scale is 0 to 1; where photographs are normalised locally it stands for -LOCAL_LIMIT to
LOCAL_LIMIT deviations, and each change means the same share of that.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fundus_cli.data.augment import Draws

SURROUNDINGS_PX = 16
"""Side of the blocks whose means are the surroundings of a pixel: wider than any vessel's wall."""
BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""A binomial filter, close to a Gaussian of 1 px."""


def apply_appearance(draws: Draws, image: Tensor) -> Tensor:
    """Detail, light, sharpness, noise, then contrast, brightness and colour; clamped once.

    Black surroundings change like all else.

    Args:
        draws: of N samples.
        image: (N, 3, H, W) float32, 0 to 1.

    Returns:
        (N, 3, H, W), 0 to 1; the image itself where nothing changes.
    """
    changed = image
    if (draws.detail != 1).any():
        around = _surroundings(changed)
        changed = torch.addcmul(around, changed - around, _per_sample(draws.detail, image))
    if draws.light.any():
        changed = changed * _light(draws, image)
    if draws.sharpness.any():
        fine = changed - _blurred(changed)
        changed = torch.addcmul(changed, fine, _per_sample(draws.sharpness, image))
    if draws.noise.any():
        changed = changed + _noise(draws, image)
    changed = _recoloured(draws, changed)
    return image if changed is image else changed.clamp(0, 1)


def _recoloured(draws: Draws, image: Tensor) -> Tensor:
    """colour * (contrast * (image - mean) + mean + brightness), not clamped.

    The mean is one number per image, over its channels and pixels.
    """
    if (draws.contrast == 1).all() and not draws.brightness.any() and (draws.colour == 1).all():
        return image
    contrast, brightness, colour = (
        _per_sample(values, image) for values in (draws.contrast, draws.brightness, draws.colour)
    )
    mean = image.mean((1, 2, 3), keepdim=True)
    offset = ((1 - contrast) * mean + brightness) * colour
    return torch.addcmul(offset, image, contrast * colour)


def _per_sample(values: NDArray[np.float32], image: Tensor) -> Tensor:
    """(N,) or (N, 3) as (N, 1 or 3, 1, 1) on the image's device."""
    return torch.from_numpy(values).to(image.device).reshape(len(values), -1, 1, 1)


def _surroundings(image: Tensor) -> Tensor:
    """Means of blocks and their neighbours, bilinear between the blocks' middles."""
    side = min(SURROUNDINGS_PX, *image.shape[-2:])
    blocks = F.avg_pool2d(image, side, ceil_mode=True, count_include_pad=False)
    blocks = F.avg_pool2d(F.pad(blocks, (1, 1, 1, 1), mode="replicate"), 3, 1)
    height, width = image.shape[-2:]
    pixels = F.interpolate(blocks, scale_factor=float(side), mode="bilinear")
    return pixels[..., :height, :width]


def _light(draws: Draws, image: Tensor) -> Tensor:
    """(N, 1, H, W) factors, the same for every channel."""
    grid = torch.from_numpy(draws.light).to(image.device)[:, None]
    field = F.interpolate(grid, image.shape[-2:], mode="bicubic", align_corners=True)
    return field.exp_()


def _blurred(image: Tensor) -> Tensor:
    kernel = image.new_tensor(BLUR)
    reach = len(BLUR) // 2
    planes = image.flatten(0, 1)[:, None]
    planes = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
    planes = F.conv2d(F.conv2d(planes, kernel[None, None, :, None]), kernel[None, None, None, :])
    return planes.reshape(image.shape)


def _noise(draws: Draws, image: Tensor) -> Tensor:
    """Drawn on the CPU, so that every device sees the same."""
    drawn = []
    for seed in draws.noise_seed:
        stream = torch.Generator().manual_seed(int(seed))
        drawn.append(torch.randn(image.shape[1:], generator=stream))
    return torch.stack(drawn).to(image.device).mul_(_per_sample(draws.noise, image))
