"""The network of a config before its first step."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fundus_cli.config import ModelName, TrainConfig
from fundus_cli.data.samples import Sample
from fundus_cli.model.unet import UNet
from fundus_cli.model.wnet import WNet

MIN_SHARE = 1e-3
"""A structure rarer than this starts as if it were this frequent."""


def build_model(config: TrainConfig) -> UNet | WNet:
    """The network of a config with weights drawn from its seed."""
    kinds: dict[ModelName, type[UNet] | type[WNet]] = {ModelName.unet: UNet, ModelName.wnet: WNet}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return kinds[config.model.name](
            in_channels=3,
            num_structures=len(config.data.structures),
            base_channels=config.model.base_channels,
            depth=config.model.depth,
        )


def first_model(config: TrainConfig, train_shares: np.ndarray) -> UNet | WNet:
    """What a run begins with: `build_model`, with the last bias where the config wants it.

    Args:
        config: the run's.
        train_shares: (S,) share of the field of view that each structure covers in train.
    """
    model = build_model(config)
    if config.model.prior_bias:
        # From a bias of 0 most of a short run goes into learning that structures are rare.
        with torch.no_grad():
            for head in model.heads:
                head.bias.copy_(log_odds(train_shares))  # type: ignore[union-attr]
    return model


def shares(samples: Sequence[Sample]) -> np.ndarray:
    """(S,) share of the field of view that each structure covers."""
    inside = sum(int(s.fov_mask.sum()) for s in samples)
    covered = sum(s.target[:, s.fov_mask].sum(axis=1, dtype=np.float64) / 255 for s in samples)
    return np.asarray(covered / inside)


def log_odds(share: np.ndarray) -> Tensor:
    """(S,) log-odds of shares, none of them closer to 0 or 1 than MIN_SHARE."""
    share = np.clip(share, MIN_SHARE, 1 - MIN_SHARE)
    return torch.from_numpy(np.log(share / (1 - share))).float()
