"""What reads a stranger's files, called in this process, so that thousands of files can be tried.

A door returns True where it took the file, and False where it refused it in one line. Every other
error is the program's and is raised.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from conftest import tiny_image, write_tiny_set

from fundus_cli.commands.evaluate import load_members, score_loaded
from fundus_cli.commands.predict import predict
from fundus_cli.commands.report import report
from fundus_cli.commands.train import train
from fundus_cli.commands.train_start import _checked_resume
from fundus_cli.config import EvalConfig, PredictConfig, ReportConfig, TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.errors import FundusError
from fundus_cli.inference.network import SegmentationNetwork
from fundus_cli.run import checkpoint
from fundus_cli.run.context import Context
from fundus_cli.run.environment import changes
from fundus_cli.run.files import read_json, write_json
from fundus_cli.run.resume import finished, newest_checkpoint
from fundus_cli.run.signals import StopRequest
from fundus_cli.run.terminal import Terminal
from fundus_cli.training.finetuning import load_pretrained
from fundus_cli.training.loop import Console, Trainer

TINY = (
    *("data=folder", "model.base_channels=2", "model.depth=1", "data.fov_diameter_px=null"),
    *("data.patch_px=16", "data.patches_per_image=2", "data.val_fraction=0.4", "device=cpu"),
    *("precision=float32", "overlays=1"),
)
KNOWN_CODES = (2, 3, 4, 5, 6)
"""Exit codes of one-line errors that a file can cause; 1 is a bug."""


composed = cache(compose_config)
"""Composing takes longer than most doors."""


def took(door: Callable[[], object]) -> bool:
    """Whether a door took what it was given; fails where it refused in more than a line or two."""
    try:
        door()
    except FundusError as error:
        assert error.exit_code in KNOWN_CODES, repr(error)
        assert 1 <= len(str(error).splitlines()) <= 5 and len(str(error)) < 2000, str(error)
        return False
    return True


class Doors:
    """A tiny run of one epoch, and every door that its files can come back through.

    Args:
        place: a new folder for data set, run and copies.
        optimizer: of the run.
    """

    def __init__(self, place: Path, optimizer: str = "muon") -> None:
        self.place = place
        self.data = write_tiny_set(place / "data", train=4, test=1, size=32)
        self.words = (*TINY, f"data.root={self.data}", f"optimizer={optimizer}")
        self.config = self.composed(1)
        self.dataset = load_dataset(self.config.data)
        self.pixels = tiny_image(9, 32)[0]
        self.run = place / "run"
        self.run.mkdir()
        trainer = self.trainer(self.config, self.run)
        trainer.fit(lambda: None)
        self.checkpoint = self.run / "last.pt"

    def complete(self, folder: Path) -> None:
        """Train in `folder` to the end with every file, as the job of a sweep."""
        config = replace(self.config, output=str(folder))
        with Terminal(quiet=True) as terminal:
            train(config, self.dataset, Context(terminal=terminal, stop=StopRequest()))
        write_json(folder / "job.json", {"overrides": ["seed=1"], "status": "done"})

    def composed(self, epochs: int, output: str = "again", *more: str) -> TrainConfig:
        """The config of the run, or of its continuation."""
        words = (*self.words, f"epochs={epochs}", f"output={self.place / output}", *more)
        return composed("train", words)  # type: ignore[no-any-return]

    def trainer(self, config: TrainConfig, folder: Path) -> Trainer:
        console = Console(lambda line: None, lambda *numbers: None)
        return Trainer(config, self.dataset, folder, StopRequest(), console)

    def resume(self, path: Path) -> None:
        """As `resume=auto` does with last.pt, to the end of the next epoch."""
        config = replace(self.composed(2), resume="auto")
        folder = Path(config.output)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copyfile(path, folder / "last.pt")
        found = newest_checkpoint(folder)
        assert found is not None
        _checked_resume(found.saved, config, self.dataset)
        trainer = self.trainer(config, folder)
        trainer.restore(found.saved)
        trainer.fit(lambda: None)

    def predict(self, path: Path) -> None:
        """As fundus-predict and the Python API do."""
        SegmentationNetwork.load([str(path)]).predict(self.pixels)

    def evaluate(self, path: Path) -> None:
        """As fundus-eval does up to the files that it writes."""
        config: EvalConfig = composed("eval", ("checkpoint=x", "shape_metrics=false", "device=cpu"))
        with Terminal(quiet=True) as terminal:
            context = Context(terminal=terminal, stop=StopRequest())
            members, data, _ = load_members(config, [checkpoint.load(path)], context)
            score_loaded(config, members, data.name, terminal).evaluation.to_plain()

    def fine_tune(self, path: Path) -> None:
        """As `init_from` does."""
        config = replace(self.composed(2, "tuned"), init_from=str(path))
        saved = load_pretrained(config)
        assert saved is not None
        self.trainer(config, self.place).load_initial_weights(saved)

    def every(self, path: Path) -> list[bool]:
        """Which doors took a checkpoint."""
        doors = (self.predict, self.evaluate, self.fine_tune, self.resume)
        return [took(lambda door=door: door(path)) for door in doors]  # type: ignore[misc]


def read_run_folder(folder: Path, config: TrainConfig) -> None:
    """As fundus-report, and fundus-train with `resume=auto`, do with the files beside."""
    config = replace(config, output=str(folder), resume="auto")
    took(lambda: finished(config))
    changes(read_json(folder / "environment.json"), {"system": "x", "packages": {"torch": "9"}})
    for path in (folder, folder.parent):
        words: ReportConfig = composed("report", (f"path={path}",))
        with Terminal(quiet=True) as terminal:
            took(lambda: report(words, terminal))  # noqa: B023


def predict_into(folder: Path, path: Path, image: Path) -> None:
    """As fundus-predict does in a folder that an earlier call has written to."""
    words = (f"checkpoint={path}", f"input={image}", f"output={folder}", "device=cpu")
    config: PredictConfig = composed("predict", words)
    with Terminal(quiet=True) as terminal:
        took(lambda: predict(config, StopRequest(), terminal))
