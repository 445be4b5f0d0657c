"""The epoch loop: train, test, validate, write checkpoints and logs."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_cli.config import TrainConfig
from fundus_cli.data.batches import TrainingSampler
from fundus_cli.data.dataset import Dataset
from fundus_cli.data.samples import Sample
from fundus_cli.errors import MachineError
from fundus_cli.inference.predictor import Predictor
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Progress, Threshold
from fundus_cli.run.files import link_whole
from fundus_cli.run.machine_errors import is_out_of_memory
from fundus_cli.run.signals import StopRequest
from fundus_cli.runtime.device import choose_device
from fundus_cli.training.constant_predictions import ConstantPredictionWatch
from fundus_cli.training.custom import CustomParts, check_same_parts
from fundus_cli.training.epoch_files import check_position, epoch_line, timing_row, write_followers
from fundus_cli.training.finetuning import check_unseen, earlier_training_files
from fundus_cli.training.learner import Learner
from fundus_cli.training.prior_bias import shares
from fundus_cli.training.validation import (
    DEFAULT_THRESHOLD,
    MAX_TEST_SHARE,
    histogram_of,
    mean_loss,
    spread,
    validate,
)

MAX_THRESHOLD_IMAGES = 64
"""Maximum number of training images (evenly spaced) used to choose the threshold."""


@dataclass(frozen=True, slots=True)
class Console:
    """Functions through which the loop reports its progress.

    Attributes:
        print_line: prints a line on the terminal and in the log.
        step: called after each optimizer step with (epoch from 1, steps done, steps in all).
    """

    print_line: Callable[[str], object]
    step: Callable[[int, int, int], object]


class Trainer:
    """Network, optimizer and progress of one run."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        folder: Path,
        stop: StopRequest,
        console: Console,
        custom: CustomParts | None = None,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.folder = folder
        self.stop = stop
        self.console = console
        train = dataset.samples["train"]
        train_shares = shares(train)
        self.device = choose_device(config.device)
        self.sampler = TrainingSampler(train, config.data, config.augment, config.seed, self.device)
        self.num_batches = math.ceil(len(self.sampler) / config.batch_size)
        self.learner = Learner(
            config,
            train_shares,
            self.num_batches * config.epochs,
            self.device,
            console.print_line,
            custom,
        )
        self.watch = ConstantPredictionWatch(config, train_shares.tolist())
        self.predictor = Predictor(
            [self.learner.scored_model],
            config.data.normalisation,
            self.device,
            self.learner.dtype,
        )
        self.progress = Progress()
        self.threshold = self._fixed_threshold()
        self.test_samples = spread(
            dataset.samples.get("test", []), MAX_TEST_SHARE * self._pixels_per_epoch()
        )
        self.earlier_training_files: dict[str, str] = {}
        self._saved_at = time.monotonic()

    def load_initial_weights(self, pretrained: checkpoint.Checkpoint) -> list[str]:
        """Start from another run's weights; returns lines to show.

        Raises:
            ConfigError: they do not fit this run.
            DataError: they were trained on images of test.
        """
        hashes = {
            split: {s.id: s.file_hash for s in samples}
            for split, samples in self.dataset.samples.items()
        }
        warnings = check_unseen(pretrained, hashes)
        lines = self.learner.load_initial_weights(pretrained)
        self.earlier_training_files = earlier_training_files(pretrained)
        return [*lines, *warnings]

    def _pixels_per_epoch(self) -> int:
        patch_px = self.config.data.patch_px
        if patch_px is not None:
            return len(self.sampler) * patch_px**2
        return sum(sample.fov_mask.size for sample in self.dataset.samples["train"])

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Continue from a checkpoint, in the middle of an epoch too.

        Raises:
            ConfigError: the run was started with other parts from Python than this call has.
            DataError: weights, optimizer or counters do not fit this run.
        """
        check_same_parts(saved.custom, self.learner.custom, self.config.output)
        check_position(saved)
        self.learner.restore(saved)
        self.progress = saved.progress
        self.earlier_training_files = saved.manifest.get(checkpoint.BEFORE, {})
        # A threshold from train is chosen at the end of a run; a longer run chooses it again.
        if saved.threshold.origin != "train" and self.config.threshold == saved.config.threshold:
            self.threshold = saved.threshold

    def fit(self, after_epoch: Callable[[], object]) -> None:
        """Train to the last epoch, leaving last.pt, best.pt, log.csv and timing.csv after each."""
        for epoch in range(self.progress.epoch, self.config.epochs):
            self._train_epoch(epoch)
            # Before validation, which cannot score what is not a number.
            self.learner.check_weights(self.progress.step)
            self._close_epoch(epoch)
            after_epoch()

    def _train_epoch(self, epoch: int) -> None:
        order = self.sampler.order(epoch)
        size = self.config.batch_size
        progress = self.progress
        for number in range(progress.batch, self.num_batches):
            self._obey_signals()
            started = time.monotonic()
            indices = order[number * size : (number + 1) * size]
            try:
                batch = self.sampler.batch(epoch, indices)
                self.learner.step(batch, epoch, progress.step)
            except (MemoryError, RuntimeError) as error:
                raise self._memory_error(error, len(indices)) from error
            progress.batch, progress.step = number + 1, progress.step + 1
            if progress.batch == self.num_batches:
                self._flush_losses()
            progress.seconds += time.monotonic() - started
            self.console.step(epoch + 1, number + 1, self.num_batches)
            if time.monotonic() - self._saved_at > 60 * self.config.save_every_min:
                self.save()

    def _flush_losses(self) -> None:
        """Add the losses of the steps so far to the epoch's mean."""
        for loss, size in self.learner.flush():
            self.progress.loss_sum += loss * size
            self.progress.num_seen += size

    def _memory_error(self, error: BaseException, batch_size: int) -> BaseException:
        """The same error, or one line when memory ran out."""
        if not is_out_of_memory(error):
            return error
        data = self.config.data
        side = f"patches of {data.patch_px} px" if data.patch_px else "whole images"
        return MachineError(
            f"out of memory: batch_size={batch_size}, {side}, did not fit; lower batch_size, "
            "data.patch_px, data.fov_diameter_px or model.base_channels"
        )

    def _close_epoch(self, epoch: int) -> None:
        """Test loss, validation, log row, checkpoints."""
        progress = self.progress
        started = time.monotonic()
        self.watch.begin_epoch()
        watched = self.watch.watched(self.learner.loss)
        val, test = self.dataset.samples.get("val", []), self.test_samples
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "train_loss": progress.loss_sum / progress.num_seen,
            "test_loss": mean_loss(
                self.predictor, self.learner.loss if val else watched, self._one_by_one(test)
            ),
        }
        if not val and not test:
            # No other image is predicted: check for constant predictions on a training image.
            mean_loss(self.predictor, watched, self._one_by_one(self.dataset.samples["train"][:1]))
        if val:
            chosen = None if self.config.threshold == "auto" else self.threshold.value
            scores = validate(self.predictor, watched, self._one_by_one(val), chosen)
            if chosen is None:
                # Masks that are all empty choose nothing: the default stays, and says so.
                is_chosen = math.isfinite(scores.dice)
                self.threshold = Threshold(scores.threshold, "val" if is_chosen else "fixed")
            row |= scores.row()
            improved = math.isfinite(scores.dice) and (
                progress.best_score is None or scores.dice > progress.best_score
            )
        else:
            improved = True
            if epoch + 1 == self.config.epochs and self.config.threshold == "auto":
                self._choose_threshold_on_train()
        if improved:
            progress.best_epoch, progress.best_score = epoch + 1, row.get("val_dice")
        row["lr"] = self.learner.lr
        progress.constant_epochs, warnings = self.watch.end_epoch(
            self.threshold.value, progress.constant_epochs, row["lr"]
        )
        progress.rows.append(row)
        progress.timings.append(timing_row(progress, time.monotonic() - started))
        progress.epoch, progress.batch = epoch + 1, 0
        progress.loss_sum, progress.num_seen, progress.seconds = 0.0, 0, 0.0
        self.save()
        write_followers(self.folder, progress, self.folder / "last.pt")
        for line in (epoch_line(row, self.config.epochs), *warnings):
            self.console.print_line(line)

    def _one_by_one(self, samples: Sequence[Sample]) -> Iterator[Sample]:
        """Yield the images, checking for stop signals before each."""
        for sample in samples:
            self._obey_signals()
            yield sample

    def _choose_threshold_on_train(self) -> None:
        samples = self.dataset.samples["train"]
        every = math.ceil(len(samples) / MAX_THRESHOLD_IMAGES)
        looked_at = self._one_by_one(samples[::every])
        best, _ = histogram_of(self.predictor, looked_at).best_dice_threshold()
        if math.isfinite(best):
            self.threshold = Threshold(best, "train")

    def _fixed_threshold(self) -> Threshold:
        chosen = self.config.threshold
        value = DEFAULT_THRESHOLD if isinstance(chosen, str) else float(chosen)
        return Threshold(value, "fixed")

    def _obey_signals(self) -> None:
        if self.stop.save_now:
            self.stop.save_now = False
            self.save()
        if self.stop.signum is not None:
            self.save()
            self.stop.raise_if_asked(
                f"saved at epoch {self.progress.epoch + 1}, step {self.progress.step}; "
                "continue with the same command, output="
                f"{self.config.output} and resume=auto"
            )

    def _manifest(self) -> dict[str, dict[str, str]]:
        before = (
            {checkpoint.BEFORE: self.earlier_training_files} if self.earlier_training_files else {}
        )
        return {**self.dataset.manifest(), **before}

    def save(self) -> None:
        """Write last.pt, keeping the one before it as previous.pt.

        Raises:
            DivergedError: a step was not finite; earlier checkpoints are kept.
        """
        self._flush_losses()
        self.learner.check_weights(self.progress.step)
        last = self.folder / "last.pt"
        if last.exists():
            link_whole(last, self.folder / "previous.pt")
        checkpoint.save(
            last,
            config=self.config,
            model=self.learner.model,
            averaged=None if self.learner.average is None else self.learner.average.model,
            optimizer=self.learner.optimizer,
            progress=self.progress,
            threshold=self.threshold,
            manifest=self._manifest(),
            custom=self.learner.custom,
        )
        self._saved_at = time.monotonic()
