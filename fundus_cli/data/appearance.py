"""Random changes of what a camera and a retina look like: light, contrast, colour, sharpness.

Full scale is 0 to 1; where photographs are normalised locally it stands for -LOCAL_LIMIT to
LOCAL_LIMIT deviations, and each change means the same share of that.
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fundus_cli.data.augment import Draws

SURROUNDINGS_PX = 16
"""Side of the blocks whose means are the surroundings of a pixel: wider than any vessel's wall."""
FINE = np.asarray([1, 4, 6, 4, 1], np.float32) / 16
"""A binomial filter, close to a Gaussian of 1 px; what it takes away is fine structure."""


def apply_appearance(draws: Draws, image: Tensor) -> Tensor:
    """Grey, detail, light, blur, sharpness, noise, contrast, brightness, colour; clamped once.

    Black surroundings change like all else.

    Args:
        draws: of N samples.
        image: (N, 3, H, W) float32, 0 to 1.

    Returns:
        (N, 3, H, W), 0 to 1; the image itself where nothing changes.
    """
    changed = image
    if draws.grey.any():
        grey = (changed * _per_sample(draws.grey_weights, image)).sum(1, keepdim=True)
        changed = changed.lerp(grey, _per_sample(draws.grey, image))
    if (draws.detail != 1).any():
        around = _surroundings(changed)
        changed = torch.addcmul(around, changed - around, _per_sample(draws.detail, image))
    if draws.light.any():
        changed = changed * _light(draws, image)
    if draws.blur_px.any():
        changed = _blurred(changed, _gaussians(draws.blur_px))
    if draws.sharpness.any():
        fine = changed - _blurred(changed, np.tile(FINE, (len(image), 1)))
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
    """Means of blocks and their neighbours, linear between the blocks' middles."""
    side = min(SURROUNDINGS_PX, *image.shape[-2:])
    blocks = F.avg_pool2d(image, side, ceil_mode=True, count_include_pad=False)
    blocks = F.avg_pool2d(F.pad(blocks, (1, 1, 1, 1), mode="replicate"), 3, 1)
    height, width = image.shape[-2:]
    down, across = (
        _weights("linear", num, num * side, False).to(image.device) for num in blocks.shape[-2:]
    )
    return down[:height] @ blocks @ across[:width].T


def _light(draws: Draws, image: Tensor) -> Tensor:
    """(N, 1, H, W) factors, the same for every channel."""
    grid = torch.from_numpy(draws.light).to(image.device)[:, None]
    down, across = (
        _weights("bicubic", num, length, True).to(image.device)
        for num, length in zip(grid.shape[-2:], image.shape[-2:], strict=True)
    )
    return (down @ grid @ across.T).exp_()


@functools.lru_cache(maxsize=16)
def _weights(mode: str, num: int, length: int, align_corners: bool) -> Tensor:
    """(length, num), the share of each of `num` values in each of `length` places along a line.

    Both directions of a picture as two small products take a quarter of F.interpolate's time.
    """
    lines = torch.eye(num)[None, :, None] if mode == "bicubic" else torch.eye(num)[None]
    size = (1, length) if mode == "bicubic" else length
    between = F.interpolate(lines, size, mode=mode, align_corners=align_corners)
    return between.reshape(num, length).T.contiguous()


def _gaussians(sd_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, taps) filters as long as the widest needs; those of 0 px leave a picture as it is."""
    sd = np.maximum(sd_px.astype(np.float64), 1e-3)[:, None]
    # Each is cut at its own length, so that its neighbours in the batch do not change it.
    reach = np.ceil(3 * sd)
    offsets = np.arange(-int(reach.max()), int(reach.max()) + 1)
    kernels = np.exp(-(offsets**2) / (2 * sd**2)) * (np.abs(offsets) <= reach)
    return np.asarray(kernels / kernels.sum(axis=1, keepdims=True), np.float32)


def _blurred(image: Tensor, kernels: NDArray[np.float32]) -> Tensor:
    """Each of (N, C, H, W) filtered down and across by its own row of (N, taps)."""
    num, channels, height, width = image.shape
    reach = kernels.shape[1] // 2
    own = torch.from_numpy(kernels).to(image.device).repeat_interleave(channels, dim=0)[:, None]
    planes = image.reshape(1, num * channels, height, width)
    planes = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
    planes = F.conv2d(planes, own[..., None], groups=num * channels)
    planes = F.conv2d(planes, own[..., None, :], groups=num * channels)
    return planes.reshape(image.shape)


def _noise(draws: Draws, image: Tensor) -> Tensor:
    """Drawn on the CPU, so that every device sees the same."""
    drawn = []
    for seed in draws.noise_seed:
        stream = torch.Generator().manual_seed(int(seed))
        drawn.append(torch.randn(image.shape[1:], generator=stream))
    return torch.stack(drawn).to(image.device).mul_(_per_sample(draws.noise, image))
