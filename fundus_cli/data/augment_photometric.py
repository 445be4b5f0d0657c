"""Random changes of what a camera and a retina look like: light, contrast, colour, sharpness.

Full scale is 0 to 1; where images are normalised locally it stands for -LOCAL_LIMIT to
LOCAL_LIMIT deviations, and each change means the same share of that.
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

from fundus_cli.data.augment_geometric import Draws
from fundus_cli.data.gpu_transfer import on_device

SURROUNDINGS_PX = 16
"""Side of the blocks whose means are the surroundings of a pixel: wider than any vessel's wall."""
FINE = (6 / 16, 4 / 16, 1 / 16)
"""A binomial filter from its middle, close to a Gaussian of 1 px; what it takes away is fine
structure."""
Change = Callable[[Draws, Tensor], Tensor]
"""change(draws of N samples, (N, 3, H, W)) -> a new picture of the same shape."""
NORMAL_NUMBERS = 2**20
"""Noise is made of twice so many."""
STRETCH = 2**19
"""Of so many in a row at most; a patch of 256 px has 3 * 2**16 values."""


def apply_photometric(draws: Draws, image: Tensor) -> Tensor:
    """Grey, detail, light, blur, sharpness, noise, contrast, brightness, colour; clamped once.

    Black surroundings change like all else.

    Args:
        draws: of N samples.
        image: (N, 3, H, W) float32, 0 to 1.

    Returns:
        (N, 3, H, W), 0 to 1; the image itself where nothing changes.
    """
    changes = _changes(draws)
    if not changes:
        return image
    if image.device.type != "cpu":
        for _, change in changes:
            image = change(draws, image)
        return image.clamp(0, 1)
    # A processor takes one sample after the other: each stays in the cache until it is done.
    result = torch.empty(image.shape)
    for n in range(len(image)):
        own, sample = draws.of(n), image[n : n + 1]
        for concerned, change in changes:
            if concerned[n]:
                sample = change(own, sample)
        torch.clamp(sample, 0, 1, out=result[n : n + 1])
    return result


def _changes(draws: Draws) -> list[tuple[NDArray[np.bool_], Change]]:
    """Those that concern any sample, in order, and (N,) whether they concern each."""
    recoloured = (draws.contrast != 1) | (draws.brightness != 0) | (draws.colour != 1).any(axis=1)
    every: tuple[tuple[Any, Change], ...] = (
        (draws.grey != 0, _greyer),
        (draws.detail != 1, _detailed),
        (draws.light.any(axis=(1, 2)), _lit),
        (draws.blur_px != 0, _blurred),
        (draws.sharpness != 0, _sharper),
        (draws.noise != 0, _noisy),
        (recoloured, _recoloured),
    )
    return [(concerned, change) for concerned, change in every if concerned.any()]


def _greyer(draws: Draws, image: Tensor) -> Tensor:
    """Each channel moved towards the grey picture, as one product per pixel."""
    share = draws.grey[:, None, None]
    mixture = (1 - share) * np.eye(3, dtype=np.float32) + share * draws.grey_weights[:, None]
    mixed = on_device(mixture, image.device) @ image.flatten(2)
    return mixed.reshape(image.shape)


def _recoloured(draws: Draws, image: Tensor) -> Tensor:
    """colour * (contrast * (image - mean) + mean + brightness), not clamped.

    The mean is one number per image, over its channels and pixels.
    """
    contrast, brightness, colour = (
        _per_sample(values, image) for values in (draws.contrast, draws.brightness, draws.colour)
    )
    mean = image.mean((1, 2, 3), keepdim=True)
    return (image * (contrast * colour)).add_(((1 - contrast) * mean + brightness) * colour)


def _per_sample(values: NDArray[np.float32], image: Tensor) -> Tensor:
    """(N,) or (N, 3) as (N, 1 or 3, 1, 1) on the image's device."""
    return on_device(values, image.device).reshape(len(values), -1, 1, 1)


def _detailed(draws: Draws, image: Tensor) -> Tensor:
    return _stretched(image, _surroundings(image), draws.detail)


def _sharper(draws: Draws, image: Tensor) -> Tensor:
    return _stretched(image, _filtered(image, FINE), 1 + draws.sharpness)


def _blurred(draws: Draws, image: Tensor) -> Tensor:
    every = zip(torch.split(image, 1), draws.blur_px.tolist(), strict=True)
    blurred = [_filtered(one, _gaussian(sd)) if sd else one for one, sd in every]
    return blurred[0] if len(blurred) == 1 else torch.cat(blurred)


