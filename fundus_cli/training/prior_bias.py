"""The first value of a network's last bias: the log-odds of each structure in train."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fundus_cli.config import TrainConfig
from fundus_cli.data.samples import Sample
from fundus_cli.model.build import build_model
from fundus_cli.model.unet import UNet
from fundus_cli.model.wnet import WNet

MIN_SHARE = 1e-3
"""A structure rarer than this starts as if it were this frequent."""


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
