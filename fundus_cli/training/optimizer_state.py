"""Load the optimizer's state from a checkpoint, after comparing it with what it should be."""

import copy
import math
from typing import Any

import torch
from torch import Tensor

from fundus_cli.errors import DataError
from fundus_cli.run.checkpoint import Checkpoint


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Checkpoint) -> None:
    """Load the optimizer's state from a checkpoint.

    Weight decay and momentum stay those of `optimizer`, which come from the config. The stored
    learning rate is that of the last step, which the log of an epoch without a further step needs;
    every step sets its own. An optimizer from Python, which may keep counters beside them, gets
    all that was stored.

    Raises:
        DataError: the state belongs to another optimizer or network.
    """
    state = saved.optimizer
    try:
        if "optimizer" not in saved.custom:
            own = optimizer.state_dict()["param_groups"]
            if [g.get("params") for g in state["param_groups"]] != [g["params"] for g in own]:
                raise ValueError("it has other groups of weights")
            _check_state(optimizer, state["state"])
            groups = [
                {**group, "lr": _learning_rate(stored)}
                for group, stored in zip(own, state["param_groups"], strict=True)
            ]
            state = {"state": state["state"], "param_groups": groups}
        optimizer.load_state_dict(state)
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"{saved.path}: the optimizer's state does not fit ({reason})") from error


def _learning_rate(group: dict[str, Any]) -> float:
    value = group["lr"]
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError("lr is not a learning rate")
    return float(value)


def _check_state(optimizer: torch.optim.Optimizer, state: dict[Any, Any]) -> None:
    """Compare the state of every weight with that of a copy which has taken one step.

    Raises:
        ValueError: a name, a shape or a type differs, or a number is not finite.
    """
    probe = copy.deepcopy(optimizer)
    weights = [weight for group in probe.param_groups for weight in group["params"]]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    probe.step()
    if not set(state) <= set(range(len(weights))):
        raise ValueError("it has other weights")
    for index, weight in enumerate(weights):
        # Without a state yet, as before the first step.
        if own := state.get(index):
            _check_own_state(own, probe.state[weight], weight)


def _check_own_state(own: dict[Any, Any], expected: dict[str, Any], weight: Tensor) -> None:
    for name in sorted({*own, *expected}, key=str):
        found = own.get(name)
        like = expected.get(name)
        if found is None and like is None:
            continue
        shape = weight.shape if like is None else like.shape
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape != shape:
            raise ValueError(f"{name} is not a tensor of shape {tuple(shape)}")
        if not torch.isfinite(found).all() or (not shape and found < 0):
            raise ValueError(f"{name} holds numbers that are out of range")
