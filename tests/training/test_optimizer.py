"""The optimizer against torch.optim, and the schedules at steps reckoned by hand."""

import copy
import math

import pytest
import torch
from torch import nn

from fundus_cli.config import OptimizerConfig, OptimizerName, SchedulerConfig, SchedulerName
from fundus_cli.training.optimizer import build_optimizer, lr_at, set_lr

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    # The norm comes first: a bias before it would have no gradient but rounding.
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 1, 1))


def weights_after(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> list:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.rand(4, 2, 6, 6, generator=generator)).square().mean().backward()
        optimizer.step()
    return [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (
            OptimizerConfig(name=OptimizerName.adam, lr=1e-2, weight_decay=0.0),
            lambda p: torch.optim.Adam(p, lr=1e-2, foreach=False),
        ),
        (
            OptimizerConfig(name=OptimizerName.adam, lr=1e-2, weight_decay=0.1),
            lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1, foreach=False),
        ),
        (
            OptimizerConfig(name=OptimizerName.adamw, lr=1e-2, weight_decay=0.0),
            lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.0, foreach=False),
        ),
        (
            OptimizerConfig(name=OptimizerName.sgd, lr=0.1, weight_decay=0.01, momentum=0.9),
            lambda p: torch.optim.SGD(
                p, lr=0.1, weight_decay=0.01, momentum=0.9, nesterov=False, foreach=False
            ),
        ),
    ],
)
def test_update_equals_torch(config: OptimizerConfig, reference) -> None:
    net, twin = network(), network()
    ours = weights_after(net, build_optimizer(net.parameters(), config, CPU))
    theirs = weights_after(twin, reference(twin.parameters()))
    assert not torch.equal(ours[0], network()[0].weight)
    for ours_one, theirs_one in zip(ours, theirs, strict=True):
        torch.testing.assert_close(ours_one, theirs_one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in OptimizerName if name.value != "muon"])
def test_state_is_torchs_and_goes_both_ways(name: OptimizerName) -> None:
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    config = OptimizerConfig(name=name, lr=1e-2, weight_decay=0.0, momentum=0.9)
    net, twin = network(), network()
    ours = build_optimizer(net.parameters(), config, CPU)
    assert isinstance(ours, kinds[name.value])
    twin_of = dict(zip(net.parameters(), twin.parameters(), strict=True))
    groups = [{**g, "params": [twin_of[p] for p in g["params"]]} for g in ours.param_groups]
    theirs = kinds[name.value](groups, lr=1e-2)
    weights_after(net, ours)
    weights_after(twin, theirs)
    one, other = ours.state_dict(), theirs.state_dict()
    assert one["param_groups"] == other["param_groups"]
    assert len(one["state"]) == 6
    torch.testing.assert_close(one["state"], other["state"], rtol=0, atol=0)
    again = build_optimizer(net.parameters(), config, CPU)
    again.load_state_dict(copy.deepcopy(other))
    pairs = zip(weights_after(net, again), weights_after(twin, theirs), strict=True)
    assert all(torch.equal(parameter, further) for parameter, further in pairs)


def test_a_step_follows_no_gradient_and_leaves_gradients_on() -> None:
    net = network()
    config = OptimizerConfig(name=OptimizerName.adam, lr=1e-2, weight_decay=0.0)
    optimizer = build_optimizer(net.parameters(), config, CPU)
    weights_after(net, optimizer, steps=2)
    assert torch.is_grad_enabled()
    for parameter in net.parameters():
        assert parameter.requires_grad
        assert parameter.is_leaf
    moments = [value for state in optimizer.state.values() for value in state.values()]
    assert len(moments) == 18
    assert not any(value.requires_grad for value in moments)


def test_first_adam_step_by_hand() -> None:
    # Bias-corrected moments of one gradient g are g and g*g, so the step is lr * sign(g).
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    config = OptimizerConfig(name=OptimizerName.adam, lr=0.125, weight_decay=0.0)
    parameter.grad = torch.tensor([3.0, -0.5])
    build_optimizer([parameter], config, CPU).step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.875, 2.125]))


def test_adamw_decays_weights_but_not_biases_and_norms() -> None:
    net = network()
    config = OptimizerConfig(name=OptimizerName.adamw, lr=0.5, weight_decay=0.25)
    optimizer = build_optimizer(net.parameters(), config, CPU)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = {"1.weight", "3.weight"}
    for name, value in net.named_parameters():
        factor = 1 - 0.5 * 0.25 if name in shrunk else 1.0
        torch.testing.assert_close(value.detach(), factor * before[name])
    assert set(before) - shrunk == {"0.weight", "0.bias", "1.bias", "3.bias"}


