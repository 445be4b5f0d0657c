"""Tiles leave no seam: with real U-Nets they give what the whole image gives."""

import pytest
import torch
from torch import nn

from fundus_cli.inference import tiles
from fundus_cli.inference.tiles import max_pixels, tile_side, tiled, whole_or_tiled
from fundus_cli.model.unet import UNet
from fundus_cli.model.wnet import WNet


def flushed(model: nn.Module) -> nn.Module:
    """Batch norm knows the statistics of noise, so that logits are neither 0 nor saturated."""
    model.train()
    with torch.no_grad():
        for step in range(20):
            model(noise(96, 96, step))
    return model.eval()


def noise(height: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("hw", [(128, 384), (300, 200), (389, 131), (90, 90)])
@pytest.mark.parametrize("kind", [UNet, WNet])
def test_tiles_wide_enough_for_the_network_equal_the_whole(
    kind: type[UNet] | type[WNet], hw: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    # Depth 2 sees up to 24 pixels far, two of them in a row 48.
    model = flushed(kind(3, 2, 4, 2))
    image = noise(*hw, seed=99)
    with torch.inference_mode():
        whole = model(image)
        parts = tiled(model, image, 192, 128, 52)
    assert float(whole.std()) > 0.05
    assert parts.shape == whole.shape
    assert float((parts - whole).abs().max()) < 1e-4


def test_the_default_tiles_of_a_default_network_leave_no_seam() -> None:
    torch.manual_seed(0)
    model = flushed(UNet(3, 1, 4, 4))
    image = noise(650, 500, seed=1)
    with torch.inference_mode():
        whole = torch.sigmoid(model(image))
        parts = torch.sigmoid(tiled(model, image, 384, tiles.OVERLAP_PX, tiles.MARGIN_PX))
        pasted = torch.sigmoid(torch.cat([model(image[:, :, :320]), model(image[:, :, 320:])], 2))
    assert float((parts - whole).abs().max()) < 1e-3
    assert float((pasted - whole).abs().max()) > 1e-2


def test_a_image_that_is_too_large_for_memory_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Recorder(nn.Conv2d):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(image.shape[2:]))
            return super().forward(image)

    model = Recorder(3, 1, 1).eval()
    image = noise(700, 500, seed=0)
    with torch.inference_mode():
        whole = whole_or_tiled(model, image)
        assert seen == [(700, 500)]
        monkeypatch.setattr(tiles, "MAX_BYTES", 24 * 400 * 400)
        torch.testing.assert_close(whole_or_tiled(model, image), whole)
    assert max(max(hw) for hw in seen[1:]) == tile_side(model) == 384


def test_wide_networks_get_smaller_tiles() -> None:
    narrow, wide = UNet(3, 1, 8, 1), UNet(3, 1, 64, 1)
    assert (max_pixels(narrow), max_pixels(wide)) == (5_208_333, 651_041)
    assert tile_side(narrow) == 1024
    assert tile_side(wide) == 768
    assert tile_side(wide) ** 2 * 24 * 64 <= tiles.MAX_BYTES
