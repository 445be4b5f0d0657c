"""Samples and batches: a function of (seed, epoch, index), aligned, scaled by the field of view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small, write_tiny_set

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.batches import TrainingSampler, _cut_window, whole_image
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.fov import fov_diameter_px
from fundus_cli.data.samples import PackedMasks, fov_statistics, resize_mask, working_size

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("sampling"), train=4, test=1)


def config_of(root: Path, *overrides: str) -> TrainConfig:
    base = ("data=folder", f"data.root={root}", "data.val_fraction=0", *small(*overrides))
    return compose_config("train", base)


def sampler(config: TrainConfig, seed: int = 0) -> TrainingSampler:
    samples = load_dataset(config.data).samples["train"]
    return TrainingSampler(samples, config.data, config.augment, seed, CPU)


def test_a_patch_is_the_same_in_any_batch_and_differs_between_epochs_and_seeds(root: Path) -> None:
    own = sampler(config_of(root))
    together = own.batch(3, [0, 5, 6])
    alone = own.batch(3, [5])
    assert together.ids[1] == alone.ids[0]
    torch.testing.assert_close(together.image[1:2], alone.image, rtol=0, atol=1e-5)
    assert torch.equal(together.target[1:2], alone.target)
    assert not torch.equal(own.batch(4, [5]).image, alone.image)
    assert not torch.equal(sampler(config_of(root), seed=1).batch(3, [5]).image, alone.image)


def test_an_epoch_holds_every_index_once_in_a_new_order(root: Path) -> None:
    own = sampler(config_of(root))
    assert len(own) == 8
    assert sorted(own.order(0)) == list(range(8))
    assert list(own.order(0)) != list(own.order(1))
    assert list(own.order(1)) == list(sampler(config_of(root)).order(1))


def test_vessels_stay_where_the_image_shows_them(root: Path) -> None:
    own = sampler(config_of(root, "augment.brightness=0", "augment.colour=0"))
    batch = own.batch(0, list(range(8)))
    green = batch.image[:, 1:2]
    inside = batch.fov_mask
    vessel, ground = inside & (batch.target > 0.9), inside & (batch.target < 0.1)
    assert float(green[vessel].mean()) < float(green[ground].mean()) - 1
    assert float(batch.image[~inside.expand_as(batch.image)].abs().max()) == 0


@pytest.mark.parametrize("centre", [(32, 32), (3, 60), (63, 0)])
@pytest.mark.parametrize("side", [20, 21, 90])
def test_a_window_is_black_and_outside_beyond_the_frame(
    root: Path, centre: tuple[int, int], side: int
) -> None:
    sample = sampler(config_of(root)).samples[0]
    window = np.full((3 + len(sample.target) + 1, side, side), 77, np.uint8)
    _cut_window(sample, sample.image, centre, window)
    fov = sample.fov_mask * np.uint8(255)
    planes = np.concatenate([sample.image, sample.target, fov[None]])
    padded = np.pad(planes, ((0, 0), (100, 100), (100, 100)))
    top, left = (100 + at - side // 2 for at in centre)
    assert window.dtype == np.uint8
    assert np.array_equal(window, padded[:, top : top + side, left : left + side])


def test_whole_images_of_different_sizes_are_padded_without_counting(root: Path) -> None:
    own = sampler(config_of(root, "data.patch_px=null", "augment=none"))
    first = own.samples[0]
    small = replace(
        first,
        image=first.image[:, :40, :50],
        target=first.target[:, :40, :50],
        fov_mask=first.fov_mask[:40, :50],
    )
    own.samples = [first, small]
    batch = own.batch(0, [0, 1])
    assert batch.image.shape == (2, 3, 64, 64)
    assert not batch.fov_mask[1, :, 40:].any()
    assert not batch.fov_mask[1, :, :, 50:].any()
    assert torch.equal(batch.fov_mask[1, 0, :40, :50], torch.from_numpy(small.fov_mask))


def test_normalised_by_the_field_of_view_alone(root: Path) -> None:
    own = sampler(config_of(root))
    sample = own.samples[0]
    batch = whole_image(sample, own.data.normalisation, CPU)
    inside = batch.image[0][:, batch.fov_mask[0, 0]]
    torch.testing.assert_close(inside.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(inside.std(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_working_size_gives_the_field_of_view_its_diameter() -> None:
    y, x = np.ogrid[:300, :400]
    fov = (y - 150) ** 2 + (x - 200) ** 2 <= 140**2
    assert working_size((300, 400), fov_diameter_px(fov), None) == (300, 400)
    height, width = working_size((300, 400), fov_diameter_px(fov), 560)
    assert (height, width) == (pytest.approx(600, abs=6), pytest.approx(800, abs=8))


def test_a_shrunk_mask_keeps_the_covered_share() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[0, 0] = 1
    mask[4:, 4:] = 1
    small = resize_mask(mask, (4, 4))
    assert small[0, 0] == 64
    assert small[2:, 2:].min() == 255
    assert small[0, 3] == 0


def test_packed_masks_are_unpacked_unchanged() -> None:
    masks = np.random.default_rng(0).random((2, 7, 13)) < 0.3
    assert np.array_equal(PackedMasks.pack(masks).unpack(), masks)


@pytest.mark.parametrize("inside", ["disc", "all", "nothing"])
def test_statistics_are_those_of_the_pixels_inside(inside: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (60, 70, 3), np.uint8)
    image[..., 2] = 255
    y, x = np.ogrid[:60, :70]
    masks = {"disc": (y - 30) ** 2 + (x - 35) ** 2 < 400, "all": y + x >= 0, "nothing": y + x < 0}
    mean, std = fov_statistics(image, masks[inside])
    pixels = image[masks[inside]].astype(np.float64) / 255
    if inside == "nothing":
        pixels = np.zeros((1, 3))
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, np.maximum(pixels.std(axis=0), 1 / 255), rtol=1e-6)


def test_statistics_of_a_flat_image_do_not_divide_by_zero() -> None:
    mean, std = fov_statistics(np.full((4, 4, 3), 51, np.uint8), np.ones((4, 4), bool))
    assert mean == pytest.approx([0.2, 0.2, 0.2])
    assert (std > 0).all()


def test_patches_of_an_epoch_use_the_images_in_turn(root: Path) -> None:
    config = config_of(root, "data.patches_per_image=null", "data.patches_per_epoch=6")
    own = sampler(config)
    assert len(own) == 6
    seen = [own.sample(epoch, index).id for epoch in range(2) for index in range(6)]
    assert seen == ["p0", "p1", "p2", "p3"] * 3


@pytest.mark.parametrize("angle, expected", [(None, 560), (45, 560), (30, 373), (60, 747)])
def test_the_working_diameter_follows_the_cameras_angle(
    root: Path, angle: float | None, expected: int
) -> None:
    """One degree of retina is as many pixels for every camera."""
    wanted = (
        "data.fov_diameter_px=560",
        f"data.fov_angle_deg={'null' if angle is None else angle}",
    )
    data = config_of(root, *wanted).data
    assert data.working_diameter_px == expected
    sample = load_dataset(data).samples["train"][0]
    assert fov_diameter_px(sample.fov_mask) == pytest.approx(expected, rel=0.02)


def test_native_size_does_not_depend_on_the_angle(root: Path) -> None:
    data = config_of(root, "data.fov_diameter_px=null", "data.fov_angle_deg=30").data
    assert data.working_diameter_px is None
