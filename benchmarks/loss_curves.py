"""Loss curves of the fast path beside those of the plain one, on the same batches.

    python benchmarks/loss_curves.py [--steps 150] [--seeds 3] data=chasedb1 data.root=... [...]

The words are those of fundus-train; patches are of 128 px unless they say otherwise. Fast: what the
loop does on this machine (channels_last, bfloat16 where the processor has it, our batch norm,
fused optimizer). Plain: float32, contiguous, nn.BatchNorm2d, one update after the other. For each
seed both start from the same weights and see the same augmented patches in the same order. Prints
the loss over the course of training, the mean and standard deviation over seeds of its last
quarter, and JSON; exits with 1 when fast is worse by more than two standard errors and 1 %.
"""

import argparse
import json
import math
import statistics
import time

import numpy as np
import torch
from torch import Tensor, nn

from fundus_cli.config import Precision, TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.batches import Batch, TrainingSampler
from fundus_cli.data.dataset import load_dataset
from fundus_cli.model.batch_norm import BatchNorm2d
from fundus_cli.model.build import build_model
from fundus_cli.runtime.device import autocast, choose_precision
from fundus_cli.training.losses import build_loss
from fundus_cli.training.optimizer import build_optimizer, lr_at, set_lr

CPU = torch.device("cpu")
KINDS = ("fast", "plain")
DEFAULTS = ("data.patch_px=128", "data.test=null")
NUM_SHOWN = 5


def with_plain_norms(model: nn.Module) -> nn.Module:
    """Every norm replaced by PyTorch's own, with the same weights."""
    for parent in list(model.modules()):
        for name, own in list(parent.named_children()):
            if isinstance(own, BatchNorm2d):
                plain = nn.BatchNorm2d(own.num_features)
                plain.load_state_dict(own.state_dict())
                setattr(parent, name, plain)
    return model


class Path:
    """One network on its way."""

    def __init__(self, kind: str, config: TrainConfig, num_steps: int) -> None:
        self.config, self.num_steps = config, num_steps
        self.losses: list[float] = []
        self.seconds = 0.0
        model: nn.Module = build_model(config)
        self.loss_of = build_loss(config.loss)
        fast = kind == "fast"
        self.dtype = choose_precision(Precision.auto, CPU) if fast else torch.float32
        self.format = torch.channels_last if fast else torch.contiguous_format
        self.model = model if fast else with_plain_norms(model)
        self.model = self.model.to(memory_format=self.format).train()  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.model.parameters(), config.optimizer, CPU)
        if not fast:
            for group in self.optimizer.param_groups:
                group["fused"], group["foreach"] = None, False

    def step(self, batch: Batch) -> None:
        """One update."""
        started = time.perf_counter()
        rate = self.config.optimizer.lr
        set_lr(self.optimizer, lr_at(self.config.scheduler, rate, len(self.losses), self.num_steps))
        with autocast(CPU, self.dtype):
            outputs = self.model(batch.image.contiguous(memory_format=self.format))
        every: tuple[Tensor, ...] = outputs if isinstance(outputs, tuple) else (outputs,)
        losses = [self.loss_of(logits, batch.target, batch.fov_mask) for logits in every]
        loss = torch.stack(losses).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.losses.append(float(loss.detach()))
        self.seconds += time.perf_counter() - started


def curves(words: list[str], seed: int, num_steps: int) -> dict[str, Path]:
    """Both paths of one seed."""
    keys = {word.partition("=")[0] for word in words}
    given = (*(d for d in DEFAULTS if d.partition("=")[0] not in keys), *words, f"seed={seed}")
    config = compose_config("train", given)
    train = load_dataset(config.data, splits=("train",)).samples["train"]
    sampler = TrainingSampler(train, config.data, config.augment, config.seed, CPU)
    paths = {kind: Path(kind, config, num_steps) for kind in KINDS}
    per_epoch = len(sampler) // config.batch_size
    for step in range(num_steps):
        epoch, number = divmod(step, per_epoch)
        start = number * config.batch_size
        batch = sampler.batch(epoch, sampler.order(epoch)[start : start + config.batch_size])
        for path in paths.values():
            path.step(batch)
    return paths


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("words", nargs="*", help="as for fundus-train")
    options = parser.parse_args()
    runs = [curves(options.words, seed, options.steps) for seed in range(options.seeds)]
    result: dict[str, object] = {"words": options.words, "steps": options.steps}
    ends: dict[str, list[float]] = {}
    for kind in KINDS:
        losses = np.array([run[kind].losses for run in runs])
        course = [part.mean() for part in np.array_split(losses.mean(axis=0), NUM_SHOWN)]
        ends[kind] = losses[:, -max(1, options.steps // 4) :].mean(axis=1).tolist()
        seconds = sum(run[kind].seconds for run in runs)
        deviation = statistics.stdev(ends[kind]) if options.seeds > 1 else 0.0
        print(
            f"{kind:6} loss {' '.join(f'{value:.4f}' for value in course)}  end "
            f"{statistics.mean(ends[kind]):.4f} +- {deviation:.4f}"
            f" over {options.seeds} seeds  {seconds:.0f} s"
        )
        result[kind] = {"course": [float(c) for c in course], "end": ends[kind], "seconds": seconds}
    differences = [f - p for f, p in zip(*(ends[kind] for kind in KINDS), strict=True)]
    mean = statistics.mean(differences)
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    bound = 2 * spread / math.sqrt(len(differences)) + 0.01 * statistics.mean(ends["plain"])
    no_worse = mean <= bound
    print(
        f"fast - plain {mean:+.5f} (no worse: at most {bound:.5f}): {'yes' if no_worse else 'NO'}"
    )
    print(json.dumps({**result, "difference": mean, "bound": bound, "no_worse": no_worse}))
    raise SystemExit(not no_worse)


if __name__ == "__main__":
    main()
