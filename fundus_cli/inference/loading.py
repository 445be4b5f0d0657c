"""Build the networks of checkpoints, ready to predict."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from fundus_cli.config import Precision
from fundus_cli.inference.ensembles import check_agreement, shared_tta
from fundus_cli.inference.predictor import Predictor
from fundus_cli.model.build import build_model
from fundus_cli.run.checkpoint import Checkpoint, check_weights, load_weights
from fundus_cli.runtime.device import choose_precision


def predictor_of(
    saved: Checkpoint,
    device: torch.device,
    precision: Precision | None = None,
    tta: bool | None = None,
) -> Predictor:
    """The network of a checkpoint, ready to predict; None for a key: as in training.

    Raises:
        DataError: the weights do not fit the network that the checkpoint's config describes.
    """
    return ensemble_of([saved], device, precision, tta)


def ensemble_of(
    members: Sequence[Checkpoint],
    device: torch.device,
    precision: Precision | None = None,
    tta: bool | None = None,
) -> Predictor:
    """The networks of several checkpoints as one; None for a key: as in training.

    Raises:
        DataError: weights do not fit their network, or the members cannot be averaged.
    """
    check_agreement(members)
    models = [_network(saved, device) for saved in members]
    config = members[0].config
    dtype = choose_precision(precision or config.precision, device)
    normalisation, tta = config.data.normalisation, shared_tta(members, tta)
    return Predictor(models, normalisation, device, dtype, tta=tta)


def _network(saved: Checkpoint, device: torch.device) -> nn.Module:
    model = _built(saved) if saved.module is None else copy.deepcopy(saved.module)
    load_weights(model, saved.weights, saved.path)
    return model.to(device).to(memory_format=torch.channels_last)


def _built(saved: Checkpoint) -> nn.Module:
    with torch.device("meta"):
        # Shapes alone: the config of a foreign file may describe a network that fits nowhere.
        outline = build_model(saved.config)
    check_weights(outline.state_dict(), saved.weights, saved.path)
    return build_model(saved.config)
