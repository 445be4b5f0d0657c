"""One training step, ours beside the textbook's, interleaved in one run.

    python benchmarks/train_step.py [--base-channels 64] [--size 256] [--batch 4] [--repeats 5]

The textbook's: float32, contiguous, BCELoss on the sigmoid, plain Adam. Ours: what the loop does on
this machine (channels_last, fused Adam, bfloat16 where the processor has it). Prints the median
seconds, images per second, the ratio, the peak memory of each in a process of its own, and JSON.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from fundus_cli.config import LossConfig, LossName, OptimizerConfig, OptimizerName, Precision
from fundus_cli.model.unet import UNet
from fundus_cli.runtime import autocast, choose_precision
from fundus_cli.training.loop import gradient_norm
from fundus_cli.training.loss import build_loss
from fundus_cli.training.optimizer import build_optimizer

CPU = torch.device("cpu")


def plain(model: nn.Module, image: torch.Tensor, target: torch.Tensor) -> Callable[[], float]:
    """A step as tutorials write it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=False)
    criterion = nn.BCELoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = criterion(torch.sigmoid(model(image)), target)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def ours(model: nn.Module, image: torch.Tensor, target: torch.Tensor) -> Callable[[], float]:
    """A step as training/loop.py takes it."""
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = image.contiguous(memory_format=torch.channels_last)
    config = OptimizerConfig(name=OptimizerName.adam, lr=1e-3, weight_decay=0.0)
    optimizer = build_optimizer(model.parameters(), config, CPU)
    loss_of = build_loss(LossConfig(name=LossName.bce))
    fov_mask = torch.ones_like(target, dtype=torch.bool)
    dtype = choose_precision(Precision.auto, CPU)

    def step() -> float:
        with autocast(CPU, dtype):
            logits = model(image)
        loss = loss_of(logits, target, fov_mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm(model)
        optimizer.step()
        return float(loss.detach())

    return step


KINDS = {"plain": plain, "ours": ours}


def build(kind: str, options: argparse.Namespace) -> Callable[[], float]:
    """A step of one kind on the same weights and the same batch."""
    torch.manual_seed(0)
    model = UNet(3, 1, options.base_channels, 4)
    image = torch.rand(options.batch, 3, options.size, options.size)
    target = (torch.rand(options.batch, 1, options.size, options.size) < 0.1).float()
    return KINDS[kind](model, image, target)


def peak_megabytes(kind: str, options: argparse.Namespace) -> float:
    """Peak memory of two steps in a process of its own."""
    arguments = [f"--base-channels={options.base_channels}", f"--size={options.size}"]
    command = [sys.executable, __file__, *arguments, f"--batch={options.batch}", f"--memory={kind}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        step = build(options.memory, options)
        step(), step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    steps = {kind: build(kind, options) for kind in KINDS}
    losses = {kind: step() for kind, step in steps.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.repeats):
        for kind, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[kind].append(time.perf_counter() - started)
    median = {kind: statistics.median(times) for kind, times in seconds.items()}
    ratios = [p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True)]
    result = {
        "base_channels": options.base_channels,
        "size_px": options.size,
        "batch_size": options.batch,
        "threads": torch.get_num_threads(),
        "precision": str(choose_precision(Precision.auto, CPU)).removeprefix("torch."),
        "seconds": median,
        "images_per_s": {kind: options.batch / s for kind, s in median.items()},
        "first_loss": losses,
        "peak_mb": {kind: peak_megabytes(kind, options) for kind in KINDS},
        "ratio": {
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        },
    }
    for kind in KINDS:
        print(
            f"{kind:6} {median[kind]:8.3f} s/step {options.batch / median[kind]:8.2f} images/s "
            f"{result['peak_mb'][kind]:8.0f} MB  first loss {losses[kind]:.6f}"  # type: ignore[index]
        )
    ratio = statistics.median(ratios)
    print(f"ratio  {ratio:8.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
