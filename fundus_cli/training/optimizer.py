"""Build the optimizer, and compute the learning rate as a pure function of the step."""

import inspect
import math
from collections.abc import Iterable
from typing import TypeVar, cast

import torch
from torch import nn

from fundus_cli.config import OptimizerConfig, OptimizerName, SchedulerConfig, SchedulerName
from fundus_cli.training.muon import Muon

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

FUSED_DEVICES = ("cpu", "cuda", "mps")
"""Devices on which PyTorch updates all parameters in one pass; 3 times faster for Adam on a CPU."""


COMPILER_FREE = ("add_param_group", "load_state_dict", "state_dict", "zero_grad", "step")
"""Methods that PyTorch wraps for torch.compile; calling them imports the compiler, in 1.5 s."""


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Adam, AdamW, Muon or SGD with momentum over `parameters`, which lie on `device`.

    Weight decay is an L2 penalty on every parameter with adam and sgd. With adamw and muon it is
    decoupled (Loshchilov and Hutter 2019) and spares what has fewer than two dimensions: biases,
    and the scales and shifts of norms.
    """
    # None, not False, elsewhere: PyTorch then picks the fastest way that the device has.
    fused = True if device.type in FUSED_DEVICES else None
    lr, weight_decay = config.lr, config.weight_decay
    every = list(parameters)
    match config.name:
        case OptimizerName.adam:
            return _plain(torch.optim.Adam)(every, lr=lr, weight_decay=weight_decay, fused=fused)
        case OptimizerName.adamw:
            decayed = [parameter for parameter in every if parameter.ndim >= 2]
            spared = [parameter for parameter in every if parameter.ndim < 2]
            groups = [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": spared, "weight_decay": 0.0},
            ]
            return _plain(torch.optim.AdamW)(groups, lr=lr, fused=fused)
        case OptimizerName.muon:
            return _plain(Muon)(every, lr=lr, weight_decay=weight_decay, momentum=config.momentum)
        case OptimizerName.sgd:
            return _plain(torch.optim.SGD)(
                every, lr=lr, momentum=config.momentum, weight_decay=weight_decay, fused=fused
            )


def _plain(kind: type[Kind]) -> type[Kind]:
    """A subclass with the same results and state whose methods do not import the compiler.

    inspect.unwrap finds the original methods; where a version of PyTorch wraps none, they are the
    same.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in COMPILER_FREE}
    # The removed wrapper of `step` also disabled gradients.
    methods["step"] = torch.no_grad()(methods["step"])
    return cast(type[Kind], type(kind.__name__, (kind,), methods))


def lr_at(config: SchedulerConfig, peak_lr: float, step: int, total_steps: int) -> float:
    """Learning rate of one step; nothing is remembered, so a run resumes anywhere.

    constant: `peak_lr` throughout. cosine: with W = warmup_fraction * total_steps, (step + 1) / W
    of the peak until that reaches 1, then half a cosine down to final_fraction of the peak at the
    last step (Loshchilov and Hutter 2017, without restarts). onecycle: half a cosine up from a
    25th of the peak over the same W steps, then half a cosine down as above (Smith and Topin
    2018, in the form of PyTorch's OneCycleLR). A run of a single step takes it at the peak; steps
    past the last keep the last one's rate.

    Args:
        config: the schedule.
        peak_lr: the highest learning rate.
        step: 0 to total_steps - 1.
        total_steps: steps of the whole run, 1 or more.
    """
    if config.name is SchedulerName.constant:
        return peak_lr
    last = total_steps - 1
    top = max(config.warmup_fraction * total_steps - 1, 0.0)
    if step < top:
        if config.name is SchedulerName.onecycle:
            return half_cosine(peak_lr / 25, peak_lr, step / top)
        return peak_lr * (step + 1) / (top + 1)
    if last <= top:
        return peak_lr
    progress = min((step - top) / (last - top), 1.0)
    return half_cosine(peak_lr, config.final_fraction * peak_lr, progress)


def half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` at progress 0 to `end` at progress 1, level at both."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr
