"""Random changes of training patches: what is drawn, and flips, rotation and zoom.

Each sample's change is drawn from (seed, epoch, index) alone, whatever batch it is in. Light,
colour and sharpness are changed by `appearance`. Rotation and zoom take their pixels from a window
larger than the patch, so that no corner runs empty, and are done in one resampling, so that image,
target and field of view move as one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fundus_cli.config import AugmentConfig
from fundus_cli.data.gpu_transfer import on_device
from fundus_cli.runtime.randomness import Purpose, generator

LIGHT_GRID = 3
"""The drawn light has so many values along each side of a patch, and is smooth between them."""
NUM_DRAWS = 17 + LIGHT_GRID**2
"""Uniform numbers per sample, all drawn always, so that one option never shifts another's."""


Cut = Callable[[int, int, int], Tensor]
"""cut(n, rows, columns): window n, (C, H, W), without so many rows at the top and as many at the
bottom, and columns left and right."""


@dataclass(frozen=True, slots=True)
class Draws:
    """What happens to each of N samples, in the order of the fields."""

    flip_h: NDArray[np.bool_]
    """(N,), mirror left-right."""
    flip_v: NDArray[np.bool_]
    """(N,), mirror up-down."""
    angle_deg: NDArray[np.float32]
    """(N,), turn counter-clockwise as seen on a screen."""
    zoom: NDArray[np.float32]
    """(N,), above 1 magnifies."""
    contrast: NDArray[np.float32]
    """(N,), factor around the image's mean."""
    brightness: NDArray[np.float32]
    """(N,), added, in units of full scale."""
    colour: NDArray[np.float32]
    """(N, 3), factor per channel."""
    detail: NDArray[np.float32]
    """(N,), factor around the mean of the surroundings."""
    sharpness: NDArray[np.float32]
    """(N,), share of the difference to a blurred copy that is added; below 0 blurs."""
    noise: NDArray[np.float32]
    """(N,), standard deviation in units of full scale."""
    noise_seed: NDArray[np.int64]
    """(N,), where each sample's noise begins."""
    light: NDArray[np.float32]
    """(N, LIGHT_GRID, LIGHT_GRID), logarithm of a factor that varies slowly over the patch."""
    blur_px: NDArray[np.float32]
    """(N,), standard deviation of a Gaussian blur; 0 for half of the samples."""
    grey: NDArray[np.float32]
    """(N,), how far each channel moves towards `grey_weights`."""
    grey_weights: NDArray[np.float32]
    """(N, 3), a grey picture's share of each channel; they sum to 1."""

    def of(self, n: int) -> "Draws":
        """Those of sample n alone."""
        return Draws(**{each.name: getattr(self, each.name)[n : n + 1] for each in fields(self)})


def window_px(config: AugmentConfig, patch_px: int) -> int:
    """Side of the square window from which any drawn change can fill a patch of side `patch_px`.

    Differs from `patch_px` by an even number, so that window and patch share their centre; equals
    it where the config neither turns nor zooms.
    """
    # |cos| + |sin|, the growth of a turned square's bounding box, is largest at 45 degrees.
    angle = math.radians(min(config.rotation_deg, 45.0))
    growth = (math.cos(angle) + math.sin(angle)) * (1 + config.scale) / config.zoom
    # Measured between centres of the outer pixels; tiny excess is rounding, not a pixel.
    half = (patch_px - 1) / 2
    return patch_px + 2 * math.ceil(half * growth - half - 1e-6)


