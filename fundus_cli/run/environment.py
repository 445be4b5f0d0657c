"""Record the versions and the hardware of a run."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from fundus_cli import __version__

if TYPE_CHECKING:
    import torch


def describe(device: "torch.device", precision: str, arguments: Sequence[str]) -> dict[str, object]:
    """Versions, CPU, threads and device; no environment variables and no user names."""
    # Here, so that a program can check its config and files before torch is imported.
    import torch

    packages = ("torch", "torchvision", "numpy", "pillow", "hydra-core", "omegaconf")
    return {
        "fundus_cli": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "precision": precision,
        "arguments": list(arguments),
    }


BITS_DEPEND_ON = (
    *("fundus_cli", "packages.torch", "packages.numpy", "packages.pillow"),
    *("system", "processor", "cpu_capability", "threads", "device", "gpu", "precision"),
)
"""What two runs must share for bit-identical results; cores matter only through threads."""


def changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """A warning for each difference between two descriptions that may change the last bits."""
    return [
        f"warning: {key} was {_at(before, key)} and is {_at(now, key)}; from here on the last "
        "bits may differ from those of an uninterrupted run"
        for key in BITS_DEPEND_ON
        if _at(before, key) != _at(now, key)
    ]


def _at(description: Mapping[str, object], key: str) -> object:
    value: object = description
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _commit() -> str | None:
    """The commit of the checkout that this package runs from; None for an installed package."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
