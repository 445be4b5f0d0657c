"""Exponential moving average (EMA) of the weights, which scores better than the last weights."""

import copy

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a network's weights (Polyak and Juditsky 1992).

    average <- d average + (1 - d) weights after each step, with d = min(decay, (1 + step) / (10 +
    step)), so that the poor weights of the first steps lose their influence
    quickly. Running means and variances of batch norm are averaged likewise.

    Attributes:
        model: a network of the same kind that holds the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average after optimizer step number `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        smooth = [(a, w) for a, w in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in smooth], [w for _, w in smooth], 1 - decay)
        for average, weight in pairs:
            if not average.is_floating_point():
                average.copy_(weight)


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
