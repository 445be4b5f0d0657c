"""Photometric augmentation: illumination, contrast, colour, sharpness, noise.

Full scale is 0 to 1. Where images are normalised locally, it stands for -LOCAL_LIMIT to LOCAL_LIMIT
standard deviations, and every parameter is the same share of that range.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fundus_cli.data.augment_geometric import AugmentParams
from fundus_cli.data.gpu_transfer import on_device

LOCAL_MEAN_PX = 16
"""Side of the blocks whose means approximate the local mean; wider than any vessel's wall."""
FINE = (6 / 16, 4 / 16, 1 / 16)
"""Half of a binomial filter, from its centre; close to a Gaussian of 1 px, it removes fine
detail."""
Change = Callable[[AugmentParams, Tensor], Tensor]
"""change(parameters of N samples, (N, 3, H, W)) -> a new tensor of the same shape."""
NORMAL_NUMBERS = 2**20
"""Length of each of the two rows of normal numbers from which all noise is composed."""
STRETCH = 2**19
"""Maximum number of consecutive numbers used at a time; a patch of 256 px has 3 * 2**16 values."""


def apply_photometric(params: AugmentParams, image: Tensor) -> Tensor:
    """Apply channel mixing, local contrast, illumination, blur, sharpness, noise, contrast,
    brightness and colour in this order, then clamp.

    The black surround changes like the rest.

    Args:
        params: of N samples.
        image: (N, 3, H, W) float32, 0 to 1.

    Returns:
        (N, 3, H, W), 0 to 1; the image itself where nothing changes.
    """
    changes = _changes(params)
    if not changes:
        return image
    if image.device.type != "cpu":
        for _, change in changes:
            image = change(params, image)
        return image.clamp(0, 1)
    # On a CPU, one sample at a time stays in the cache until it is done.
    result = torch.empty(image.shape)
    for n in range(len(image)):
        own, sample = params.of(n), image[n : n + 1]
        for applies, change in changes:
            if applies[n]:
                sample = change(own, sample)
        torch.clamp(sample, 0, 1, out=result[n : n + 1])
    return result


def _changes(params: AugmentParams) -> list[tuple[NDArray[np.bool_], Change]]:
    """The changes that apply to any sample, in order, and (N,) whether each applies to a sample."""
    has_new_colour = (
        (params.contrast != 1) | (params.brightness != 0) | (params.colour != 1).any(axis=1)
    )
    every: tuple[tuple[Any, Change], ...] = (
        (params.grey != 0, _mix_channels),
        (params.detail != 1, _scale_local_contrast),
        (params.illumination.any(axis=(1, 2)), _illuminate),
        (params.blur_px != 0, _blur),
        (params.sharpness != 0, _sharpen),
        (params.noise != 0, _add_noise),
        (has_new_colour, _adjust_colour),
    )
    return [(applies, change) for applies, change in every if applies.any()]


def _mix_channels(params: AugmentParams, image: Tensor) -> Tensor:
    """Mix each channel with the grey image, as one matrix product per pixel."""
    share = params.grey[:, None, None]
    mixture = (1 - share) * np.eye(3, dtype=np.float32) + share * params.grey_weights[:, None]
    mixed = on_device(mixture, image.device) @ image.flatten(2)
    return mixed.reshape(image.shape)


def _adjust_colour(params: AugmentParams, image: Tensor) -> Tensor:
    """colour * (contrast * (image - mean) + mean + brightness), not clamped.

    The mean is one number per image, over its channels and pixels.
    """
    contrast, brightness, colour = (
        _per_sample(values, image) for values in (params.contrast, params.brightness, params.colour)
    )
    mean = image.mean((1, 2, 3), keepdim=True)
    return (image * (contrast * colour)).add_(((1 - contrast) * mean + brightness) * colour)


def _per_sample(values: NDArray[np.float32], image: Tensor) -> Tensor:
    """(N,) or (N, 3) as (N, 1 or 3, 1, 1) on the image's device."""
    return on_device(values, image.device).reshape(len(values), -1, 1, 1)


def _scale_local_contrast(params: AugmentParams, image: Tensor) -> Tensor:
    return _stretched(image, _local_mean(image), params.detail)


def _sharpen(params: AugmentParams, image: Tensor) -> Tensor:
    return _stretched(image, _filtered(image, FINE), 1 + params.sharpness)


def _blur(params: AugmentParams, image: Tensor) -> Tensor:
    every = zip(torch.split(image, 1), params.blur_px.tolist(), strict=True)
    blurred = [_filtered(one, _gaussian(sd)) if sd else one for one, sd in every]
    return blurred[0] if len(blurred) == 1 else torch.cat(blurred)


def _stretched(image: Tensor, local_mean: Tensor, factor: NDArray[np.float32]) -> Tensor:
    """Multiply the difference to the local mean by each sample's factor."""
    return (image - local_mean).mul_(_per_sample(factor, image)).add_(local_mean)


