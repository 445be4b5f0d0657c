"""Write losses, metrics and overlays of every epoch to TensorBoard event files."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_cli.config import DataConfig, TrackerName, TrainConfig
from fundus_cli.data.dataset import Dataset
from fundus_cli.data.reading import read_again
from fundus_cli.errors import ConfigError
from fundus_cli.report.overlays import render_overlay

if TYPE_CHECKING:
    # A missing tracker is reported before torch is imported.
    from fundus_cli.inference.predictor import Predictor

NUM_OVERLAYS = 3
MAX_SIDE_PX = 512
TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "test_loss": "loss/test",
    "val_dice": "dice/val",
}


def check_tracker(config: TrainConfig) -> None:
    """Fail before anything is read when the tracker is not installed.

    Raises:
        ConfigError: it is not.
    """
    wanted = config.tracker is TrackerName.tensorboard
    if wanted and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "tracker=tensorboard: tensorboard is not installed; "
            "pip install 'fundus-cli[tensorboard]'; log.csv and report.html have the same numbers"
        )


@contextlib.contextmanager
def tracked(
    config: TrainConfig, folder: Path, dataset: Dataset, epoch: int
) -> Iterator[Callable[[Mapping[str, Any], "Predictor", float], object]]:
    """A function that logs an epoch to the tracker; without a tracker it does nothing.

    Args:
        config: which tracker.
        folder: the run folder.
        dataset: images for the overlays.
        epoch: how many epochs the run has behind it.
    """
    if config.tracker is TrackerName.none:
        yield lambda row, predictor, threshold: None
        return
    with contextlib.closing(Tracker(folder, dataset, config.data, epoch)) as tracker:
        yield tracker.epoch


class Tracker:
    """Writes <run folder>/tensorboard; events of an earlier run after `epoch` are hidden.

    Overlays show validation images, or training images where none are held out; never test images,
    which must not influence model selection.
    """

    def __init__(self, folder: Path, dataset: Dataset, data: DataConfig, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch + 1)
        held_out = dataset.samples.get("val") or dataset.samples["train"]
        self._samples = held_out[:NUM_OVERLAYS]
        self._structures = dataset.structures
        self._data = data

    def epoch(self, row: Mapping[str, Any], predictor: "Predictor", threshold: float) -> None:
        """One row of log.csv, and the overlays of the network as it is."""
        step = int(row["epoch"])
        for key, value in row.items():
            if key != "epoch" and value is not None:
                self._writer.add_scalar(TAGS.get(key, key), value, step)
        for sample in self._samples:
            probability = predictor.probability(sample)
            image = read_again(sample.files.image, self._data)
            targets, fov = sample.native_targets.unpack(), sample.native_fov.unpack()[0]
            for channel, structure in enumerate(self._structures):
                overlay = render_overlay(
                    image, probability[channel] >= threshold, targets[channel], fov
                )
                every = -(-max(overlay.shape[:2]) // MAX_SIDE_PX)
                self._writer.add_image(
                    f"{structure}/{sample.id}", overlay[::every, ::every], step, dataformats="HWC"
                )
        self._writer.flush()

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()
