"""The train/test epoch loop: a function of the config, the photographs and how far the run is."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fundus_cli.config import TrainConfig
from fundus_cli.data.dataset import Dataset
from fundus_cli.data.samples import Sample
from fundus_cli.data.sampling import Batch, TrainingSampler
from fundus_cli.errors import DivergedError, MachineError
from fundus_cli.evaluation.counts import Counts, count
from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.inference.predict import Predictor
from fundus_cli.model.unet import UNet
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Progress, Threshold
from fundus_cli.run.files import link_whole, write_csv
from fundus_cli.run.signals import StopRequest
from fundus_cli.runtime import autocast, choose_device, choose_precision
from fundus_cli.training.loss import build_loss
from fundus_cli.training.optimizer import build_optimizer, lr_at, set_lr

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Console:
    """Where the loop tells what it does.

    Attributes:
        say: a line for the terminal and the log.
        step: called after each optimizer step with (epoch from 1, steps done, steps in all).
    """

    say: Callable[[str], object]
    step: Callable[[int, int, int], object]


MIN_SHARE = 1e-3
"""A structure rarer than this starts as if it were this frequent."""


def log_odds(samples: Sequence[Sample]) -> Tensor:
    """(S,) log-odds of each structure among the pixels inside the field of view."""
    inside = sum(int(s.fov_mask.sum()) for s in samples)
    covered = sum(s.target[:, s.fov_mask].sum(axis=1, dtype=np.float64) / 255 for s in samples)
    share = np.clip(covered / inside, MIN_SHARE, 1 - MIN_SHARE)
    return torch.from_numpy(np.log(share / (1 - share))).float()


def build_model(config: TrainConfig) -> UNet:
    """The network of a config with weights drawn from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return UNet(
            in_channels=3,
            num_structures=len(config.data.structures),
            base_channels=config.model.base_channels,
            depth=config.model.depth,
        )


