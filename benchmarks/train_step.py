"""One training step, ours beside the textbook's, interleaved in one run.

    python benchmarks/train_step.py [--base-channels 64] [--size 256] [--batch 4] [--repeats 5]
                                    [--device cpu|cuda] [--compile]

The textbook's: float32, contiguous, BCELoss on the sigmoid, plain Adam, the loss read after each
step. Ours: `Learner`, as the loop has it. Each lives in a process of its own, because how memory is
kept is a setting of a process; they take turns, one step at a time on a processor and twenty on a
GPU, which is waited for at the end of a turn only. Prints the median seconds, images per second,
the ratio, the peak memory of each, the share of the matrix rate (floating point operations of the
convolutions by PyTorch's own count, against a product of square matrices in the same number
format), and JSON.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fundus_cli.config import Precision, TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.batches import Batch
from fundus_cli.model.unet import UNet
from fundus_cli.runtime.device import choose_precision
from fundus_cli.runtime.memory import keep_freed_memory
from fundus_cli.training.learner import Learner

WARM_UP = 5
"""Turns of each kind that are not counted: the heap of a new process is still growing."""
STEPS_PER_TURN = {"cpu": 1, "cuda": 20}
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
Turn = Callable[[], float]
"""Takes the steps of a turn; returns the last one's loss."""


def config_of(options: argparse.Namespace) -> TrainConfig:
    """The defaults of fundus-train with the network, batch and device of the command."""
    words = (
        *("model=unet", "model.depth=4", f"model.base_channels={options.base_channels}"),
        *("optimizer=adam", "loss=bce", "ema_decay=0", "model.prior_bias=false"),
        *(f"batch_size={options.batch}", f"data.patch_px={options.size}"),
        *(f"device={options.device}", f"compile={str(options.compile).lower()}"),
    )
    return compose_config("train", words)


def synthetic(options: argparse.Namespace) -> Batch:
    """Noise, and a tenth of the pixels to find."""
    random = torch.Generator().manual_seed(0)
    shape = (options.batch, 1, options.size, options.size)
    image = torch.rand(options.batch, 3, options.size, options.size, generator=random)
    target = (torch.rand(shape, generator=random) < 0.1).float()
    tensors = (image, target, torch.ones(shape, dtype=torch.bool))
    image, target, inside = (tensor.to(options.device) for tensor in tensors)
    return Batch(image, target, inside, ("noise",) * options.batch)


def plain(options: argparse.Namespace) -> Turn:
    """Steps as tutorials write them."""
    batch = synthetic(options)
    torch.manual_seed(config_of(options).seed)
    model = UNet(3, 1, options.base_channels, 4).to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=False)
    criterion = nn.BCELoss()

    def turn() -> float:
        loss = 0.0
        for _ in range(STEPS_PER_TURN[options.device]):
            optimizer.zero_grad()
            error = criterion(torch.sigmoid(model(batch.image)), batch.target)
            error.backward()
            optimizer.step()
            loss = error.item()
        return loss

    return turn


def ours(options: argparse.Namespace) -> Turn:
    """Steps as training/loop.py takes them."""
    keep_freed_memory()
    batch = synthetic(options)
    learner = Learner(
        config_of(options), np.array([0.1]), 10**6, torch.device(options.device), print_aside
    )

    def turn() -> float:
        for number in range(STEPS_PER_TURN[options.device]):
            learner.step(batch, 0, number)
        return learner.flush()[-1][0]

    return turn


def print_aside(line: str) -> None:
    """Where answers do not go."""
    print(line, file=sys.stderr, flush=True)


def flops_per_step(options: argparse.Namespace) -> int:
    """Forward and backward, by PyTorch's count of convolutions and matrix products."""
    model = UNet(3, 1, options.base_channels, 4)
    counter = FlopCounterMode(display=False)
    with counter:
        image = torch.rand(1, 3, options.size, options.size)
        model(image).sum().backward()
    return int(counter.get_total_flops()) * options.batch


def matrix_rate(options: argparse.Namespace) -> dict[str, float]:
    """Operations per second of square products, the best of several, by number format."""
    side = MATRIX_SIDE[options.device]
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        factor = torch.rand(side, side, device=options.device).to(dtype)
        seconds = []
        for _ in range(6):
            waited_for(options)
            started = time.perf_counter()
            factor @ factor
            waited_for(options)
            seconds.append(time.perf_counter() - started)
        rates[str(dtype).removeprefix("torch.")] = 2 * side**3 / min(seconds)
    return rates


def waited_for(options: argparse.Namespace) -> None:
    """Let the GPU catch up."""
    if options.device == "cuda":
        torch.cuda.synchronize()


KINDS = {"plain": plain, "ours": ours}


def serve(kind: str, options: argparse.Namespace) -> None:
    """Take a turn for every line that comes in; answer with seconds per step, loss, megabytes."""
    turn = KINDS[kind](options)
    for _ in sys.stdin:
        waited_for(options)
        started = time.perf_counter()
        loss = turn()
        waited_for(options)
        seconds = (time.perf_counter() - started) / STEPS_PER_TURN[options.device]
        print(seconds, loss, peak_mb(options), flush=True)


def peak_mb(options: argparse.Namespace) -> float:
    """The most memory that this process held, of the GPU where it computes there."""
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Stepper:
    """A process that takes a turn of one kind of step when asked to."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, *sys.argv, f"--serve={kind}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> tuple[float, float, float]:
        """Seconds per step, the last loss and the peak memory in megabytes."""
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
    parser.add_argument("--device", choices=STEPS_PER_TURN, default="cpu")
    parser.add_argument("--compile", action="store_true", help="ours with compile=true")
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
    peaks: dict[str, float] = {}
    for _ in range(options.repeats):
        for kind, stepper in steppers.items():
            taken, _, peaks[kind] = stepper.step()
            seconds[kind].append(taken)
    for stepper in steppers.values():
        stepper.end()
    median = {kind: statistics.median(times) for kind, times in seconds.items()}
    ratios = [p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True)]
    flops, rates = flops_per_step(options), matrix_rate(options)
    precision = str(choose_precision(Precision.auto, torch.device(options.device)))
    precision = precision.removeprefix("torch.")
    share = flops / median["ours"] / rates[precision]
    result = {
        "base_channels": options.base_channels,
        "size_px": options.size,
        "batch_size": options.batch,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "compile": options.compile,
        "precision": precision,
        "flops_per_step": flops,
        "matrix_flops_per_s": rates,
        "share_of_matrix_rate": share,
        "seconds": median,
        "images_per_s": {kind: options.batch / s for kind, s in median.items()},
        "first_loss": losses,
        "peak_mb": peaks,
        "ratio": {
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        },
    }
    for kind in KINDS:
        print(
            f"{kind:6} {median[kind]:8.3f} s/step {options.batch / median[kind]:8.2f} images/s "
            f"{peaks[kind]:8.0f} MB  first loss {losses[kind]:.6f}"
        )
    ratio = statistics.median(ratios)
    print(f"ratio  {ratio:8.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    print(
        f"rate   {flops / median['ours'] / 1e9:8.0f} GFLOP/s, {share:.0%} of a matrix product's "
        f"{rates[precision] / 1e9:.0f} in {precision} ({rates['float32'] / 1e9:.0f} in float32)"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
