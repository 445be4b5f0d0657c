"""Sample the parameters of the augmentation, and apply flips, rotation and zoom.

The parameters of a sample depend on (seed, epoch, index) alone, not on its batch. Illumination,
colour and sharpness are changed in `augment_photometric`. Rotation and zoom read a window larger
than the patch, so that no corner is empty, and are applied in one resampling to image, target and
field of view together.
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

ILLUMINATION_GRID = 3
"""Grid points of the random illumination along each side of a patch; it is smooth between them."""
NUM_RANDOM = 17 + ILLUMINATION_GRID**2
"""Uniform numbers per sample. All are always sampled, so that no option shifts another's
numbers."""
Cut = Callable[[int, int, int], Tensor]
"""cut(n, rows, columns): window n, (C, H, W), cropped by `rows` at the top and at the bottom and by
`columns` on the left and on the right."""


@dataclass(frozen=True, slots=True)
class AugmentParams:
    """The augmentation parameters of N samples; the geometric ones are applied first."""

    flip_h: NDArray[np.bool_]
    """(N,), flip left-right."""
    flip_v: NDArray[np.bool_]
    """(N,), flip up-down."""
    angle_deg: NDArray[np.float32]
    """(N,), rotation, counter-clockwise as seen on a screen."""
    zoom: NDArray[np.float32]
    """(N,), above 1 magnifies."""
    contrast: NDArray[np.float32]
    """(N,), factor around the image's mean."""
    brightness: NDArray[np.float32]
    """(N,), added, in units of full scale."""
    colour: NDArray[np.float32]
    """(N, 3), factor per channel."""
    detail: NDArray[np.float32]
    """(N,), factor of the difference to the local mean."""
    sharpness: NDArray[np.float32]
    """(N,), share of the difference to a blurred copy that is added; below 0 blurs."""
    noise: NDArray[np.float32]
    """(N,), standard deviation in units of full scale."""
    noise_seed: NDArray[np.int64]
    """(N,), seed of each sample's noise."""
    illumination: NDArray[np.float32]
    """(N, ILLUMINATION_GRID, ILLUMINATION_GRID), logarithm of the illumination, which varies slowly
    over a patch."""
    blur_px: NDArray[np.float32]
    """(N,), standard deviation of a Gaussian blur; 0 for half of the samples."""
    grey: NDArray[np.float32]
    """(N,), how far each channel moves towards `grey_weights`."""
    grey_weights: NDArray[np.float32]
    """(N, 3), weights of the channels in the grey image; they sum to 1."""

    def of(self, n: int) -> "AugmentParams":
        """The parameters of sample n alone."""
        return AugmentParams(
            **{each.name: getattr(self, each.name)[n : n + 1] for each in fields(self)}
        )


def window_px(config: AugmentConfig, patch_px: int) -> int:
    """Side of the square window that every possible rotation and zoom of a patch stays inside.

    Differs from `patch_px` by an even number, so that window and patch share their centre; equals
    it where the config neither rotates nor zooms.
    """
    # |cos| + |sin|, the growth of a rotated square's bounding box, is largest at 45 degrees.
    angle = math.radians(min(config.rotation_deg, 45.0))
    growth = (math.cos(angle) + math.sin(angle)) * (1 + config.scale) / config.zoom
    # Measured between centres of the outer pixels; tiny excess is rounding, not a pixel.
    half = (patch_px - 1) / 2
    return patch_px + 2 * math.ceil(half * growth - half - 1e-6)