def draw(config: AugmentConfig, seed: int, epoch: int, indices: Sequence[int]) -> Draws:
    """The changes of the samples `indices` of an epoch.

    Args:
        config: how far each change may go.
        seed: the run's seed.
        epoch: epoch, 0 or more.
        indices: N positions within the epoch, 0 or more each.
    """
    uniform = np.empty((len(indices), NUM_DRAWS))
    for row, index in zip(uniform, indices, strict=True):
        generator(Purpose.augment, seed, epoch, index).random(out=row)
    evenly = 2 * uniform[:, 2:] - 1
    light = evenly[:, 10:-5].reshape(-1, LIGHT_GRID, LIGHT_GRID)
    # Exponential numbers divided by their sum: evenly spread over all mixtures.
    parts = -np.log1p(-uniform[:, -3:]) + 1e-12

    def factor(exponent: NDArray[np.float64], most: float) -> NDArray[np.float32]:
        return np.exp(exponent * math.log1p(most)).astype(np.float32)

    return Draws(
        flip_h=(uniform[:, 0] < 0.5) & config.flips,
        flip_v=(uniform[:, 1] < 0.5) & config.flips,
        angle_deg=(evenly[:, 0] * config.rotation_deg).astype(np.float32),
        zoom=np.float32(config.zoom) * factor(evenly[:, 1], config.scale),
        contrast=factor(evenly[:, 2], config.contrast),
        brightness=(evenly[:, 3] * config.brightness).astype(np.float32),
        colour=factor(evenly[:, 4:7], config.colour),
        detail=factor(evenly[:, 7], config.detail),
        sharpness=(evenly[:, 8] * config.sharpness).astype(np.float32),
        # One uniform number is enough for both: its first digits scale, its last ones seed.
        noise=(uniform[:, 11] * config.noise).astype(np.float32),
        noise_seed=(uniform[:, 11] * 2**53).astype(np.int64),
        light=(light * config.illumination).astype(np.float32),
        blur_px=(np.maximum(evenly[:, -5], 0) * config.blur_px).astype(np.float32),
        grey=(uniform[:, -4] * config.grey).astype(np.float32),
        grey_weights=(parts / parts.sum(axis=1, keepdims=True)).astype(np.float32),
    )