class Trainer:
    """Network, optimizer and progress of one run; every random draw is a function of the three."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        folder: Path,
        stop: StopRequest,
        console: Console,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.folder = folder
        self.stop = stop
        self.console = console
        self.device = choose_device(config.device)
        self.dtype = choose_precision(config.precision, self.device)
        model = build_model(config)
        if config.model.prior_bias:
            # From a bias of 0 most of a short run goes into learning that structures are rare.
            with torch.no_grad():
                model.head.bias.copy_(log_odds(dataset.samples["train"]))  # type: ignore[union-attr]
        model = model.to(self.device)
        self.model: nn.Module = model.to(memory_format=torch.channels_last)
        self.loss = build_loss(config.loss)
        self.optimizer = build_optimizer(self.model.parameters(), config.optimizer, self.device)
        self.sampler = TrainingSampler(
            dataset.samples["train"], config.data, config.augment, config.seed, self.device
        )
        self.predictor = Predictor(self.model, config.data.normalisation, self.device, self.dtype)
        self.progress = Progress()
        self.threshold = self._fixed_threshold()
        self.num_batches = math.ceil(len(self.sampler) / config.batch_size)
        self.total_steps = self.num_batches * config.epochs
        self._saved_at = time.monotonic()

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Continue from a checkpoint, in the middle of an epoch too."""
        checkpoint.load_weights(self.model, saved.model, saved.path)
        self.optimizer.load_state_dict(saved.optimizer)
        self.progress = saved.progress
        if self.config.threshold == saved.config.threshold:
            self.threshold = saved.threshold

    def fit(self, after_epoch: Callable[[], object]) -> None:
        """Train to the last epoch, leaving last.pt, best.pt, log.csv and timing.csv after each."""
        for epoch in range(self.progress.epoch, self.config.epochs):
            self._train_epoch(epoch)
            self._close_epoch(epoch)
            after_epoch()

    def _train_epoch(self, epoch: int) -> None:
        order = self.sampler.order(epoch)
        size = self.config.batch_size
        progress = self.progress
        for number in range(progress.batch, self.num_batches):
            self._obey_signals()
            started = time.monotonic()
            batch = self.sampler.batch(epoch, order[number * size : (number + 1) * size])
            progress.loss_sum += self._step(batch, epoch) * len(batch)
            progress.num_seen += len(batch)
            progress.batch, progress.step = number + 1, progress.step + 1
            progress.seconds += time.monotonic() - started
            self.console.step(epoch + 1, number + 1, self.num_batches)
            if time.monotonic() - self._saved_at > 60 * self.config.save_every_min:
                self.save()

    def _step(self, batch: Batch, epoch: int) -> float:
        """One optimizer step; returns the loss.

        Raises:
            DivergedError: loss or gradient is not finite; the weights are untouched.
        """
        progress, optimizer = self.progress, self.config.optimizer
        set_lr(
            self.optimizer,
            lr_at(self.config.scheduler, optimizer.lr, progress.step, self.total_steps),
        )
        self.model.train()
        try:
            loss = self._loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            raise _memory_error(error, batch) from error
        value = float(loss.detach())
        norm = gradient_norm(self.model)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise DivergedError(
                f"epoch {epoch + 1}, step {progress.step + 1}: loss {value}, gradient norm {norm}, "
                f"photographs {', '.join(sorted(set(batch.ids)))}; lower optimizer.lr "
                f"({optimizer.lr}), or look for odd values in these files"
            )
        self.optimizer.step()
        return value

    def _loss(self, batch: Batch) -> Tensor:
        with autocast(self.device, self.dtype):
            logits = self.model(batch.image.contiguous(memory_format=torch.channels_last))
        return self.loss(logits, batch.target, batch.fov_mask)

    def _close_epoch(self, epoch: int) -> None:
        """Test loss, validation, log row, checkpoints."""
        progress = self.progress
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "train_loss": progress.loss_sum / progress.num_seen,
            "test_loss": self.mean_loss(self.dataset.samples.get("test", [])),
        }
        improved = not self.dataset.samples.get("val")
        if not improved:
            row |= self._validate()
            score = row["val_dice"]
            improved = math.isfinite(score) and (
                progress.best_score is None or score > progress.best_score
            )
        if improved:
            progress.best_epoch, progress.best_score = epoch + 1, row.get("val_dice")
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        progress.rows.append(row)
        progress.epoch, progress.batch = epoch + 1, 0
        progress.loss_sum, progress.num_seen = 0.0, 0
        self.save()
        if improved:
            link_whole(self.folder / "last.pt", self.folder / "best.pt")
        write_csv(self.folder / "log.csv", progress.rows)
        self.console.say(self.epoch_line(row))

    def epoch_line(self, row: dict[str, Any]) -> str:
        """A log row as the line that people watch."""
        line = f"Epoch: {row['epoch']}/{self.config.epochs}, Train Loss: {row['train_loss']:.4f}"
        line += f", Test Loss: {row['test_loss']:.4f}"
        if "val_dice" in row:
            line += f", Val Loss: {row['val_loss']:.4f}, Val Dice: {row['val_dice']:.4f}"
        return line

    def mean_loss(self, samples: list[Sample]) -> float:
        """Mean over photographs of the loss at working resolution; NaN without any."""
        losses = []
        for sample in samples:
            logits, batch = self.predictor.logits(sample)
            losses.append(float(self.loss(logits, batch.target, batch.fov_mask)))
        return sum(losses) / len(losses) if losses else math.nan

    def _validate(self) -> dict[str, float]:
        """Loss, pooled Dice and the threshold that gives it, on the val split at native size."""
        histogram = ProbabilityHistogram()
        counts = Counts.zero()
        losses = []
        for sample in self.dataset.samples["val"]:
            logits, batch = self.predictor.logits(sample)
            losses.append(float(self.loss(logits, batch.target, batch.fov_mask)))
            probability = self.predictor.at_native_size(logits, sample)
            targets = sample.native_targets.unpack()
            fov = sample.native_fov.unpack()[0]
            for own_probability, target in zip(probability, targets, strict=True):
                histogram.add(own_probability, target, fov)
                prediction = own_probability >= np.float32(self.threshold.value)
                counts += count(prediction, target, fov)
        if self.config.threshold == "val":
            best, dice = histogram.best_dice_threshold()
            if math.isfinite(best):
                self.threshold = Threshold(best, "val")
        else:
            dice = counts.metrics()["dice"]
        return {
            "val_loss": sum(losses) / len(losses),
            "val_dice": dice,
            "threshold": self.threshold.value,
        }

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

    def save(self) -> None:
        """Write last.pt, keeping the one before it as previous.pt."""
        last = self.folder / "last.pt"
        if last.exists():
            link_whole(last, self.folder / "previous.pt")
        checkpoint.save(
            last,
            config=self.config,
            model=self.model,
            optimizer=self.optimizer,
            progress=self.progress,
            threshold=self.threshold,
            manifest=self.dataset.manifest(),
        )
        self._saved_at = time.monotonic()


def gradient_norm(model: nn.Module) -> float:
    """Euclidean norm of all gradients."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return float(torch.stack(torch._foreach_norm(grads)).norm())


def _memory_error(error: BaseException, batch: Batch) -> BaseException:
    text = str(error).lower()
    is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in text or "out of memory" in text or "not enough memory" in text
    )
    if not is_memory:
        return error
    height, width = batch.image.shape[2:]
    return MachineError(
        f"out of memory: batch_size={len(batch)} at {width}x{height} did not fit; lower "
        "batch_size, data.patch_px, data.fov_diameter_px or model.base_channels"
    )
