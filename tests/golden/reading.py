"""What golden checkpoints are compared by."""

from pathlib import Path

import numpy as np

from fundus_cli.config import Device
from fundus_cli.data.samples import read_for_prediction
from fundus_cli.inference.loading import predictor_of
from fundus_cli.run import checkpoint
from fundus_cli.runtime.device import choose_device

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "photographs"
OPTIMIZERS = ("adamw", "muon")
"""A run of each: their states are stored differently, and the default has changed once."""
KEPT = ("last.pt", "best.pt", "log.csv", "metrics.json", "splits.json")


def probability_of(path: Path) -> np.ndarray:
    """(S, h, w) float32 that a checkpoint gives on the image of test."""
    saved = checkpoint.load(path)
    image = IMAGES / "test_images" / "p3.png"
    fundus_image, _ = read_for_prediction("p3", image, None, saved.config.data)
    return predictor_of(saved, choose_device(Device.cpu)).probability(fundus_image)