def _stretched(image: Tensor, around: Tensor, factor: NDArray[np.float32]) -> Tensor:
    """What differs from `around` times each sample's factor."""
    return (image - around).mul_(_per_sample(factor, image)).add_(around)


def _surroundings(image: Tensor) -> Tensor:
    """Means of blocks and their neighbours, linear between the blocks' middles."""
    side = min(SURROUNDINGS_PX, *image.shape[-2:])
    (means_down, down), (means_across, across) = (
        _block_means(length, side, image.device) for length in image.shape[-2:]
    )
    return (down @ (means_down @ (image @ means_across.T))) @ across.T


@functools.lru_cache(maxsize=16)
def _block_means(length: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Along a line of `length` pixels: (num, length) that gives each block's mean and (length, num)
    that spreads the blocks' values over the pixels.

    A block has `side` pixels, the last one fewer; its mean is that of itself and both neighbours,
    of which the blocks at the ends have themselves as one.
    """
    num = -(-length // side)
    blocks = torch.arange(length) // side == torch.arange(num)[:, None]
    own = blocks / blocks.sum(1, keepdim=True)
    with_ends = torch.cat((own[:1], own, own[-1:]))
    means = F.avg_pool1d(with_ends.T[None], 3, 1)[0].T.contiguous()
    return means.to(device), _weights("linear", num, num * side, False, device)[:length]


def _lit(draws: Draws, image: Tensor) -> Tensor:
    """Times factors that vary slowly over the patch, the same for every channel."""
    grid = on_device(draws.light, image.device)[:, None]
    down, across = (
        _weights("bicubic", num, length, True, image.device)
        for num, length in zip(grid.shape[-2:], image.shape[-2:], strict=True)
    )
    return image * (down @ grid @ across.T).exp_()


@functools.lru_cache(maxsize=16)
def _weights(mode: str, num: int, length: int, align_corners: bool, device: torch.device) -> Tensor:
    """(length, num), the share of each of `num` values in each of `length` places along a line.

    Both directions of a picture as two small products take a quarter of F.interpolate's time.
    """
    lines = torch.eye(num)[None, :, None] if mode == "bicubic" else torch.eye(num)[None]
    size = (1, length) if mode == "bicubic" else length
    between = F.interpolate(lines, size, mode=mode, align_corners=align_corners)
    return between.reshape(num, length).T.contiguous().to(device)


def _gaussian(sd_px: float) -> list[float]:
    """The middle of a filter of three deviations' reach, and what follows it on either side."""
    shares = [math.exp(-(k**2) / (2 * sd_px**2)) for k in range(math.ceil(3 * sd_px) + 1)]
    total = 2 * math.fsum(shares) - 1
    return [share / total for share in shares]


def _filtered(image: Tensor, shares: Sequence[float]) -> Tensor:
    """(N, C, H, W) filtered down and across by a middle and what is the same on both its sides.

    A sum of shifted pictures takes a quarter of the time of a convolution per channel.
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


def _noisy(draws: Draws, image: Tensor) -> Tensor:
    """Each sample with noise of its own added: two stretches of fixed normal numbers.

    They begin where the sample's seed says, so that within a stretch the sums are independent and
    normal; to draw them afresh takes ten times as long. What a sample has more than STRETCH
    values gets numbers from further places.
    """
    first, second = _normal_numbers(image.device)
    places = NORMAL_NUMBERS - STRETCH
    flat = image.reshape(len(image), -1)
    noisy = torch.empty_like(flat)
    seeds, sds = draws.noise_seed.tolist(), draws.noise.tolist()
    for quiet, loud, seed, sd in zip(flat, noisy, seeds, sds, strict=True):
        for piece, start in enumerate(range(0, len(quiet), STRETCH)):
            # Odd steps through a power of two: no place comes again before all have been.
            one = (seed + 387_277 * piece) % places
            other = (seed // places + 611_953 * piece) % places
            before, after = (row[start : start + STRETCH] for row in (quiet, loud))
            torch.add(before, first[one : one + len(before)], alpha=sd, out=after)
            after.add_(second[other : other + len(before)], alpha=sd)
    return noisy.reshape(image.shape)


@functools.lru_cache(maxsize=2)
def _normal_numbers(device: torch.device) -> Tensor:
    """(2, NORMAL_NUMBERS) with a variance of one half, drawn on the CPU: every device has them."""
    stream = torch.Generator().manual_seed(0)
    return torch.randn(2, NORMAL_NUMBERS, generator=stream).mul_(0.5**0.5).to(device)
