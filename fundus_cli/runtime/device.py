"""Choose the device and the precision that the machine supports."""

import contextlib
from collections.abc import Iterator

import torch

from fundus_cli.config import Device, Precision
from fundus_cli.errors import ConfigError


def choose_device(device: Device) -> torch.device:
    """The torch device for a config's choice.

    Raises:
        ConfigError: this machine has no such device.
    """
    available = {
        Device.cpu: True,
        Device.cuda: torch.cuda.is_available(),
        Device.mps: torch.backends.mps.is_available(),
    }
    if device is Device.auto:
        preferred = (Device.cuda, Device.mps, Device.cpu)
        return torch.device(next(d.value for d in preferred if available[d]))
    if not available[device]:
        have = ", ".join(d.value for d, there in available.items() if there)
        raise ConfigError(f"device={device.value}: not available on this machine, which has {have}")
    return torch.device(device.value)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 products natively rather than by emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # There is no public function for this; where it is missing, float32 is safe.
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe and probe())
    return False


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """float32 or bfloat16; auto takes bfloat16 where it is fast."""
    if precision is Precision.auto:
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision is Precision.bfloat16 else torch.float32


def repeatable(device: torch.device) -> None:
    """On a GPU, choose deterministic convolutions, so that a seed always gives the same bits."""
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Compute in `dtype` where that is safe; a no-op for float32."""
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
        yield
