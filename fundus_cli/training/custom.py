"""Network, loss and optimizer that are given from Python instead of the config."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fundus_cli.errors import ConfigError
from fundus_cli.training.losses import Loss

OptimizerFactory = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]
"""optimizer(parameters) -> an optimizer over them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomParts:
    """The parts given to `fundus_cli.train`; None for a part: as in the config.

    Attributes:
        model: (N, 3, H, W) float to logits (N, S, H, W) of the S structures, for any H and W.
        loss: loss(logits, target, fov_mask) -> scalar, as fundus_cli.training.losses.bce_loss.
        optimizer: called once with the list of parameters. Before each step the learning rate of
            all its groups is set from optimizer.lr and the scheduler.
    """

    model: nn.Module | None = None
    loss: Loss | None = None
    optimizer: OptimizerFactory | None = None

    def names(self) -> dict[str, str]:
        """{part: name} of the parts that are given, as a checkpoint stores them."""
        given = {"model": self.model, "loss": self.loss, "optimizer": self.optimizer}
        return {part: _name(value) for part, value in given.items() if value is not None}


def check_same_parts(stored: dict[str, str], given: dict[str, str], output: str) -> None:
    """Refuse to resume a run with other parts than those that it was started with.

    Raises:
        ConfigError: a part is missing, new or another one.
    """
    if stored == given:
        return
    before = ", ".join(f"{part}={name}" for part, name in stored.items()) or "nothing"
    now = ", ".join(f"{part}={name}" for part, name in given.items()) or "nothing"
    raise ConfigError(
        f"resume=auto: output={output} was started with {before} given from Python and is now "
        f"given {now}; resume it with fundus_cli.train and the same parts"
    )


def _name(part: object) -> str:
    kind = part if hasattr(part, "__qualname__") else type(part)
    return f"{kind.__module__}.{kind.__qualname__}"