def apply_geometry(draws: Draws, window: Tensor, out_hw: tuple[int, int]) -> Tensor:
    """Flip, turn and zoom all channels of each window about its centre, and cut out the patch.

    Bilinear, with zeros outside the window: a field of view that went in as 0 and 1 comes out
    below 1 wherever a pixel took anything from outside it. Where nothing turns or zooms the pixels
    are only moved, to the bit. A whole image is its own window, of any H and W.

    Args:
        draws: of N samples.
        window: (N, C, H, W), float32, or bytes that are shares of 255; image, target and field of
            view stacked as channels.
        out_hw: height and width of the patches.

    Returns:
        (N, C, h, w) float32 on the window's device, shares where bytes went in; the window itself
        where nothing changes.
    """
    have_hw = window.shape[-2], window.shape[-1]
    if _is_resampled(draws, have_hw, out_hw):
        return _resampled(draws, window, out_hw)
    if have_hw != out_hw:
        top, left = ((have - want) // 2 for have, want in zip(have_hw, out_hw, strict=True))
        window = window[..., top : top + out_hw[0], left : left + out_hw[1]]
    for flipped, dim in ((draws.flip_h, -1), (draws.flip_v, -2)):
        if flipped.any():
            chosen = on_device(flipped, window.device)[:, None, None, None]
            window = torch.where(chosen, window.flip(dim), window)
    return window if window.is_floating_point() else window.float().div_(255)


def apply_geometry_cutting(
    draws: Draws, cut: Cut, have_hw: tuple[int, int], out_hw: tuple[int, int]
) -> Tensor:
    """`apply_geometry` on a processor, of windows of `have_hw` that are not all cut beforehand.

    A window has the size that the largest change needs, and most changes need half of its pixels.
    """
    if _is_resampled(draws, have_hw, out_hw):
        return _resampled_in_turn(draws, cut, have_hw, out_hw)
    windows = torch.stack([cut(n, 0, 0) for n in range(len(draws.zoom))])
    return apply_geometry(draws, windows, out_hw)


def _is_resampled(draws: Draws, have_hw: tuple[int, int], out_hw: tuple[int, int]) -> bool:
    """Whether patch pixels come from between those of the window."""
    margins = [have - want for have, want in zip(have_hw, out_hw, strict=True)]
    on_pixels = all(margin >= 0 and margin % 2 == 0 for margin in margins)
    return not on_pixels or bool(draws.angle_deg.any()) or bool((draws.zoom != 1).any())


def _resampled(draws: Draws, window: Tensor, out_hw: tuple[int, int]) -> Tensor:
    """The patches of windows that turn or zoom, all at once on a GPU."""
    have_hw = window.shape[-2], window.shape[-1]
    if window.device.type != "cpu":
        grid = _source_grids(draws, np.tile(have_hw, (len(window), 1)), out_hw, window.device)
        most = 1.0 if window.is_floating_point() else 255.0
        return _sampled(window.float(), grid).div_(most)

    def cut(n: int, rows: int, columns: int) -> Tensor:
        return window[n, :, rows : have_hw[0] - rows, columns : have_hw[1] - columns]

    return _resampled_in_turn(draws, cut, have_hw, out_hw)


def _resampled_in_turn(
    draws: Draws, cut: Cut, have_hw: tuple[int, int], out_hw: tuple[int, int]
) -> Tensor:
    """The patches of windows that turn or zoom, one after the other.

    No more of each window is taken than its own change needs: what is read several times then
    stays in the processor's cache.
    """
    height, width = out_hw
    unused = _unused(draws, np.asarray(have_hw), out_hw)
    grids = _source_grids(draws, have_hw - 2 * unused, out_hw, torch.device("cpu"))
    # Threads share the samples of a batch; the parts of one patch can be told as such.
    parts = math.gcd(height, torch.get_num_threads())
    patches: Tensor | None = None
    for n, ((rows, columns), grid) in enumerate(zip(unused.tolist(), grids, strict=True)):
        used = cut(n, rows, columns)
        if patches is None:
            patches = torch.empty(len(grids), len(used), parts, height // parts, width)
        most = 1.0 if used.is_floating_point() else 255.0
        sampled = _sampled(
            used.float().expand(parts, -1, -1, -1), grid.reshape(parts, -1, width, 2)
        )
        torch.div(sampled.transpose(0, 1), most, out=patches[n])
    assert patches is not None
    return patches.reshape(*patches.shape[:2], height, width)


def _sampled(window: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(window, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _unused(draws: Draws, hw: NDArray[np.int64], out_hw: tuple[int, int]) -> NDArray[np.int64]:
    """(N, 2), rows at the top and as many at the bottom, columns left and right, of windows of
    `hw` that the patch does not reach."""
    angle = np.radians(draws.angle_deg.astype(np.float64))
    cos, sin = np.abs(np.cos(angle)) / draws.zoom, np.abs(np.sin(angle)) / draws.zoom
    half_y, half_x = ((side - 1) / 2 for side in out_hw)
    reach = np.stack([cos * half_y + sin * half_x, cos * half_x + sin * half_y], axis=1)
    # A thousandth of a pixel more, for rounding.
    unused = np.floor((hw - 1) / 2 - reach - 1e-3)
    return np.maximum(unused, 0).astype(np.int64)


def _source_grids(
    draws: Draws, hw: NDArray[np.int64], out_hw: tuple[int, int], device: torch.device
) -> Tensor:
    """Where in its window each patch pixel comes from: (N, h, w, 2), x first, -1 to 1.

    What F.affine_grid computes, but ten times faster on a CPU and in float64 up to the last step.
    Read as one complex number, x and y are added in one pass.

    Args:
        draws: of N samples.
        hw: (N, 2) height and width of the windows.
        out_hw: those of the patches.
        device: where the grid is needed.
    """
    angle = np.radians(draws.angle_deg.astype(np.float64))
    cos, sin = np.cos(angle) / draws.zoom, np.sin(angle) / draws.zoom
    sign_x, sign_y = 1.0 - 2.0 * draws.flip_h, 1.0 - 2.0 * draws.flip_v
    # Pixels from the patch's centre, y down, become shares of the window's half side.
    y, x = (np.arange(side) - (side - 1) / 2 for side in out_hw)
    per_y, per_x = (2 / hw).T
    along_x = sign_x * cos * per_x + 1j * (sign_y * sin * per_y)
    along_y = -sign_x * sin * per_x + 1j * (sign_y * cos * per_y)
    from_x = on_device(np.outer(along_x, x).astype(np.complex64), device)
    from_y = on_device(np.outer(along_y, y).astype(np.complex64), device)
    return torch.view_as_real(from_x[:, None, :] + from_y[:, :, None])
