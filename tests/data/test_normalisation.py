"""Local normalisation: its definition, invariance to illumination and surround, patches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small, write_tiny_set
from torch import Tensor

from fundus_cli.config import Normalisation
from fundus_cli.config.compose import compose_config
from fundus_cli.data.batches import TrainingSampler
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.normalisation import (
    LOCAL_LIMIT,
    LOCAL_SIGMA_PX,
    from_share,
    local_as_bytes,
    normalise_locally,
    prepared_image,
)
from fundus_cli.data.samples import prepare

CPU = torch.device("cpu")


def disc(side: int, radius: float) -> Tensor:
    """(1, 1, side, side) bool."""
    along = torch.arange(side) - (side - 1) / 2
    return (along[:, None].square() + along.square() < radius**2)[None, None]


def textured(side: int, seed: int = 0) -> Tensor:
    """(1, 3, side, side) between 0.2 and 0.8, brighter towards the right."""
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return 0.2 + 0.3 * noise + 0.3 * torch.linspace(0, 1, side)


@pytest.mark.parametrize("side", [200, 203])
@pytest.mark.parametrize("y, x", [(100, 100), (60, 150), (100, 12)])
def test_equals_its_definition(side: int, y: int, x: int) -> None:
    image, fov = textured(side), disc(side, 98)
    assert fov[0, 0, y, x]
    found = normalise_locally(image, fov)[0, :, y, x].numpy()

    plane, weight = image[0].double().numpy(), fov[0, 0].double().numpy()
    rows, columns = np.mgrid[:side, :side]

    def mean_around(values: np.ndarray, y: int, x: int) -> np.ndarray:
        distance = (rows - y) ** 2 + (columns - x) ** 2
        gauss = weight * np.exp(-distance / (2 * LOCAL_SIGMA_PX**2))
        return np.asarray((values * gauss).sum((-2, -1)) / gauss.sum())

    # The mean is another at every pixel; along both axes it is a polynomial to within 1e-3.
    grid = [(r, c) for r in range(4, side, 16) for c in range(4, side, 16) if weight[r, c]]
    terms = np.array([[(r / side) ** i * (c / side) ** j for i in range(7) for j in range(7 - i)]
                      for r, c in grid])  # fmt: skip
    means = np.array([mean_around(plane, r, c) for r, c in grid])
    fit, *_ = np.linalg.lstsq(terms, means, rcond=None)
    everywhere = np.stack(
        [(rows / side) ** i * (columns / side) ** j for i in range(7) for j in range(7 - i)], -1
    )
    deviation = plane - np.moveaxis(everywhere @ fit, -1, 0)
    std = np.sqrt(mean_around(deviation**2, y, x))
    np.testing.assert_allclose(found, deviation[:, y, x] / std, atol=0.03)


def test_smooth_light_and_contrast_drop_out() -> None:
    side = 256
    texture, fov = textured(side), disc(side, 120)
    shade = torch.linspace(0.7, 1.0, side)[:, None]
    before, after = normalise_locally(texture, fov), normalise_locally(texture * shade, fov)
    local = float((before - after).abs().mean() / before.abs().mean())

    def whole(image: Tensor) -> Tensor:
        inside = image[:, :, fov[0, 0]]
        return (image - inside.mean()) / inside.std() * fov

    by_image = (whole(texture) - whole(texture * shade)).abs().mean()
    assert local < 0.12
    assert float(by_image / whole(texture).abs().mean()) > 3 * local
    assert float(before[fov.expand_as(before)].std()) == pytest.approx(1, abs=0.02)


def test_the_surround_is_ignored_and_becomes_zero() -> None:
    image, fov = textured(120), disc(120, 50)
    found = normalise_locally(image, fov)
    other = normalise_locally(torch.where(fov, image, torch.ones(())), fov)
    assert torch.equal(found, other)
    assert not found[~fov.expand_as(found)].any()


def test_a_flat_image_stays_finite_and_glare_is_clamped() -> None:
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert float(normalise_locally(flat, disc(64, 30)).abs().max()) < 1e-2
    flat[..., 30, 30] = 1.0
    assert float(normalise_locally(flat, disc(64, 30)).max()) == LOCAL_LIMIT


def test_an_image_is_the_same_in_any_batch() -> None:
    images = torch.cat([textured(90, seed) for seed in range(3)])
    fov = torch.cat([disc(90, radius) for radius in (30, 40, 44)])
    together = normalise_locally(images, fov)
    alone = torch.cat(
        [normalise_locally(images[i : i + 1], fov[i : i + 1]) for i in range(len(images))]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_bytes_are_exact_to_half_a_step() -> None:
    rgb = (textured(100)[0] * 255).byte().permute(1, 2, 0).numpy()
    fundus_image = prepare("one", rgb, disc(100, 45)[0, 0].numpy(), "file", None)
    exact, fov = prepared_image(fundus_image, Normalisation.local, CPU)
    share = torch.from_numpy(local_as_bytes(fundus_image))[None].float().div(255)
    step = 2 * LOCAL_LIMIT / 255
    torch.testing.assert_close(from_share(share, fov), exact, rtol=0, atol=step / 2 + 1e-5)


def test_a_patch_shows_what_the_whole_image_shows(tmp_path: Path) -> None:
    """If a patch were normalised on its own, its borders would differ."""
    root = write_tiny_set(tmp_path, train=1, test=1)
    overrides = (
        *("data=folder", f"data.root={root}", "data.val_fraction=0", "augment=none"),
        *small("data.normalisation=local", "data.patch_px=32", "data.patches_per_image=4"),
    )
    config = compose_config("train", overrides)
    samples = load_dataset(config.data).samples["train"]
    whole, _ = prepared_image(samples[0], Normalisation.local, CPU)
    batch = TrainingSampler(samples, config.data, config.augment, 0, CPU).batch(0, [0, 1, 2, 3])
    for patch in batch.image:
        apart = [
            float((whole[0, :, y : y + 32, x : x + 32] - patch).abs().max())
            for y in range(whole.shape[2] - 31)
            for x in range(whole.shape[3] - 31)
        ]
        assert min(apart) < LOCAL_LIMIT / 255 + 1e-5
