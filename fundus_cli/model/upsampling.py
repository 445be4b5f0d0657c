"""A transposed convolution with a fast bias gradient on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fundus_cli.model.batch_norm import is_traced


class ConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d: the same parameters and results up to rounding.

    With channels last, PyTorch sums the bias gradient of a transposed convolution pixel by pixel,
    which takes several times as long as the other gradients together. During training on a CPU,
    this class computes it as one sum. In all other cases (evaluation, export, a GPU, channels
    first, several groups, a padded output) it is nn.ConvTranspose2d.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C_out, H', W') of (N, C_in, H, W), in the memory format of the input."""
        if output_size is not None or not self._sums_itself(input):
            return super().forward(input, output_size)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight = input.to(dtype), weight.to(dtype)
        assert bias is not None
        output: Tensor = _TransposedConvolution.apply(
            input, weight, bias, self.stride, self.padding, self.dilation
        )
        return output

    def _sums_itself(self, input: Tensor) -> bool:
        # Checked first, because an export or a compiler must not trace the checks below.
        if not self.training or torch.compiler.is_compiling() or is_traced():
            return False
        if self.bias is None or self.groups != 1 or any(self.output_padding):
            return False
        return (
            input.device.type == "cpu"
            and input.dim() == 4
            and input.is_contiguous(memory_format=torch.channels_last)
        )


class _TransposedConvolution(torch.autograd.Function):
    """Image and weight have one dtype; the bias may have any."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, *geometry: tuple[int, ...]
    ) -> Tensor:
        """The convolution; `geometry` is stride, padding and dilation."""
        ctx.save_for_backward(image, weight)
        ctx.geometry = geometry
        stride, padding, dilation = geometry
        return F.conv_transpose2d(
            image, weight, bias.to(weight.dtype), stride, padding, dilation=dilation
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by image, weight and bias."""
        image, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        by_image, by_weight, _ = torch.ops.aten.convolution_backward(
            *(grad, image, weight, None, *ctx.geometry),
            *(True, [0, 0], 1, [*ctx.needs_input_grad[:2], False]),
        )
        by_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return by_image, by_weight, by_bias, None, None, None
