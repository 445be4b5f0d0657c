"""Build the network of a config with random weights."""

import torch

from fundus_cli.config import ModelName, TrainConfig
from fundus_cli.model.unet import UNet
from fundus_cli.model.wnet import WNet


def build_model(config: TrainConfig) -> UNet | WNet:
    """The network of a config, with random weights from its seed."""
    kinds: dict[ModelName, type[UNet] | type[WNet]] = {ModelName.unet: UNet, ModelName.wnet: WNet}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return kinds[config.model.name](
            in_channels=3,
            num_structures=len(config.data.structures),
            base_channels=config.model.base_channels,
            depth=config.model.depth,
        )
