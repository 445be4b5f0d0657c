"""Augmentation: pixels move to the right place; parameters depend on the sample alone."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from fundus_cli.config import AugmentConfig
from fundus_cli.data.augment_geometric import (
    AugmentParams,
    apply_geometry,
    sample_params,
    window_px,
)
from fundus_cli.data.augment_photometric import STRETCH, apply_photometric

NO_OPTIONS = {
    "flips": False,
    "rotation_deg": 0,
    "scale": 0,
    "brightness": 0,
    "contrast": 0,
    "colour": 0,
}
NO_CHANGE = {
    "flip_h": False,
    "flip_v": False,
    "angle_deg": 0,
    "zoom": 1,
    "contrast": 1,
    "brightness": 0,
    "colour": (1, 1, 1),
    "detail": 1,
    "sharpness": 0,
    "noise": 0,
    "noise_seed": 0,
    "illumination": np.zeros((3, 3)),
    "blur_px": 0,
    "grey": 0,
    "grey_weights": (0.2, 0.3, 0.5),
}


def augment_config(**options: float) -> AugmentConfig:
    return AugmentConfig(**(NO_OPTIONS | options))


STANDARD = augment_config(
    flips=True, rotation_deg=180, scale=0.25, brightness=0.1, contrast=0.2, colour=0.1
)
CAMERAS = augment_config(
    detail=0.5, illumination=0.3, sharpness=0.8, noise=0.04, blur_px=2.0, grey=0.7
)
NOTHING = augment_config()


def params(num: int = 1, **changes: object) -> AugmentParams:
    """AugmentParams that change nothing but `changes`, the same for each of `num` samples."""
    values = {}
    for key, value in (NO_CHANGE | changes).items():
        kinds = {"flip_h": np.bool_, "flip_v": np.bool_, "noise_seed": np.int64}
        one = np.asarray(value, kinds.get(key, np.float32))
        values[key] = np.repeat(one[None], num, axis=0)
    return AugmentParams(**values)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def marker(side: int, y: float, x: float, sigma: float = 2.0) -> Tensor:
    """A smooth spot around (y, x), in pixels from the centre of a square, y down."""
    along = torch.arange(side) - (side - 1) / 2
    distance = (along[:, None] - y).square() + (along[None, :] - x).square()
    return torch.exp(-distance / (2 * sigma**2))


def centroid(plane: Tensor) -> tuple[float, float]:
    """Weighted mean position (y, x) from the centre."""
    height, width = plane.shape
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    total = plane.sum()
    return (plane.sum(1) @ y / total).item(), (plane.sum(0) @ x / total).item()


# Geometry that only moves pixels.


def test_nothing_to_do_returns_the_input_itself() -> None:
    window = noise(3, 5, 8, 8)
    sampled = sample_params(NOTHING, 0, 0, [0, 1, 2])
    assert apply_geometry(sampled, window, (8, 8)) is window
    image = window[:, :3]
    assert apply_photometric(sampled, image) is image


def test_a_larger_window_is_cut_around_its_centre() -> None:
    window = noise(2, 5, 10, 12)
    patch = apply_geometry(params(2), window, (6, 10))
    assert torch.equal(patch, window[:, :, 2:8, 1:11])


@pytest.mark.parametrize(
    ("flip_h", "flip_v", "dims"), [(True, False, [3]), (False, True, [2]), (True, True, [2, 3])]
)
def test_flips_are_exact(flip_h: bool, flip_v: bool, dims: list[int]) -> None:
    window = noise(2, 5, 7, 9)
    before = window.clone()
    patch = apply_geometry(params(2, flip_h=flip_h, flip_v=flip_v), window, (7, 9))
    assert torch.equal(patch, before.flip(dims))
    assert torch.equal(window, before)


def test_flips_are_per_sample() -> None:
    sampled = params(4)
    sampled.flip_h[:] = [False, True, False, True]
    sampled.flip_v[:] = [False, False, True, True]
    window = noise(4, 2, 5, 5)
    expected = [window[0], window[1].flip(2), window[2].flip(1), window[3].flip(1, 2)]
    assert torch.equal(apply_geometry(sampled, window, (5, 5)), torch.stack(expected))


# Geometry that resamples.


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
@pytest.mark.parametrize("side", [8, 9])
def test_rotations_by_90_degrees_are_counter_clockwise(side: int, quarters: int) -> None:
    window = noise(2, 5, side, side)
    patch = apply_geometry(params(2, angle_deg=90 * quarters), window, (side, side))
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    expected = torch.rot90(window, quarters, (2, 3))
    torch.testing.assert_close(patch[inner], expected[inner], rtol=0, atol=1e-4)
    torch.testing.assert_close(patch, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("flip_h", [True, False])
@pytest.mark.parametrize("flip_v", [True, False])
def test_flips_come_before_the_rotation(flip_h: bool, flip_v: bool) -> None:
    window = noise(1, 5, 9, 9)
    patch = apply_geometry(params(flip_h=flip_h, flip_v=flip_v, angle_deg=90), window, (9, 9))
    flipped = window.flip([dim for dim, on in ((3, flip_h), (2, flip_v)) if on])
    torch.testing.assert_close(patch, torch.rot90(flipped, 1, (2, 3)), rtol=0, atol=1e-3)


def test_whole_image_rotated_by_180_degrees() -> None:
    image = noise(1, 5, 6, 11)
    patch = apply_geometry(params(angle_deg=180), image, (6, 11))
    torch.testing.assert_close(patch, image.flip(2, 3), rtol=0, atol=1e-3)


def test_whole_image_rotated_by_90_degrees_about_its_centre() -> None:
    image = noise(1, 5, 6, 10)
    patch = apply_geometry(params(angle_deg=90), image, (6, 10))
    # The central 6x6 square is rotated; beyond it, the rotated image is only 6 wide.
    expected = torch.zeros(1, 5, 6, 10)
    expected[..., 2:8] = torch.rot90(image[..., 2:8], 1, (2, 3))
    torch.testing.assert_close(patch, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("angle_deg", [0, 30, -77, 135, 180])
@pytest.mark.parametrize("zoom", [0.75, 1.0, 1.5])
@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True), (True, True)])
def test_marker_lands_where_the_matrix_says(
    angle_deg: float, zoom: float, flip: tuple[bool, bool]
) -> None:
    y, x = 7.0, -11.0
    window = marker(95, y, x)[None, None].repeat(1, 5, 1, 1)
    patch = apply_geometry(
        params(angle_deg=angle_deg, zoom=zoom, flip_h=flip[0], flip_v=flip[1]), window, (65, 65)
    )
    y, x = (-y if flip[1] else y), (-x if flip[0] else x)
    # On a screen, y down, counter-clockwise: the right edge goes up.
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    expected = (zoom * (y * cos - x * sin), zoom * (x * cos + y * sin))
    assert centroid(patch[0, 0]) == pytest.approx(expected, abs=0.02)
    # Zoom scales the spot's area.
    assert patch[0, 0].sum() / window[0, 0].sum() == pytest.approx(zoom**2, rel=0.01)


def test_bilinear_halves_between_two_pixels() -> None:
    # A patch of even side in a window of odd side samples half way between pixels.
    window = torch.arange(9.0).reshape(1, 1, 3, 3)
    patch = apply_geometry(params(), window, (2, 2))
    torch.testing.assert_close(patch[0, 0], torch.tensor([[2.0, 3.0], [5.0, 6.0]]))


@pytest.mark.parametrize("index", range(12))
def test_image_target_and_field_of_view_stay_aligned(index: int) -> None:
    side = window_px(STANDARD, 33)
    plane = marker(side, 4, -5) + marker(side, -9, 2)
    sampled = sample_params(STANDARD, 0, 0, [index])
    patch = apply_geometry(sampled, plane[None, None].repeat(1, 5, 1, 1), (33, 33))
    assert patch.max() > 0.5
    for channel in range(1, 5):
        assert torch.equal(patch[:, channel], patch[:, 0])


def test_each_sample_gets_its_own_change() -> None:
    side = window_px(STANDARD, 16)
    window = noise(1, 5, side, side).repeat(4, 1, 1, 1)
    patch = apply_geometry(sample_params(STANDARD, 0, 0, range(4)), window, (16, 16))
    for one in range(4):
        for other in range(one):
            assert (patch[one] - patch[other]).abs().max() > 0.1


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """The value between four pixels of a plane that is 0 outside, in plain Python."""
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                total += weight * float(plane[row, column])
    return total


@pytest.mark.parametrize("hw", [(20, 20), (13, 26)])
@pytest.mark.parametrize("index", range(6))
def test_every_pixel_is_interpolated_where_the_matrix_says(index: int, hw: tuple[int, int]) -> None:
    window = torch.randint(0, 256, (1, 3, 37, 40), generator=torch.Generator().manual_seed(index))
    sampled = sample_params(STANDARD, 4, 0, [index])
    patch = apply_geometry(sampled, window.to(torch.uint8), hw)[0, 1] * 255
    angle, zoom = math.radians(sampled.angle_deg[0]), float(sampled.zoom[0])
    flip_x, flip_y = (-1 if flip[0] else 1 for flip in (sampled.flip_h, sampled.flip_v))
    plane = window[0, 1].numpy()
    for row in range(0, hw[0], 3):
        for column in range(0, hw[1], 3):
            y, x = row - (hw[0] - 1) / 2, column - (hw[1] - 1) / 2
            source_y = flip_y * (math.sin(angle) * x + math.cos(angle) * y) / zoom + 18
            source_x = flip_x * (math.cos(angle) * x - math.sin(angle) * y) / zoom + 19.5
            expected = bilinear(plane, source_y, source_x)
            assert float(patch[row, column]) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("config", [STANDARD, augment_config(flips=True), NOTHING])
def test_bytes_become_shares(config: AugmentConfig) -> None:
    side = window_px(config, 24)
    window = (noise(3, 5, side, side) * 255).to(torch.uint8)
    sampled = sample_params(config, 0, 0, range(3))
    shares = apply_geometry(sampled, window, (24, 24))
    assert shares.dtype == torch.float32
    expected = apply_geometry(sampled, window.float(), (24, 24)) / 255
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-6)
    full = apply_geometry(sampled, torch.full_like(window, 255), (24, 24))
    assert full.min() > 0.9999
    assert full.max() < 1.00001


@pytest.mark.parametrize("index", range(8))
def test_a_larger_window_than_needed_changes_nothing(index: int) -> None:
    sampled = sample_params(STANDARD, 2, 0, [index])
    window = noise(1, 2, 96, 96)
    patch = apply_geometry(sampled, window, (32, 32))
    wider = torch.nn.functional.pad(window, (50, 50, 50, 50), value=7.0)
    torch.testing.assert_close(apply_geometry(sampled, wider, (32, 32)), patch, rtol=0, atol=1e-4)


def test_the_number_of_threads_changes_no_bit() -> None:
    side = window_px(STANDARD, 36)
    window, sampled = noise(2, 5, side, side), sample_params(STANDARD, 1, 0, [0, 1])
    before = torch.get_num_threads()
    patches = []
    try:
        for num_threads in (1, 2, 3, 5):
            torch.set_num_threads(num_threads)
            patches.append(apply_geometry(sampled, window, (36, 36)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(patches[0], other) for other in patches[1:])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_batch_does_not_change_a_sample(memory_format: torch.memory_format) -> None:
    side = window_px(STANDARD, 24)
    window = noise(5, 5, side, side).contiguous(memory_format=memory_format)
    together = sample_params(STANDARD, 3, 1, [7, 2, 9, 4, 0])
    patches = apply_geometry(together, window, (24, 24))
    images = apply_photometric(together, patches[:, :3])
    for position, index in enumerate([7, 2, 9, 4, 0]):
        alone = sample_params(STANDARD, 3, 1, [index])
        patch = apply_geometry(alone, window[position : position + 1], (24, 24))
        assert torch.equal(patch[0], patches[position])
        torch.testing.assert_close(apply_photometric(alone, patch[:, :3])[0], images[position])


# The window.


def test_window_by_hand() -> None:
    assert window_px(NOTHING, 256) == 256
    assert window_px(augment_config(flips=True, brightness=1, contrast=1, colour=1), 17) == 17
    # Centres of the outer pixels are 255 apart: 255 * sqrt(2) = 360.6, so 361.6 pixels, even: 362.
    assert window_px(augment_config(rotation_deg=180), 256) == 362
    assert window_px(augment_config(rotation_deg=45), 256) == 362
    # cos 30 + sin 30 = 1.366: 348.3 + 1, even: 350.
    assert window_px(augment_config(rotation_deg=30), 256) == 350
    assert window_px(augment_config(scale=0.5), 17) == 25
    assert window_px(augment_config(scale=0.5), 16) == 24
    assert window_px(STANDARD, 256) == 452
    # Half a zoom needs twice the pixels, double a zoom half of them: 255 * 2 = 510, even: 512.
    assert window_px(augment_config(zoom=0.5), 256) == 512
    assert window_px(augment_config(zoom=2), 256) == 130
    assert window_px(augment_config(zoom=0.8, scale=0.25, rotation_deg=180), 256) == 566


@pytest.mark.parametrize("patch_px", [16, 33])
@pytest.mark.parametrize("scale", [0, 0.25, 1])
@pytest.mark.parametrize("rotation_deg", [0, 10, 60, 180])
@pytest.mark.parametrize("zoom", [0.7, 1, 1.5])
def test_window_never_runs_out_of_pixels(
    patch_px: int, scale: float, rotation_deg: float, zoom: float
) -> None:
    config = augment_config(rotation_deg=rotation_deg, scale=scale, zoom=zoom)
    side = window_px(config, patch_px)
    assert (side - patch_px) % 2 == 0
    for angle_deg in {rotation_deg, -rotation_deg, min(rotation_deg, 45)}:
        sampled = params(angle_deg=angle_deg, zoom=zoom / (1 + scale))
        assert apply_geometry(sampled, torch.ones(1, 1, side, side), (patch_px,) * 2).min() > 0.999
        if side > patch_px and angle_deg in (0, 45):
            # Two pixels less would not have been enough.
            window = torch.ones(1, 1, side - 2, side - 2)
            assert apply_geometry(sampled, window, (patch_px,) * 2).min() < 0.999


def test_outside_the_window_is_zero_in_every_channel() -> None:
    window = torch.ones(1, 5, 16, 16)
    patch = apply_geometry(params(zoom=0.5), window, (16, 16))
    expected = torch.zeros(16, 16)
    expected[4:12, 4:12] = 1
    torch.testing.assert_close(patch[0], expected.expand(5, 16, 16), rtol=0, atol=1e-5)


# Sampled parameters.


def test_zooms_lie_around_their_own_middle() -> None:
    indices = range(400)
    around_one = sample_params(augment_config(scale=0.25), 0, 0, indices).zoom
    assert 0.8 <= around_one.min() < 0.82
    assert 1.22 < around_one.max() <= 1.25
    smaller = sample_params(augment_config(scale=0.25, zoom=0.9), 0, 0, indices).zoom
    np.testing.assert_allclose(smaller, 0.9 * around_one, rtol=1e-6)
    assert (sample_params(augment_config(zoom=0.9), 0, 0, indices).zoom == np.float32(0.9)).all()


def same(one: AugmentParams, other: AugmentParams) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(AugmentParams)
    )


def sample(sampled: AugmentParams, position: int) -> AugmentParams:
    return AugmentParams(
        **{f.name: getattr(sampled, f.name)[position : position + 1] for f in fields(AugmentParams)}
    )


def test_parameters_depend_on_seed_epoch_and_index_alone() -> None:
    together = sample_params(STANDARD, 5, 2, [3, 9, 4])
    for position, index in enumerate([3, 9, 4]):
        assert same(sample(together, position), sample_params(STANDARD, 5, 2, [index]))
    assert same(sample_params(STANDARD, 5, 2, [4, 4]), sample_params(STANDARD, 5, 2, [4, 4]))
    for other in (
        sample_params(STANDARD, 6, 2, [3]),
        sample_params(STANDARD, 5, 3, [3]),
        sample_params(STANDARD, 5, 2, [5]),
    ):
        assert not same(sample(together, 0), other)


def test_no_stream_repeats_over_epochs_and_indices() -> None:
    sampled = [sample_params(STANDARD, 0, epoch, range(50)) for epoch in range(2)]
    for name in ("angle_deg", "zoom", "contrast", "brightness"):
        values = np.concatenate([getattr(one, name) for one in sampled])
        assert len(np.unique(values)) == 100, name
    colours = np.concatenate([one.colour for one in sampled])
    assert len(np.unique(colours)) == 300


def test_an_option_does_not_shift_the_others() -> None:
    all_on = sample_params(STANDARD, 1, 1, range(20))
    rotated = sample_params(augment_config(rotation_deg=180), 1, 1, range(20))
    assert np.array_equal(rotated.angle_deg, all_on.angle_deg)
    assert not rotated.flip_h.any()
    assert not rotated.flip_v.any()
    assert (rotated.zoom == 1).all()
    assert (rotated.contrast == 1).all()
    assert (rotated.brightness == 0).all()
    assert (rotated.colour == 1).all()


def test_parameters_fill_their_ranges_uniformly() -> None:
    sampled = sample_params(STANDARD, 0, 0, range(4000))
    # Standard deviation of a share of 4000 fair coins: 0.8 %; of a mean of them: below 0.01 each.
    for flips in (sampled.flip_h, sampled.flip_v):
        assert flips.mean() == pytest.approx(0.5, abs=0.03)
    assert (sampled.flip_h & sampled.flip_v).mean() == pytest.approx(0.25, abs=0.03)
    uniform = {
        "angle_deg": sampled.angle_deg / 180,
        "zoom": np.log(sampled.zoom) / np.log(1.25),
        "contrast": np.log(sampled.contrast) / np.log(1.2),
        "brightness": sampled.brightness / 0.1,
        "colour": np.log(sampled.colour) / np.log(1.1),
    }
    cameras = sample_params(CAMERAS, 0, 0, range(4000))
    uniform |= {
        "detail": np.log(cameras.detail) / np.log(1.5),
        "sharpness": cameras.sharpness / 0.8,
        "noise": 2 * cameras.noise / 0.04 - 1,
        "illumination": cameras.illumination.reshape(4000, 9) / 0.3,
        "grey": 2 * cameras.grey / 0.7 - 1,
    }
    for name, values in uniform.items():
        assert np.abs(values).max() <= 1 + 1e-5, name
        assert np.abs(values).max() > 0.99, name
        assert values.mean() == pytest.approx(0, abs=0.04), name
        assert values.std() == pytest.approx(1 / math.sqrt(3), abs=0.02), name
    table = np.stack([values for values in uniform.values() if values.ndim == 1])
    table = np.concatenate([table, uniform["colour"].T, uniform["illumination"].T])
    assert len(table) == 20
    blurred = cameras.blur_px[cameras.blur_px > 0]
    assert len(blurred) == pytest.approx(2000, abs=120)
    assert (blurred.mean(), blurred.max()) == (
        pytest.approx(1, abs=0.05),
        pytest.approx(2, abs=0.01),
    )
    np.testing.assert_allclose(cameras.grey_weights.sum(1), 1, atol=1e-6)
    assert cameras.grey_weights.min() >= 0
    np.testing.assert_allclose(cameras.grey_weights.mean(0), 1 / 3, atol=0.02)
    assert len(np.unique(cameras.noise_seed)) == 4000
    between = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(between).max() < 0.075


# Brightness, contrast and colour.


def test_brightness_contrast_and_colour_by_hand() -> None:
    image = torch.tensor([0.2, 0.4]).reshape(1, 1, 1, 2).repeat(1, 3, 1, 1)  # mean 0.3
    sampled = params(contrast=2.0, brightness=0.1, colour=(1.0, 0.5, 2.0))
    # 2 * (0.2 - 0.3) + 0.3 + 0.1 = 0.2 and 2 * 0.1 + 0.4 = 0.6; 2 * 0.6 is clamped to 1.
    expected = torch.tensor([[0.2, 0.6], [0.1, 0.3], [0.4, 1.0]]).reshape(1, 3, 1, 2)
    torch.testing.assert_close(apply_photometric(sampled, image), expected)
    darker = apply_photometric(params(brightness=-0.3), image)
    torch.testing.assert_close(darker[0, 0, 0], torch.tensor([0.0, 0.1]))


def test_colour_is_per_image_and_leaves_its_input_alone() -> None:
    image = noise(6, 3, 8, 8)
    before = image.clone()
    sampled = sample_params(STANDARD, 0, 0, range(6))
    after = apply_photometric(sampled, image)
    assert torch.equal(image, before)
    assert after.min() >= 0
    assert after.max() <= 1
    for n in range(6):
        mean = image[n].mean()
        expected = (
            float(sampled.contrast[n]) * (image[n] - mean) + mean + float(sampled.brightness[n])
        )
        expected = expected * torch.from_numpy(sampled.colour[n])[:, None, None]
        torch.testing.assert_close(after[n], expected.clamp(0, 1))


# Local contrast, illumination, sharpness, blur, grey and noise.


@pytest.mark.parametrize("hw", [(64, 64), (40, 70), (9, 5)])
def test_detail_scales_the_difference_to_the_local_mean(hw: tuple[int, int]) -> None:
    flat = torch.full((1, 3, *hw), 0.4)
    torch.testing.assert_close(apply_photometric(params(detail=2.0), flat), flat)
    line = flat.clone()
    line[..., hw[0] // 2, :] = 0.3
    stretched = apply_photometric(params(detail=2.0), line)[0, 0]
    faded = apply_photometric(params(detail=0.5), line)[0, 0]
    away = 0 if hw[0] > 9 else 1
    drop = [float(one[away].mean() - one[hw[0] // 2].mean()) for one in (stretched, faded)]
    # The local mean is a little darker at the line, so the factor is not exact.
    assert drop[0] == pytest.approx(0.2, rel=0.1)
    assert drop[1] == pytest.approx(0.05, rel=0.1)


def test_illumination_is_smooth_interpolates_its_grid_and_is_equal_for_all_channels() -> None:
    image = torch.full((1, 3, 65, 65), 0.5)
    grid = np.array([[0.2, 0, -0.2], [0.1, 0.3, 0], [-0.1, 0, 0.2]])
    lit = apply_photometric(params(illumination=grid), image)[0]
    torch.testing.assert_close(lit[0], lit[1])
    torch.testing.assert_close(lit[0], lit[2])
    found = (lit[0, ::32, ::32] / 0.5).log().numpy()
    np.testing.assert_allclose(found, grid, atol=1e-5)
    assert float(lit[0].diff(dim=0).abs().max()) < 0.02


def test_sharpness_blurs_and_sharpens_a_dot_by_hand() -> None:
    image = torch.full((1, 3, 9, 9), 0.25)
    image[..., 4, 4] = 0.5
    # The middle of the filter has (6/16)^2 of the weight, so the difference is 1 - 9/64 of 0.25.
    fine = 0.25 * (1 - 9 / 64)
    for share in (-1.0, 0.5):
        changed = apply_photometric(params(sharpness=share), image)
        assert float(changed[0, 0, 4, 4]) == pytest.approx(0.5 + share * fine, abs=1e-6)
        assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=1e-6)


@pytest.mark.parametrize("sd", [0.0, 0.6, 1.5])
def test_blur_spreads_a_dot_by_its_deviation(sd: float) -> None:
    image = torch.zeros(2, 3, 31, 31)
    image[..., 15, 15] = 1.0
    sampled = params(2, blur_px=sd)
    sampled.blur_px[1] = 2.5  # its neighbour in the batch does not change a sample
    spread = apply_photometric(sampled, image)[0, 1].double()
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    offsets = (torch.arange(31) - 15.0).square().double()
    taps = np.exp(-(np.arange(-15, 16) ** 2) / (2 * max(sd, 1e-3) ** 2))
    expected = (taps / taps.sum() * np.arange(-15, 16) ** 2).sum()
    for dim in (0, 1):
        assert float((spread.sum(dim) * offsets).sum()) == pytest.approx(
            expected, rel=0.02, abs=1e-6
        )


def gaussian(image: np.ndarray, sd: float) -> np.ndarray:
    """Each plane of (C, H, W) under a Gaussian cut at three deviations, in double precision."""
    offsets = np.arange(-math.ceil(3 * sd), math.ceil(3 * sd) + 1)
    taps = np.exp(-(offsets**2) / (2 * sd**2))
    return filtered(image, taps / taps.sum())


def filtered(image: np.ndarray, taps: np.ndarray) -> np.ndarray:
    down = ndimage.correlate1d(image.astype(np.float64), taps, axis=1, mode="nearest")
    return np.asarray(ndimage.correlate1d(down, taps, axis=2, mode="nearest"))


@pytest.mark.parametrize("hw", [(40, 33), (4, 7)])
def test_blur_equals_a_plain_filter_and_leaves_samples_without_blur(hw: tuple[int, int]) -> None:
    image = noise(3, 3, *hw)
    sampled = params(3)
    sampled.blur_px[:] = [0, 0.7, 2.3]
    blurred = apply_photometric(sampled, image)
    assert torch.equal(blurred[0], image[0])
    for n, sd in ((1, 0.7), (2, 2.3)):
        np.testing.assert_allclose(blurred[n], gaussian(image[n].numpy(), sd), atol=1e-6)


@pytest.mark.parametrize("share", [-0.8, 0.6])
def test_sharpness_equals_a_plain_filter(share: float) -> None:
    image = noise(1, 3, 21, 30) * 0.4 + 0.3
    soft = filtered(image[0].numpy(), np.array([1, 4, 6, 4, 1]) / 16)
    expected = image[0].numpy() + share * (image[0].numpy() - soft)
    changed = apply_photometric(params(sharpness=share), image)
    np.testing.assert_allclose(changed[0], expected.clip(0, 1), atol=1e-6)


def local_mean(plane: np.ndarray, side: int) -> np.ndarray:
    """Means of blocks, of those with their neighbours, then linear between the middles."""
    rows, columns = (-(-length // side) for length in plane.shape)
    blocks = np.array(
        [
            [
                plane[r * side : (r + 1) * side, c * side : (c + 1) * side].mean()
                for c in range(columns)
            ]
            for r in range(rows)
        ]
    )
    padded = np.pad(blocks, 1, mode="edge")
    near = np.array(
        [[padded[r : r + 3, c : c + 3].mean() for c in range(columns)] for r in range(rows)]
    )
    places = [(np.arange(length) + 0.5) / side - 0.5 for length in plane.shape]
    grid = np.meshgrid(*places, indexing="ij")
    return np.asarray(ndimage.map_coordinates(near, grid, order=1, mode="nearest"))


@pytest.mark.parametrize("hw", [(64, 48), (50, 71), (9, 30)])
def test_detail_equals_a_plain_mean_of_blocks(hw: tuple[int, int]) -> None:
    image = noise(1, 3, *hw) * 0.2 + 0.4
    changed = apply_photometric(params(detail=1.7), image)[0].numpy()
    for plane, found in zip(image[0].numpy().astype(np.float64), changed, strict=True):
        mean = local_mean(plane, min(16, *hw))
        np.testing.assert_allclose(found, mean + 1.7 * (plane - mean), atol=1e-5)


def test_grey_by_hand() -> None:
    image = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 3, 1, 1)
    # The grey image is 0.2 * 0.2 + 0.3 * 0.4 + 0.5 * 0.9 = 0.61.
    half = apply_photometric(params(grey=0.5), image).flatten()
    torch.testing.assert_close(half, torch.tensor([0.405, 0.505, 0.755]))
    torch.testing.assert_close(
        apply_photometric(params(grey=1.0), image).flatten(), torch.full((3,), 0.61)
    )


def test_noise_has_its_deviation_and_belongs_to_the_sample() -> None:
    image = torch.full((3, 3, 64, 64), 0.5)
    sampled = sample_params(CAMERAS, 0, 0, [0, 1, 2])
    quiet = params(3)
    only_noise = AugmentParams(
        **{
            f.name: getattr(quiet, f.name)
            for f in fields(AugmentParams)
            if not f.name.startswith("noise")
        },
        noise=sampled.noise,
        noise_seed=sampled.noise_seed,
    )
    noisy = apply_photometric(only_noise, image) - 0.5
    for n in range(3):
        assert float(noisy[n].std()) == pytest.approx(float(sampled.noise[n]), rel=0.03)
        alone = apply_photometric(sample(only_noise, n), image[n : n + 1]) - 0.5
        assert torch.equal(alone[0], noisy[n])
    assert not torch.equal(noisy[0] / sampled.noise[0], noisy[1] / sampled.noise[1])


def only_noise(num: int, **changes: object) -> Tensor:
    """Noise scaled to unit deviation, on an image so grey that nothing is clamped."""
    image = torch.full((num, 3, 96, 96), 0.5)
    return (apply_photometric(params(num, noise=0.05, **changes), image) - 0.5) / 0.05


def test_noise_is_normal_and_its_values_are_independent() -> None:
    values = only_noise(1, noise_seed=123_456_789_012)[0]
    flat = values.flatten().double()
    # 27,648 values: the mean is known to .006, the deviation to .004, a correlation to .006.
    assert float(flat.mean()) == pytest.approx(0, abs=0.03)
    assert float(flat.std()) == pytest.approx(1, abs=0.02)
    for limit, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        assert float((flat.abs() > limit).double().mean()) == pytest.approx(share, abs=0.01)
    for step in (1, 2, 96, 97, 96 * 96):
        assert abs(float((flat[step:] * flat[:-step]).mean())) < 0.03, step


def test_noise_of_two_samples_is_uncorrelated() -> None:
    sampled = sample_params(CAMERAS, 0, 0, range(6))
    fields_of = [only_noise(1, noise_seed=int(seed)).flatten() for seed in sampled.noise_seed]
    between = torch.corrcoef(torch.stack(fields_of)) - torch.eye(6)
    assert float(between.abs().max()) < 0.03


def test_noise_of_a_large_image_does_not_repeat() -> None:
    image = torch.full((1, 3, 700, 800), 0.5)
    noisy = apply_photometric(params(noise=0.05, noise_seed=987_654_321), image) - 0.5
    flat = noisy.flatten() / 0.05
    assert float(flat.std()) == pytest.approx(1, abs=0.01)
    stretches = flat[: 3 * STRETCH].reshape(3, STRETCH)
    between = torch.corrcoef(stretches) - torch.eye(3)
    assert float(between.abs().max()) < 0.01


def test_the_batch_does_not_change_a_sample_and_all_stays_in_range() -> None:
    image = noise(4, 3, 48, 48)
    sampled = sample_params(CAMERAS, 3, 1, range(4))
    together = apply_photometric(sampled, image)
    for n in range(4):
        alone = apply_photometric(sample(sampled, n), image[n : n + 1])
        torch.testing.assert_close(alone[0], together[n], rtol=0, atol=1e-6)
    assert (together.min(), together.max()) == (0, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_gives_the_same_patches() -> None:
    side = window_px(STANDARD, 32)
    window = noise(4, 5, side, side)
    sampled = sample_params(STANDARD, 0, 0, range(4))
    ours = apply_geometry(sampled, window.cuda(), (32, 32))
    torch.testing.assert_close(
        ours.cpu(), apply_geometry(sampled, window, (32, 32)), rtol=0, atol=1e-3
    )
    assert apply_photometric(sampled, ours[:, :3]).is_cuda
