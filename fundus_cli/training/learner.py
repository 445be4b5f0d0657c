"""Optimizer steps: the network, its EMA and the optimizer's state."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fundus_cli.config import TrainConfig
from fundus_cli.data.batches import Batch
from fundus_cli.errors import ConfigError, DivergedError
from fundus_cli.model.unet import UNet
from fundus_cli.model.wnet import WNet
from fundus_cli.run import checkpoint
from fundus_cli.runtime.device import autocast, choose_precision, repeatable
from fundus_cli.training.compiling import Forward, compiled
from fundus_cli.training.custom import CustomParts
from fundus_cli.training.ema import WeightAverage
from fundus_cli.training.finetuning import load_initial_weights
from fundus_cli.training.losses import build_loss
from fundus_cli.training.optimizer import build_optimizer, lr_at, set_lr
from fundus_cli.training.optimizer_state import load_optimizer
from fundus_cli.training.prior_bias import first_model

STEPS_PER_FETCH = 32
"""Steps between two fetches of losses from a GPU; each fetch waits for the GPU."""


@dataclass(frozen=True, slots=True)
class _PendingStep:
    """A step whose loss and gradient norm are still on the device."""

    loss: Tensor
    norm: Tensor
    epoch: int
    step: int
    ids: tuple[str, ...]


class Learner:
    """Takes optimizer steps and fetches their losses: each on a CPU, many at once on a GPU.

    A step whose loss or gradient is not finite raises when it is fetched. Nothing may be saved
    before `flush`, so that a checkpoint never contains such a step.

    Attributes:
        model: the network that learns.
        average: EMA of its weights; None without ema_decay.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_shares: np.ndarray,
        total_steps: int,
        device: torch.device,
        print_line: Callable[[str], object],
        custom: CustomParts | None = None,
    ) -> None:
        custom = custom or CustomParts()
        self.custom = custom.names()
        self.config = config
        self.total_steps = total_steps
        self.device = device
        self.dtype = choose_precision(config.precision, self.device)
        repeatable(self.device)
        model = custom.model or first_model(config, train_shares)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        decay = config.ema_decay
        self.average = WeightAverage(self.model, decay) if decay else None
        self.loss = custom.loss or build_loss(config.loss)
        parameters = list(self.model.parameters())
        self.optimizer = (
            custom.optimizer(parameters)
            if custom.optimizer
            else build_optimizer(parameters, config.optimizer, self.device)
        )
        self.steps_per_fetch = 1 if self.device.type == "cpu" else STEPS_PER_FETCH
        self._print_line = print_line
        self._forward: Forward | None = None
        self._pending: list[_PendingStep] = []
        self._flushed: list[tuple[float, int]] = []

    @property
    def scored_model(self) -> nn.Module:
        """The network that is validated and scored: the EMA where there is one."""
        return self.model if self.average is None else self.average.model

    @property
    def lr(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def load_initial_weights(self, pretrained: checkpoint.Checkpoint) -> list[str]:
        """Start from another run's weights; returns lines on what differs."""
        if not isinstance(self.model, UNet | WNet):
            raise ConfigError(
                f"init_from={self.config.init_from}: a network given from Python starts with its "
                "own weights; leave init_from out"
            )
        lines = load_initial_weights(pretrained, self.config, self.model)
        if self.average is not None:
            self.average.model.load_state_dict(self.model.state_dict())
        return lines

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Continue with a checkpoint's weights and optimizer."""
        checkpoint.load_weights(self.model, saved.model, saved.path)
        if self.average is not None:
            checkpoint.load_weights(self.average.model, saved.weights, saved.path)
        load_optimizer(self.optimizer, saved)

    def step(self, batch: Batch, epoch: int, number: int) -> None:
        """One optimizer step.

        Args:
            batch: on the device.
            epoch: from 0.
            number: steps of the run before this one.

        Raises:
            DivergedError: a loss or gradient is not finite; on a CPU it is that of this step, and
                the weights are unchanged.
        """
        config = self.config
        set_lr(
            self.optimizer,
            lr_at(config.scheduler, config.optimizer.lr, number, self.total_steps),
        )
        self.model.train()
        loss = self.loss_of(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = gradient_norm(self.model)
        self._pending.append(_PendingStep(loss.detach(), norm, epoch + 1, number + 1, batch.ids))
        if len(self._pending) >= self.steps_per_fetch:
            self._fetch()
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model, number + 1)

    def loss_of(self, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar on the device."""
        image = batch.image.contiguous(memory_format=torch.channels_last)
        forward = self._forward_for(tuple(image.shape))
        with autocast(self.device, self.dtype):
            outputs = forward(image)
        # A cascade is trained on each of its outputs.
        every = outputs if isinstance(outputs, tuple) else (outputs,)
        losses = [self.loss(logits, batch.target, batch.fov_mask) for logits in every]
        return torch.stack(losses).mean()

    def flush(self) -> list[tuple[float, int]]:
        """(loss, size of the batch) of every step since the last call, in order.

        Raises:
            DivergedError: one of them was not finite.
        """
        self._fetch()
        flushed, self._flushed = self._flushed, []
        return flushed

    def check_weights(self, step: int) -> None:
        """Refuse weights, running means and variances that are not finite numbers, averaged or not.

        Raises:
            DivergedError: the last update overflowed.
        """
        models = [self.model, *([self.average.model] if self.average else [])]
        tensors = [tensor for model in models for tensor in model.state_dict().values()]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise DivergedError(
                f"step {step}: the update left weights that are not finite, so they are not "
                f"saved; lower optimizer.lr ({self.config.optimizer.lr})"
            )

    def _fetch(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        numbers = torch.stack(
            [n for step in pending for n in (step.loss.float(), step.norm.float())]
        )
        values = numbers.tolist()
        for each, loss, norm in zip(pending, values[::2], values[1::2], strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(
                    f"epoch {each.epoch}, step {each.step}: loss {loss}, gradient norm {norm}, "
                    f"images {', '.join(sorted(set(each.ids)))}; lower optimizer.lr "
                    f"({self.config.optimizer.lr}), or look for unusual values in these files"
                )
            self._flushed.append((loss, len(each.ids)))

    def _forward_for(self, shape: tuple[int, ...]) -> Forward:
        if self._forward is None:
            self._forward = self.model
            if self.config.compile:
                # A resumed epoch may start with its last, smaller batch, so the size comes from the
                # config.
                whole = (self.config.batch_size, *shape[1:])
                self._forward = compiled(
                    self.model, whole, self.device, self.dtype, self._print_line
                )
        return self._forward


def gradient_norm(model: nn.Module) -> Tensor:
    """Euclidean norm of all gradients, a scalar on their device."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    norm: Tensor = torch.stack(torch._foreach_norm(grads)).norm()
    return norm
