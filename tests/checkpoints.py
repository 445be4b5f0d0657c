"""Checkpoints with random weights, for tests of what is done with a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.model.build import build_model
from fundus_cli.run.checkpoint import Progress, Threshold, save
from fundus_cli.run.checkpoint_file import SHA256

OVERRIDES = (
    "data=folder",
    "data.fov_diameter_px=null",
    "model.base_channels=4",
    "model.depth=2",
    "precision=float32",
)


def random_checkpoint(
    path: Path, *overrides: str, seed: int = 0, threshold: float = 0.5
) -> TrainConfig:
    """Write a checkpoint of an untrained network whose masks are neither empty nor full."""
    keys = {line.partition("=")[0] for line in overrides}
    kept = [line for line in OVERRIDES if line.partition("=")[0] not in keys]
    config = compose_config("train", (*kept, *overrides, f"seed={seed}"))
    model = build_model(config)
    noise = torch.Generator().manual_seed(seed)
    model.train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(2, 3, 64, 64, generator=noise))
        result = model.eval()(torch.randn(1, 3, 64, 64, generator=noise))
        for head in model.heads[-1:]:
            # The drawn weights barely move the logits; a mask should depend on the image.
            scale = 2 / result.std((0, 2, 3))
            head.weight.mul_(scale[:, None, None, None])
            head.bias.copy_((head.bias - result.mean((0, 2, 3))) * scale)
    save(
        path,
        config=config,
        model=model,
        averaged=None,
        optimizer=torch.optim.AdamW(model.parameters()),
        progress=Progress(epoch=1),
        threshold=Threshold(threshold, "val"),
        manifest={},
    )
    return config


def read_content(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds but its sha256, for a test that changes it and saves it again."""
    content = torch.load(path, weights_only=True)
    del content[SHA256]
    return dict(content)


def read_pixels(path: Path) -> np.ndarray:
    """A file's pixels as Pillow stores them."""
    with Image.open(path) as image:
        return np.asarray(image)
