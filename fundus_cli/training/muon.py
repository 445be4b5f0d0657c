"""The Muon optimizer: momentum with orthogonalised updates, filter by filter."""

import math
from collections.abc import Sequence
from typing import Any, cast

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

    Compared with the convolutions, its matrix products are negligible for small networks; on a CPU
    they take about a fifth as long at 64 base channels.

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
            learning: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            filters = [parameter for parameter in learning if parameter.ndim >= 2]
            others = [parameter for parameter in learning if parameter.ndim < 2]
            if filters:
                self._orthogonal_step(filters, group)
            if others:
                self._adam_step(others, group["lr"])

    def _orthogonal_step(self, filters: list[Tensor], group: dict[str, Any]) -> None:
        grads = [cast(Tensor, parameter.grad) for parameter in filters]
        for parameter, grad in zip(filters, grads, strict=True):
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(grad)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in filters]
        lr, momentum = group["lr"], group["momentum"]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        ahead = torch._foreach_lerp(grads, buffers, momentum)
        matrices = [each.flatten(1).float() for each in ahead]
        updates = [
            update.mul_(-lr * RMS_OF_ADAMW * max(update.shape) ** 0.5)
            for update in orthogonal(matrices)
        ]
        torch._foreach_mul_(filters, 1 - lr * group["weight_decay"])
        for parameter, update in zip(filters, updates, strict=True):
            parameter.add_(update.view(parameter.shape))

    def _adam_step(self, parameters: list[Tensor], lr: float) -> None:
        grads = [cast(Tensor, parameter.grad) for parameter in parameters]
        for parameter, grad in zip(parameters, grads, strict=True):
            if not self.state[parameter]:
                # The count is kept on the CPU, where reading it does not wait for a device.
                self.state[parameter] |= {
                    "step": torch.zeros(()),
                    "exp_avg": torch.zeros_like(grad),
                    "exp_avg_sq": torch.zeros_like(grad),
                }
        means, squares, counts = (
            [self.state[parameter][name] for parameter in parameters]
            for name in ("exp_avg", "exp_avg_sq", "step")
        )
        torch._foreach_add_(counts, 1)
        steps = [float(count) for count in counts]
        torch._foreach_lerp_(means, grads, 1 - BETA_1)
        torch._foreach_mul_(squares, BETA_2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - BETA_2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [(1 - BETA_2**step) ** 0.5 for step in steps])
        torch._foreach_add_(roots, EPSILON)
        torch._foreach_addcdiv_(parameters, means, roots, [-lr / (1 - BETA_1**s) for s in steps])


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """The nearest matrix with orthogonal rows or columns of each, roughly.

    A matrix with more than MAX_ROWS on its shorter side is cut along it into blocks as equal as can
    be, each made orthogonal by itself: what it costs grows with the square and the cube of
    the rows. A matrix of zeros stays one.

    Args:
        matrices: (rows, columns) float32 each, of any sizes.
    """
    wide = [matrix.T if _is_tall(matrix) else matrix for matrix in matrices]
    cuts = [matrix.tensor_split(math.ceil(len(matrix) / MAX_ROWS)) for matrix in wide]
    blocks = [block for cut in cuts for block in cut]
    done = iter([factor @ block for factor, block in zip(_factors(blocks), blocks, strict=True)])
    results = [torch.cat([next(done) for _ in cut]) if len(cut) > 1 else next(done) for cut in cuts]
    return [
        result.T if _is_tall(matrix) else result
        for matrix, result in zip(matrices, results, strict=True)
    ]


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _factors(blocks: Sequence[Tensor]) -> list[Tensor]:
    """By what to multiply each block, which has no more rows than columns, to make it orthogonal.

    The factor depends on a block's product with itself alone, and blocks with as many rows are
    worked on together: a small network has dozens of tiny matrices, whose products take less time
    than being called one by one.
    """
    same_rows: dict[int, list[int]] = {}
    for index, block in enumerate(blocks):
        same_rows.setdefault(len(block), []).append(index)
    factors: dict[int, Tensor] = {}
    for indices in same_rows.values():
        grams = torch.stack([blocks[index] @ blocks[index].T for index in indices])
        factors |= zip(indices, _inverse_roots(grams), strict=True)
    return [factors[index] for index in range(len(blocks))]


def _inverse_roots(grams: Tensor) -> Tensor:
    """The inverse square root, roughly, of each of (N, rows, rows) products of a matrix with its
    transpose.

    Newton-Schulz iterations of a quintic (Jordan et al. 2024) for matrices of norm 1, on their
    products: filters have up to nine times as many columns as rows. A matrix multiplied by the
    result keeps its singular vectors; its singular values end between about 0.7 and 1.2 instead of
    at 1, which training does not mind.
    """
    a, b, c = COEFFICIENTS
    # The squares of a matrix' entries sum up to the trace of this product.
    squared_norms = grams.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-14)[:, None, None]
    gram = grams / squared_norms
    factor: Tensor | None = None
    for step in range(NEWTON_SCHULZ_STEPS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        factor = polynomial if factor is None else polynomial @ factor
        if step < NEWTON_SCHULZ_STEPS - 1:
            gram = polynomial @ gram @ polynomial
    assert factor is not None
    return factor / squared_norms.sqrt()
