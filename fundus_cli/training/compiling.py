"""Compile the network with torch.compile, with a fallback where that fails."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fundus_cli.runtime.device import autocast

Outputs = Tensor | tuple[Tensor, ...]
Forward = Callable[[Tensor], Outputs]
"""From images (N, C, H, W) to logits; a cascade returns several."""


def compiled(
    model: nn.Module,
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
    print_line: Callable[[str], object],
) -> Forward:
    """The network compiled for batches of one shape; the network itself where that fails.

    A compiler can fail in many ways (not installed, unsupported GPU, full disk), mostly at the
    first batch, so a batch of zeros is passed forward and backward here, without side effects. On
    a GPU the compiled step is recorded and replayed as a CUDA graph. Batches of another shape,
    such as the smaller last one of an epoch, use the uncompiled network.

    Args:
        model: in training mode, on the device.
        shape: (N, C, H, W) of the batches.
        device: of the batches.
        dtype: precision of the products.
        print_line: called with one line if compiling fails.
    """
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    fast = torch.compile(model, dynamic=False, mode=mode)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    image = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    try:
        with autocast(device, dtype):
            outputs = fast(image)
        every = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.stack([logits.float().mean() for logits in every]).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        print_line(
            f"compile=true: not possible on this machine ({type(error).__name__}: {reason[:200]}); "
            "training continues without it"
        )
        return model
    finally:
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])

    def forward(image: Tensor) -> Outputs:
        if tuple(image.shape) != shape:
            return model(image)  # type: ignore[no-any-return]
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return fast(image)  # type: ignore[no-any-return]

    return forward
