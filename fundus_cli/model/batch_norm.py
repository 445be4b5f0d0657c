"""Batch norm that is fast on a CPU for few channels in the channels-last memory format."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDE = 64
"""Number of channels from which PyTorch's own kernels fill the SIMD registers."""
VECTOR = 16
"""Float32 numbers in the widest SIMD register; multiples of it fill every register."""


def is_traced() -> bool:
    """Whether the call is being exported, traced or compiled, and must work for other inputs
    too."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d: the same parameters, buffers, running statistics and results up to rounding.

    With channels last, PyTorch's kernels vectorise over the channels, so that with 7 or 8 of them
    most of each SIMD register is empty. During training on a CPU, this class reads the memory of
    (N, H, W, C) as (N H W / g, g C), g pixels at a time; the statistics of the g C virtual channels
    are combined into those of the C real ones (Chan et al. 1979). In all other cases (evaluation,
    export, a GPU, channels first, 16, 32 or many channels, an odd number of pixels) it is
    nn.BatchNorm2d.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised (N, C, H, W), in the memory format of the input."""
        side_by_side = self._side_by_side(input)
        if side_by_side == 1:
            return super().forward(input)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        output: Tensor
        output, mean, variance = _WideBatchNorm.apply(
            input, self.weight, self.bias, self.eps, side_by_side
        )
        self._keep(mean, variance, input.numel() // input.shape[1])
        return output

    def _side_by_side(self, input: Tensor) -> int:
        """g, the number of pixels read as one; 1 where PyTorch's own kernel is used."""
        # Checked first, because an export or a compiler must not trace the checks below.
        if not self.training or torch.compiler.is_compiling() or is_traced():
            return 1
        if not (self.affine and self.track_running_stats and self.momentum is not None):
            return 1
        if not (
            input.device.type == "cpu"
            and input.dim() == 4
            and input.is_contiguous(memory_format=torch.channels_last)
        ):
            return 1
        num_channels = input.shape[1]
        if num_channels >= WIDE or num_channels % VECTOR == 0:
            return 1
        enough = 2 ** math.ceil(math.log2(WIDE / num_channels))
        return math.gcd(enough, input.numel() // num_channels)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, num_pixels: int) -> None:
        """Move the running statistics towards those of the batch."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None
        unbiased = variance * (num_pixels / (num_pixels - 1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.mul_(1 - self.momentum).add_(new.to(running.dtype), alpha=self.momentum)


class _WideBatchNorm(torch.autograd.Function):
    """Normalise by the batch's own statistics, g pixels at a time."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, eps: float, g: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Output (N, C, H, W), mean (C,) and biased variance (C,) in float64."""
        wide = _widened(image, g)
        # Only their dtype matters: it makes bfloat16 be summed in float32.
        unused = weight.new_zeros(wide.shape[1])
        means, variances = torch.ops.aten.batch_norm_update_stats(wide, unused, unused.clone(), 0.0)
        means = means.reshape(g, -1).double()
        mean = means.mean(0)
        variance = variances.reshape(g, -1).double().mean(0) + (means - mean).square().mean(0)
        scale = (variance + eps).rsqrt()
        output = _affine(image, weight * scale, bias, mean, weight.dtype, g)
        ctx.save_for_backward(image, weight, mean, scale)
        ctx.g = g
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        """Gradients by image, weight and bias."""
        image, weight, mean, scale = ctx.saved_tensors
        g, dtype = ctx.g, weight.dtype
        num_pixels = image.numel() // image.shape[1]
        grad = grad.contiguous(memory_format=torch.channels_last)
        means = mean.to(dtype).repeat(g)
        one = torch.ones_like(means)
        # sum(grad (x - mean)) and sum(grad) of each virtual channel, in one pass.
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            *(_widened(grad, g), _widened(image, g), one, means, one, None, None, False, 0.0),
            [False, True, True],
        )
        products = products.reshape(g, -1).double().sum(0) * scale
        sums = sums.reshape(g, -1).double().sum(0)
        result = None
        if ctx.needs_input_grad[0]:
            # weight scale (grad - sums / n - normalised products / n), as two scaled tensors
            # without their means, so that neither loses digits to what the other takes away.
            factor, zero = weight * scale, torch.zeros_like(mean)
            result = _affine(grad, factor, zero, sums / num_pixels, dtype, g)
            slope = -factor * scale * products / num_pixels
            result += _affine(image, slope, zero, mean, dtype, g)
        return result, products.to(dtype), sums.to(dtype), None, None


def _widened(image: Tensor, g: int) -> Tensor:
    """(N, C, H, W) with channels last as (1, g C, N H W / g, 1) of the same memory."""
    flat = image.permute(0, 2, 3, 1).view(1, -1, 1, g * image.shape[1])
    return flat.permute(0, 3, 1, 2)


def _affine(
    image: Tensor, factor: Tensor, offset: Tensor, centre: Tensor, dtype: torch.dtype, g: int
) -> Tensor:
    """factor (x - centre) + offset, with C numbers each, in one pass and one rounding."""
    output = torch.empty_like(image)
    factor, offset, centre = (numbers.to(dtype).repeat(g) for numbers in (factor, offset, centre))
    nothing = factor.new_empty(0)
    # Evaluation by "running" statistics of deviation 1 is the only such operation in PyTorch.
    torch.ops.aten.native_batch_norm.out(
        *(_widened(image, g), factor, offset, centre, torch.ones_like(factor), False, 0.0, 0.0),
        out=_widened(output, g),
        save_mean=nothing,
        save_invstd=nothing.clone(),
    )
    return output
