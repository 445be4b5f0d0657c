"""Beginning with what another run has learned (fine-tuning): compared with this run before use."""

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
"""Vessels that are wider or narrower by less are what `augment.scale` shows a network anyway."""


def load_pretrained(config: TrainConfig) -> Checkpoint | None:
    """The checkpoint that `init_from` names, its network compared with the run's; None without.

    Raises:
        ConfigError: no such file, several files, or another kind or size of network.
        DataError: the file is damaged or no checkpoint of ours.
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
        raise ConfigError(f"init_from={config.init_from}: no checkpoint is there")
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
    """Refuse to score images from which the pretrained network learned.

    Args:
        saved: the pretrained network.
        hashes: {split: {id: sha256 of the image}} of this run.

    Returns:
        Lines about images of val, which choose the checkpoint and the threshold.

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
            f"so their score would mean nothing: {list_names(seen['test'])}; begin with another "
            "checkpoint, or do without a test set (data.test=null)"
        )
    if not seen.get("val"):
        return []
    return [
        f"warning: init_from was trained on {len(seen['val'])} of the validation images, so "
        f"val Dice and threshold say too much: {list_names(seen['val'])}"
    ]


def load_initial_weights(saved: Checkpoint, config: TrainConfig, model: UNet | WNet) -> list[str]:
    """Copy the weights that score into `model`; returns lines on what differs.

    What the last layer knows about a structure goes to the structure of the same name; one that
    is new starts as in any other run.

    Args:
        saved: the pretrained network, of the size of `model`.
        config: the run's.
        model: as it would start without; changed in place.

    Raises:
        ConfigError: a cascade for other structures, which its second network has as inputs.
    """
    before, now = list(saved.config.data.structures), list(config.data.structures)
    if before != now and isinstance(model, WNet):
        raise ConfigError(
            f"init_from={saved.path}: a cascade for {', '.join(before)}, which cannot begin to "
            f"learn {', '.join(now)}; model=unet can"
        )
    weights = dict(saved.weights)
    if before != now:
        heads = {id(p) for head in model.heads for p in head.parameters()}
        for name, parameter in model.named_parameters():
            if id(parameter) in heads:
                weights[name] = _by_name(weights[name], before, parameter.detach(), now)
    checkpoint.load_weights(model, weights, saved.path)
    lines = [f"init_from: begins with the weights of {saved.path}, step {saved.progress.step}"]
    if new := [name for name in now if name not in before]:
        lines.append(f"init_from: {', '.join(new)}: new, so its last layer starts anew")
    return [*lines, *_looks(saved.config, config)]


def _looks(before: TrainConfig, now: TrainConfig) -> list[str]:
    """Warnings where a vessel looks different to a network than when it learned."""
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
        f"warning: init_from learned with {key}={there} and this run has {here}; vessels look "
        "different to the network"
        for key, (there, here) in pairs.items()
        if there != here
    ]


def _by_name(old: Tensor, before: list[str], fresh: Tensor, now: list[str]) -> Tensor:
    """The rows of `old` that belong to the structures of `now`, else those of `fresh`."""
    rows = [old[before.index(s)] if s in before else fresh[now.index(s)] for s in now]
    return torch.stack(rows)


def earlier_training_files(saved: Checkpoint) -> dict[str, str]:
    """What a run that begins with `saved` writes down as its network's earlier images.

    Returns:
        {name: sha256}; names are made different where two data sets share them.
    """
    files = saved.manifest.get("train", {})
    own = {f"{digest[:8]} {Path(name).name}": digest for name, digest in files.items()}
    return {**saved.manifest.get(checkpoint.BEFORE, {}), **own}
