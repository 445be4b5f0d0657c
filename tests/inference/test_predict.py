"""Whole photographs and tiles give the same probabilities, at native size, none outside the FOV."""

import numpy as np
import pytest
import torch
from conftest import SMALL, write_tiny_set
from torch import nn

from fundus_cli.compose import Command, compose_dict, to_typed
from fundus_cli.config import Normalisation, TrainConfig
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.samples import Sample
from fundus_cli.inference.predict import Predictor, tiled
from fundus_cli.model.unet import UNet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = write_tiny_set(tmp_path_factory.mktemp("predict"), train=1, test=1)
    overrides = ("data=folder", f"data.root={root}", "data.val_fraction=0", *SMALL)
    overrides += ("data.fov_diameter_px=40",)
    overrides = tuple(o for o in overrides if o != "data.fov_diameter_px=null")
    config = to_typed(
        compose_dict(Command(config_name="train", overrides=overrides))[0], TrainConfig
    )
    return load_dataset(config.data).samples["test"][0]


def test_probabilities_have_the_native_size_and_stay_inside(sample: Sample) -> None:
    torch.manual_seed(0)
    predictor = Predictor([UNet(3, 1, 4, 2)], Normalisation.fov, CPU, torch.float32)
    assert sample.fov_mask.shape[0] < 64
    probability = predictor.probability(sample)
    assert probability.shape == (1, 64, 64)
    fov = sample.native_fov.unpack()[0]
    assert (probability[0][~fov] == 0).all()
    assert ((probability[0][fov] > 0) & (probability[0][fov] < 1)).all()
    assert np.array_equal(probability, predictor.probability(sample))


class Local(nn.Module):
    """A network that sees seven pixels, so that tiles differ from the whole at their rims alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 2, 7, padding=3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(image)
        return result


@pytest.mark.parametrize("hw", [(64, 64), (65, 47), (150, 131), (20, 300)])
def test_tiles_leave_no_seam(hw: tuple[int, int]) -> None:
    model = Local().eval()
    image = torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole, in_tiles = model(image), tiled(model, image, 64, 32)
    assert in_tiles.shape == whole.shape
    difference = (whole - in_tiles).abs()
    # Only the three outermost pixels of a tile see zeros in place of their neighbours; pasting
    # tiles side by side would leave differences of more than 0.5 there.
    assert float(difference.max()) < 0.2
    assert float((difference < 1e-5).float().mean()) > 0.7
