"""Fine-tuning: load and check the weights of another run that `init_from` names."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fundus_cli.config import ModelConfig, TrainConfig
from fundus_cli.errors import ConfigError, DataError, list_names
from fundus_cli.model.unet import UNet
from fundus_cli.model.wnet import WNet
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Checkpoint

SAME_WIDTH = 1.25
"""Ratio of vessel widths up to which no warning is needed, because `augment.scale` covers it."""


def load_pretrained(config: TrainConfig) -> Checkpoint | None:
    """Load the checkpoint that `init_from` names and compare its network with the run's.

    Returns:
        The checkpoint; None without `init_from`.

    Raises:
        ConfigError: no such file, several files, or another kind or size of network.
        DataError: the file is damaged or not a checkpoint of this program.
    """
    if config.init_from is None:
        return None
    paths = checkpoint.checkpoint_paths([config.init_from])
    if len(paths) > 1:
        raise ConfigError(
            f"init_from={config.init_from}: holds {len(paths)} checkpoints; name one of them, as "
            f"in init_from={paths[0]}"
        )
    if not paths[0].is_file():
        raise ConfigError(f"init_from={config.init_from}: no checkpoint found")
    saved = checkpoint.load(paths[0])
    there, here = _network(saved.config.model), _network(config.model)
    if there != here:
        raise ConfigError(
            f"init_from={config.init_from}: a network of other size than this run's "
            f"({' '.join(here)}); add {' '.join(there)}"
        )
    return saved


def _network(model: ModelConfig) -> tuple[str, ...]:
    return (
        f"model={model.name.value}",
        f"model.base_channels={model.base_channels}",
        f"model.depth={model.depth}",
    )


def check_unseen(saved: Checkpoint, hashes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Refuse to score images that the pretrained network was trained on.

    Args:
        saved: the pretrained network.
        hashes: {split: {id: sha256 of the image}} of this run.

    Returns:
        Warnings about images of val, which choose the checkpoint and the threshold.

    Raises:
        DataError: there are such images in test.
    """
    seen = {
        split: [name for name, digest in of_split.items() if digest in saved.learned_from]
        for split, of_split in hashes.items()
    }
    if seen.get("test"):
        raise DataError(
            f"init_from={saved.path}: was trained on {len(seen['test'])} of the test images, "
            f"so their score would be meaningless: {list_names(seen['test'])}; choose another "
            "checkpoint, or train without a test set (data.test=null)"
        )
    if not seen.get("val"):
        return []
    return [
        f"warning: init_from was trained on {len(seen['val'])} of the validation images, so "
        f"val Dice and threshold are too optimistic: {list_names(seen['val'])}"
    ]


def load_initial_weights(saved: Checkpoint, config: TrainConfig, model: UNet | WNet) -> list[str]:
    """Copy the weights that score into `model`; returns lines on what differs.

    Weights of the last layer are copied between structures of the same name; those of new
    structures keep their random initialisation.

    Args:
        saved: the pretrained network, of the size of `model`.
        config: the run's.
        model: the initialised network; changed in place.

    Raises:
        ConfigError: the checkpoint is a cascade for other structures, which are inputs of its
            second network.
    """
    before, now = list(saved.config.data.structures), list(config.data.structures)
    if before != now and isinstance(model, WNet):
        raise ConfigError(
            f"init_from={saved.path}: a cascade for {', '.join(before)}, which cannot be "
            f"fine-tuned for {', '.join(now)}; use model=unet"
        )
    weights = dict(saved.weights)
    if before != now:
        heads = {id(p) for head in model.heads for p in head.parameters()}
        for name, parameter in model.named_parameters():
            if id(parameter) in heads:
                weights[name] = _by_name(weights[name], before, parameter.detach(), now)
    checkpoint.load_weights(model, weights, saved.path)
    lines = [f"init_from: initialised from {saved.path}, step {saved.progress.step}"]
    if new := [name for name in now if name not in before]:
        lines.append(
            f"init_from: {', '.join(new)}: new, so its last layer starts from random weights"
        )
    return [*lines, *_looks(saved.config, config)]


def _looks(before: TrainConfig, now: TrainConfig) -> list[str]:
    """Warnings about settings that make vessels look different from the pretraining."""
    pairs = {"data.normalisation": tuple(c.data.normalisation.value for c in (before, now))}
    there, here = (c.data.fov_diameter_px for c in (before, now))
    if there is None or here is None:
        pairs["data.fov_diameter_px"] = tuple(
            "null" if px is None else str(px) for px in (there, here)
        )
    else:
        widths = there * before.augment.zoom, here * now.augment.zoom
        if max(widths) > SAME_WIDTH * min(widths):
            pairs["data.fov_diameter_px * augment.zoom"] = tuple(f"{px:g}" for px in widths)
    return [
        f"warning: init_from was trained with {key}={there} and this run has {here}, so vessels "
        "look different to the network"
        for key, (there, here) in pairs.items()
        if there != here
    ]


def _by_name(old: Tensor, before: list[str], fresh: Tensor, now: list[str]) -> Tensor:
    """The rows of `old` that belong to the structures of `now`, else those of `fresh`."""
    rows = [old[before.index(s)] if s in before else fresh[now.index(s)] for s in now]
    return torch.stack(rows)


def earlier_training_files(saved: Checkpoint) -> dict[str, str]:
    """The training images behind the initial weights, for the manifest of a fine-tuned run.

    Returns:
        {name: sha256}; names are made different where two data sets share them.
    """
    files = saved.manifest.get("train", {})
    own = {f"{digest[:8]} {Path(name).name}": digest for name, digest in files.items()}
    return {**saved.manifest.get(checkpoint.BEFORE, {}), **own}
