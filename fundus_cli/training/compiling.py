"""torch.compile for the steps of training, and what happens where it does not work."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fundus_cli.runtime.device import autocast

Outputs = Tensor | tuple[Tensor, ...]
Forward = Callable[[Tensor], Outputs]
"""A network's images (N, C, H, W) to its logits; a cascade has several."""


def compiled(
    model: nn.Module,
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
    print_line: Callable[[str], object],
) -> Forward:
    """The network compiled for batches of one shape; the network itself where that fails.

    A compiler can fail in many ways (none installed, no such GPU, no room on the disk), mostly at
    its first batch. So one batch of zeros goes forward and backward here, and leaves no trace. On
    a GPU the compiled step is recorded and replayed as a CUDA graph. Batches of another shape,
    such as the smaller last one of an epoch, pass the network as it is.

    Args:
        model: in training mode, on the device.
        shape: (N, C, H, W) of the batches.
        device: where they lie.
        dtype: number format of the products.
        say: gets a line where it fails.
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
            "training goes on without"
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