def sample_params(
    config: AugmentConfig, seed: int, epoch: int, indices: Sequence[int]
) -> AugmentParams:
    """Sample the augmentation parameters of the samples `indices` of an epoch.

    Args:
        config: the ranges of the parameters.
        seed: the run's seed.
        epoch: 0 or more.
        indices: N positions within the epoch, 0 or more each.
    """
    uniform = np.empty((len(indices), NUM_RANDOM))
    for row, index in zip(uniform, indices, strict=True):
        generator(Purpose.augment, seed, epoch, index).random(out=row)
    symmetric = 2 * uniform[:, 2:] - 1
    illumination = symmetric[:, 10:-5].reshape(-1, ILLUMINATION_GRID, ILLUMINATION_GRID)
    # Normalised exponential numbers are uniform over all mixtures.
    parts = -np.log1p(-uniform[:, -3:]) + 1e-12

    def factor(exponent: NDArray[np.float64], max_change: float) -> NDArray[np.float32]:
        return np.exp(exponent * math.log1p(max_change)).astype(np.float32)

    return AugmentParams(
        flip_h=(uniform[:, 0] < 0.5) & config.flips,
        flip_v=(uniform[:, 1] < 0.5) & config.flips,
        angle_deg=(symmetric[:, 0] * config.rotation_deg).astype(np.float32),
        zoom=np.float32(config.zoom) * factor(symmetric[:, 1], config.scale),
        contrast=factor(symmetric[:, 2], config.contrast),
        brightness=(symmetric[:, 3] * config.brightness).astype(np.float32),
        colour=factor(symmetric[:, 4:7], config.colour),
        detail=factor(symmetric[:, 7], config.detail),
        sharpness=(symmetric[:, 8] * config.sharpness).astype(np.float32),
        # One uniform number serves for both: its leading digits scale, its trailing ones are the
        # seed.
        noise=(uniform[:, 11] * config.noise).astype(np.float32),
        noise_seed=(uniform[:, 11] * 2**53).astype(np.int64),
        illumination=(illumination * config.illumination).astype(np.float32),
        blur_px=(np.maximum(symmetric[:, -5], 0) * config.blur_px).astype(np.float32),
        grey=(uniform[:, -4] * config.grey).astype(np.float32),
        grey_weights=(parts / parts.sum(axis=1, keepdims=True)).astype(np.float32),
    )


