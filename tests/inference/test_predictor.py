"""Probabilities have the native size and are 0 outside the field of view."""

import numpy as np
import pytest
import torch
from conftest import SMALL, write_tiny_set

from fundus_cli.config import Normalisation
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.samples import Sample
from fundus_cli.inference.predictor import Predictor
from fundus_cli.model.unet import UNet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = write_tiny_set(tmp_path_factory.mktemp("predict"), train=1, test=1)
    overrides = ("data=folder", f"data.root={root}", "data.val_fraction=0", *SMALL)
    overrides += ("data.fov_diameter_px=40",)
    overrides = tuple(o for o in overrides if o != "data.fov_diameter_px=null")
    config = compose_config("train", overrides)
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