def test_fused_on_the_cpu_and_pytorchs_choice_elsewhere() -> None:
    config = OptimizerConfig(name=OptimizerName.sgd, lr=0.1, weight_decay=0.0)
    net = network()
    assert build_optimizer(net.parameters(), config, CPU).defaults["fused"] is True
    other = build_optimizer(net.parameters(), config, torch.device("meta"))
    assert other.defaults["fused"] is None


@pytest.mark.parametrize("name", list(OptimizerName))
def test_state_moves_to_a_new_optimizer(name: OptimizerName) -> None:
    config = OptimizerConfig(name=name, lr=1e-2, weight_decay=0.1, momentum=0.9)
    net, twin = network(), network()
    optimizer = build_optimizer(net.parameters(), config, CPU)
    weights_after(net, optimizer, 3)
    resumed = build_optimizer(twin.parameters(), config, CPU)
    twin.load_state_dict(net.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, other in zip(
        weights_after(net, optimizer, 3), weights_after(twin, resumed, 3), strict=True
    ):
        assert torch.equal(one, other)


def test_set_lr_reaches_every_group() -> None:
    config = OptimizerConfig(name=OptimizerName.adamw, lr=0.1, weight_decay=0.1)
    optimizer = build_optimizer(network().parameters(), config, CPU)
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def schedule(name: str, warmup: float = 0.0, final: float = 0.0) -> SchedulerConfig:
    return SchedulerConfig(name=SchedulerName(name), warmup_fraction=warmup, final_fraction=final)


@pytest.mark.parametrize(
    ("config", "total_steps", "expected"),
    [
        (schedule("constant"), 9, {0: 2.0, 4: 2.0, 8: 2.0}),
        # No warm-up: the peak, half of it, nothing.
        (schedule("cosine"), 9, {0: 2.0, 4: 1.0, 8: 0.0}),
        (schedule("cosine", final=0.1), 9, {0: 2.0, 4: 1.1, 8: 0.2}),
        # 4 of 20 steps rise to the peak at step 3; 16 fall, half way at step 11.
        (
            schedule("cosine", 0.2, 0.5),
            20,
            {0: 0.5, 1: 1.0, 2: 1.5, 3: 2.0, 11: 1.5, 19: 1.0},
        ),
        # A quarter of the fall of half a cosine is (1 + cos 45 deg) / 2.
        (schedule("cosine"), 5, {1: 1 + math.sqrt(0.5), 3: 1 - math.sqrt(0.5)}),
        # Up from 2/25 over 5 of 10 steps, half way up at step 2.
        (schedule("onecycle", 0.5, 0.01), 10, {0: 0.08, 2: 1.04, 4: 2.0, 9: 0.02}),
        (schedule("onecycle", 0.0, 0.5), 3, {0: 2.0, 1: 1.5, 2: 1.0}),
    ],
)
def test_schedule_by_hand(
    config: SchedulerConfig, total_steps: int, expected: dict[int, float]
) -> None:
    for step, lr in expected.items():
        assert lr_at(config, 2.0, step, total_steps) == pytest.approx(lr, abs=1e-12), step


@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.99])
def test_every_length_stays_between_zero_and_the_peak(name: str, warmup: float) -> None:
    config = schedule(name, warmup, 0.01)
    assert lr_at(config, 0.5, 0, 1) == 0.5
    for total_steps in range(1, 12):
        rates = [lr_at(config, 0.5, step, total_steps) for step in range(total_steps)]
        assert all(0 < lr <= 0.5 for lr in rates)
        # A warm-up that ends between two steps leaves its highest rate a little below the peak.
        turn = rates.index(max(rates))
        assert rates == sorted(rates[:turn]) + sorted(rates[turn:], reverse=True)
        assert lr_at(config, 0.5, total_steps + 3, total_steps) == rates[-1]


def test_onecycle_equals_pytorchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.3, total_steps=37, pct_start=0.3, final_div_factor=1 / (25 * 1e-3)
    )
    config = schedule("onecycle", 0.3, 1e-3)
    for step in range(37):
        assert lr_at(config, 0.3, step, 37) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < 36:
            theirs.step()


def test_cosine_equals_pytorchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.03)
    config = schedule("cosine", 0.0, 0.1)
    for step in range(21):
        assert lr_at(config, 0.3, step, 21) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()