def _local_mean(image: Tensor) -> Tensor:
    """Local mean: means over blocks and their neighbours, interpolated between the block
    centres."""
    side = min(LOCAL_MEAN_PX, *image.shape[-2:])
    (means_down, down), (means_across, across) = (
        _block_means(length, side, image.device) for length in image.shape[-2:]
    )
    return (down @ (means_down @ (image @ means_across.T))) @ across.T


@functools.lru_cache(maxsize=16)
def _block_means(length: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Along a line of `length` pixels: (num, length) that gives each block's mean and (length, num)
    that spreads the blocks' values over the pixels.

    A block has `side` pixels, the last one possibly fewer. Its mean is taken over itself and both
    neighbours; a block at an end counts twice in place of the missing neighbour.
    """
    num = -(-length // side)
    blocks = torch.arange(length) // side == torch.arange(num)[:, None]
    own = blocks / blocks.sum(1, keepdim=True)
    with_ends = torch.cat((own[:1], own, own[-1:]))
    means = F.avg_pool1d(with_ends.T[None], 3, 1)[0].T.contiguous()
    return means.to(device), _weights("linear", num, num * side, False, device)[:length]


def _illuminate(params: AugmentParams, image: Tensor) -> Tensor:
    """Multiply by an illumination that varies slowly over the patch, equal for all channels."""
    grid = on_device(params.illumination, image.device)[:, None]
    down, across = (
        _weights("bicubic", num, length, True, image.device)
        for num, length in zip(grid.shape[-2:], image.shape[-2:], strict=True)
    )
    return image * (down @ grid @ across.T).exp_()


@functools.lru_cache(maxsize=16)
def _weights(mode: str, num: int, length: int, align_corners: bool, device: torch.device) -> Tensor:
    """(length, num), the weight of each of `num` values at each of `length` positions on a line.

    Both directions as two small matrix products take a quarter of F.interpolate's time.
    """
    lines = torch.eye(num)[None, :, None] if mode == "bicubic" else torch.eye(num)[None]
    size = (1, length) if mode == "bicubic" else length
    between = F.interpolate(lines, size, mode=mode, align_corners=align_corners)
    return between.reshape(num, length).T.contiguous().to(device)


def _gaussian(sd_px: float) -> list[float]:
    """Half of a Gaussian filter cut at three standard deviations, from its centre."""
    shares = [math.exp(-(k**2) / (2 * sd_px**2)) for k in range(math.ceil(3 * sd_px) + 1)]
    total = 2 * math.fsum(shares) - 1
    return [share / total for share in shares]


def _filtered(image: Tensor, shares: Sequence[float]) -> Tensor:
    """(N, C, H, W) filtered along both axes by a symmetric filter, given from its centre.

    A sum of shifted images takes a quarter of the time of a convolution per channel.
    """
    reach = len(shares) - 1
    image = F.pad(image, (reach,) * 4, mode="replicate")
    for dim in (-2, -1):
        length = image.shape[dim] - 2 * reach
        total = image.narrow(dim, reach, length) * shares[0]
        for k in range(1, reach + 1):
            for step in (-k, k):
                total.add_(image.narrow(dim, reach + step, length), alpha=shares[k])
        image = total
    return image


def _add_noise(params: AugmentParams, image: Tensor) -> Tensor:
    """Add noise to each sample: the sum of two stretches of a fixed table of normal numbers.

    The sample's seed decides where the stretches start, so within a stretch the sums are
    independent and normal; sampling new numbers takes ten times as long. Samples with more than
    STRETCH values use further stretches.
    """
    first, second = _normal_numbers(image.device)
    places = NORMAL_NUMBERS - STRETCH
    flat = image.reshape(len(image), -1)
    noisy = torch.empty_like(flat)
    seeds, sds = params.noise_seed.tolist(), params.noise.tolist()
    for before, after, seed, sd in zip(flat, noisy, seeds, sds, strict=True):
        for piece, start in enumerate(range(0, len(before), STRETCH)):
            # Odd steps modulo a power of two visit every position before one repeats.
            one = (seed + 387_277 * piece) % places
            other = (seed // places + 611_953 * piece) % places
            source, target = (row[start : start + STRETCH] for row in (before, after))
            torch.add(source, first[one : one + len(source)], alpha=sd, out=target)
            target.add_(second[other : other + len(source)], alpha=sd)
    return noisy.reshape(image.shape)


@functools.lru_cache(maxsize=2)
def _normal_numbers(device: torch.device) -> Tensor:
    """(2, NORMAL_NUMBERS) with a variance of one half, sampled on the CPU, equal on all devices."""
    stream = torch.Generator().manual_seed(0)
    return torch.randn(2, NORMAL_NUMBERS, generator=stream).mul_(0.5**0.5).to(device)
