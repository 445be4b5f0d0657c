"""Muon: momentum whose update is made orthogonal, filter by filter."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic of Jordan et al. 2024, chosen for its slope at 0; singular values end near 1."""

NEWTON_SCHULZ_STEPS = 5
MAX_ROWS = 256
"""Of a matrix that is made orthogonal as a whole: all of a U-Net's up to 16 base channels."""
RMS_OF_ADAMW = 0.2
"""Root mean square of AdamW's usual updates per learning rate (Liu et al. 2025)."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Of AdamW, for what is no filter."""


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for filters, AdamW for what has fewer than two dimensions.

    A filter (O, I, h, w) is read as a matrix of O rows; for a transposed convolution, which stores
    (I, O, h, w), that is the transpose of its matrix, which makes no difference. Its update is
    Nesterov momentum with all singular values brought close to 1, so that every direction of the
    matrix learns at the same pace, scaled so that learning rates and weight decay mean what they
    mean for AdamW: `0.2 sqrt(max(rows, columns))` (Liu et al. 2025). Weight decay is decoupled.
    Biases, and scales and shifts of norms, follow AdamW without decay. All in float32.

    Its matrix products cost nothing beside the convolutions of small networks, and on a processor
    about a fifth of these at 64 base channels.

    Args:
        parameters: of the network.
        lr: learning rate, of both.
        weight_decay: of filters.
        momentum: 0 to below 1, of filters.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
    ) -> None:
        filters = [parameter for parameter in parameters if parameter.ndim >= 2]
        others = [parameter for parameter in parameters if parameter.ndim < 2]
        groups: list[dict[str, Any]] = [
            {"params": filters, "weight_decay": weight_decay, "momentum": momentum},
            {"params": others, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update what has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim >= 2:
                    self._orthogonal_step(parameter, group)
                else:
                    self._adam_step(parameter, group["lr"])

    def _orthogonal_step(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        grad, state = parameter.grad, self.state[parameter]
        assert grad is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        buffer = state["momentum_buffer"]
        buffer.lerp_(grad, 1 - group["momentum"])
        matrix = grad.lerp(buffer, group["momentum"]).flatten(1).float()
        update = orthogonal(matrix).mul_(RMS_OF_ADAMW * max(matrix.shape) ** 0.5)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view(parameter.shape).to(parameter.dtype), alpha=-group["lr"])

    def _adam_step(self, parameter: nn.Parameter, lr: float) -> None:
        grad, state = parameter.grad, self.state[parameter]
        assert grad is not None
        if not state:
            # On the processor, where counting waits for no device.
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(grad)
            state["exp_avg_sq"] = torch.zeros_like(grad)
        state["step"] += 1
        step = float(state["step"])
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(grad, 1 - BETA_1)
        square.mul_(BETA_2).addcmul_(grad, grad, value=1 - BETA_2)
        root = square.sqrt().div_((1 - BETA_2**step) ** 0.5).add_(EPSILON)
        parameter.addcdiv_(mean, root, value=-lr / (1 - BETA_1**step))


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthogonal rows or columns, roughly.

    A matrix with more than MAX_ROWS on its shorter side is cut along it into blocks as equal as can
    be, each made orthogonal by itself: what it costs grows with the square and the cube of
    the rows.

    Args:
        matrix: (rows, columns) float32.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if is_tall else matrix
    num_blocks = math.ceil(len(wide) / MAX_ROWS)
    result = torch.cat([_orthogonal_rows(block) for block in wide.tensor_split(num_blocks)])
    return result.T if is_tall else result


def _orthogonal_rows(wide: Tensor) -> Tensor:
    """The nearest matrix with orthogonal rows, roughly, of one with no more rows than columns.

    Newton-Schulz iterations of a quintic (Jordan et al. 2024): singular vectors stay, singular
    values end between about 0.7 and 1.2 instead of at 1, which training does not mind. They run on
    the product of the shorter side with itself, whose polynomial is multiplied in at the end:
    filters have up to nine times as many columns as rows. A matrix of zeros stays one.
    """
    a, b, c = COEFFICIENTS
    wide = wide / wide.norm().clamp(min=1e-7)
    gram = wide @ wide.T
    factor: Tensor | None = None
    for step in range(NEWTON_SCHULZ_STEPS):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        factor = polynomial if factor is None else polynomial @ factor
        if step < NEWTON_SCHULZ_STEPS - 1:
            gram = polynomial @ gram @ polynomial
    assert factor is not None
    return factor @ wide
