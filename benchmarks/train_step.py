"""One training step, ours beside the textbook's, interleaved in one run.

    python benchmarks/train_step.py [--base-channels 64] [--size 256] [--batch 4] [--repeats 5]

The textbook's: float32, contiguous, BCELoss on the sigmoid, plain Adam. Ours: what the loop does on
this machine (channels_last, own batch norm, fused Adam, bfloat16 where the processor has it, freed
memory kept). Each lives in a process of its own, because how memory is kept is a setting of a
process; they take turns, step by step. Prints the median seconds, images per second, the ratio, the
peak memory of each, and JSON.
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
from fundus_cli.memory import keep_freed_memory
from fundus_cli.model.unet import UNet
from fundus_cli.runtime import autocast, choose_precision
from fundus_cli.training.learner import gradient_norm
from fundus_cli.training.loss import build_loss
from fundus_cli.training.optimizer import build_optimizer

CPU = torch.device("cpu")
WARM_UP = 5
"""Steps of each kind that are not counted: the heap of a new process is still growing."""


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
    """A step as training/learner.py takes it."""
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
        float(gradient_norm(model))
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


def serve(kind: str, options: argparse.Namespace) -> None:
    """Take a step for every line that comes in; answer with seconds, loss and megabytes."""
    if kind == "ours":
        keep_freed_memory()
    step = build(kind, options)
    for _ in sys.stdin:
        started = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - started
        print(seconds, loss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


class Stepper:
    """A process that takes one kind of step when asked to."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, *sys.argv, f"--serve={kind}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> tuple[float, float, float]:
        """Seconds, loss and the process's peak memory in megabytes."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        seconds, loss, megabytes = map(float, self.process.stdout.readline().split())
        return seconds, loss, megabytes

    def end(self) -> None:
        """Let the process end."""
        self.process.communicate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options)
        return
    steppers = {kind: Stepper(kind) for kind in KINDS}
    losses = {kind: stepper.step()[1] for kind, stepper in steppers.items()}
    for _ in range(WARM_UP):
        for stepper in steppers.values():
            stepper.step()
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    peak_mb: dict[str, float] = {}
    for _ in range(options.repeats):
        for kind, stepper in steppers.items():
            taken, _, peak_mb[kind] = stepper.step()
            seconds[kind].append(taken)
    for stepper in steppers.values():
        stepper.end()
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
        "peak_mb": peak_mb,
        "ratio": {
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        },
    }
    for kind in KINDS:
        print(
            f"{kind:6} {median[kind]:8.3f} s/step {options.batch / median[kind]:8.2f} images/s "
            f"{peak_mb[kind]:8.0f} MB  first loss {losses[kind]:.6f}"
        )
    ratio = statistics.median(ratios)
    print(f"ratio  {ratio:8.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