def apply_geometry(params: AugmentParams, window: Tensor, out_hw: tuple[int, int]) -> Tensor:
    """Flip, rotate and zoom all channels of each window about its centre, and crop the patch.

    Bilinear, with zeros outside the window: a field of view given as 0 and 1 is returned below 1
    wherever a pixel is interpolated from values outside it. Without rotation and zoom the pixels
    are copied exactly. A whole image is its own window, of any H and W.

    Args:
        params: of N samples.
        window: (N, C, H, W), float32, or bytes that are shares of 255; image, target and field of
            view stacked as channels.
        out_hw: height and width of the patches.

    Returns:
        (N, C, h, w) float32 on the window's device, shares where bytes were given; the window
        itself where nothing changes.
    """
    have_hw = window.shape[-2], window.shape[-1]
    if _is_resampled(params, have_hw, out_hw):
        return _resampled(params, window, out_hw)
    if have_hw != out_hw:
        top, left = ((have - want) // 2 for have, want in zip(have_hw, out_hw, strict=True))
        window = window[..., top : top + out_hw[0], left : left + out_hw[1]]
    for flipped, dim in ((params.flip_h, -1), (params.flip_v, -2)):
        if flipped.any():
            chosen = on_device(flipped, window.device)[:, None, None, None]
            window = torch.where(chosen, window.flip(dim), window)
    return window if window.is_floating_point() else window.float().div_(255)


def apply_geometry_cutting(
    params: AugmentParams, cut: Cut, have_hw: tuple[int, int], out_hw: tuple[int, int]
) -> Tensor:
    """`apply_geometry` on a CPU, for windows of `have_hw` that are cropped only as far as needed.

    A window has the size that the largest change needs, and most changes need half of its pixels.
    """
    if _is_resampled(params, have_hw, out_hw):
        return _resampled_one_by_one(params, cut, have_hw, out_hw)
    windows = torch.stack([cut(n, 0, 0) for n in range(len(params.zoom))])
    return apply_geometry(params, windows, out_hw)


def _is_resampled(params: AugmentParams, have_hw: tuple[int, int], out_hw: tuple[int, int]) -> bool:
    """Whether pixels of a patch fall between those of its window, so that it must be resampled."""
    margins = [have - want for have, want in zip(have_hw, out_hw, strict=True)]
    on_pixels = all(margin >= 0 and margin % 2 == 0 for margin in margins)
    return not on_pixels or bool(params.angle_deg.any()) or bool((params.zoom != 1).any())


def _resampled(params: AugmentParams, window: Tensor, out_hw: tuple[int, int]) -> Tensor:
    """Resample all patches at once, on a GPU."""
    have_hw = window.shape[-2], window.shape[-1]
    if window.device.type != "cpu":
        grid = _source_grids(params, np.tile(have_hw, (len(window), 1)), out_hw, window.device)
        full_scale = 1.0 if window.is_floating_point() else 255.0
        return _sampled(window.float(), grid).div_(full_scale)

    def cut(n: int, rows: int, columns: int) -> Tensor:
        return window[n, :, rows : have_hw[0] - rows, columns : have_hw[1] - columns]

    return _resampled_one_by_one(params, cut, have_hw, out_hw)


def _resampled_one_by_one(
    params: AugmentParams, cut: Cut, have_hw: tuple[int, int], out_hw: tuple[int, int]
) -> Tensor:
    """Resample the patches one after the other, on a CPU.

    Only the part of each window that its own rotation and zoom need is read, so that it stays in
    the CPU's cache.
    """
    height, width = out_hw
    unused = _unused(params, np.asarray(have_hw), out_hw)
    grids = _source_grids(params, have_hw - 2 * unused, out_hw, torch.device("cpu"))
    # Threads divide the samples of a batch among themselves.
    parts = math.gcd(height, torch.get_num_threads())
    patches: Tensor | None = None
    for n, ((rows, columns), grid) in enumerate(zip(unused.tolist(), grids, strict=True)):
        used = cut(n, rows, columns)
        if patches is None:
            patches = torch.empty(len(grids), len(used), parts, height // parts, width)
        full_scale = 1.0 if used.is_floating_point() else 255.0
        sampled = _sampled(
            used.float().expand(parts, -1, -1, -1), grid.reshape(parts, -1, width, 2)
        )
        torch.div(sampled.transpose(0, 1), full_scale, out=patches[n])
    assert patches is not None
    return patches.reshape(*patches.shape[:2], height, width)


def _sampled(window: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(window, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _unused(
    params: AugmentParams, hw: NDArray[np.int64], out_hw: tuple[int, int]
) -> NDArray[np.int64]:
    """(N, 2), rows at the top and as many at the bottom, columns left and right, of windows of
    `hw` that the patch does not reach."""
    angle = np.radians(params.angle_deg.astype(np.float64))
    cos, sin = np.abs(np.cos(angle)) / params.zoom, np.abs(np.sin(angle)) / params.zoom
    half_y, half_x = ((side - 1) / 2 for side in out_hw)
    reach = np.stack([cos * half_y + sin * half_x, cos * half_x + sin * half_y], axis=1)
    # A thousandth of a pixel is added for rounding errors.
    unused = np.floor((hw - 1) / 2 - reach - 1e-3)
    return np.maximum(unused, 0).astype(np.int64)


def _source_grids(
    params: AugmentParams, hw: NDArray[np.int64], out_hw: tuple[int, int], device: torch.device
) -> Tensor:
    """Sampling positions of each patch in its window: (N, h, w, 2), x first, -1 to 1.

    The same as F.affine_grid, but ten times faster on a CPU and in float64 up to the last step.
    Read as one complex number, x and y are added in one pass.

    Args:
        params: of N samples.
        hw: (N, 2) height and width of the windows.
        out_hw: those of the patches.
        device: the device of the grid.
    """
    angle = np.radians(params.angle_deg.astype(np.float64))
    cos, sin = np.cos(angle) / params.zoom, np.sin(angle) / params.zoom
    sign_x, sign_y = 1.0 - 2.0 * params.flip_h, 1.0 - 2.0 * params.flip_v
    # Pixels from the patch's centre, y down, become shares of the window's half side.
    y, x = (np.arange(side) - (side - 1) / 2 for side in out_hw)
    per_y, per_x = (2 / hw).T
    along_x = sign_x * cos * per_x + 1j * (sign_y * sin * per_y)
    along_y = -sign_x * sin * per_x + 1j * (sign_y * cos * per_y)
    from_x = on_device(np.outer(along_x, x).astype(np.complex64), device)
    from_y = on_device(np.outer(along_y, y).astype(np.complex64), device)
    return torch.view_as_real(from_x[:, None, :] + from_y[:, :, None])
