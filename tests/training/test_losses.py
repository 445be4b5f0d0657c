"""The losses, against counting by hand and PyTorch's own cross-entropy."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fundus_cli.config import LossConfig, LossName
from fundus_cli.training.losses import bce_loss, build_loss, soft_dice_loss

LossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
BOTH = pytest.mark.parametrize("loss", [bce_loss, soft_dice_loss])


def batch(seed: int = 0, shape: tuple[int, ...] = (3, 2, 7, 5)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator)
    target = (torch.rand(shape, generator=generator) < 0.3).float()
    fov_mask = torch.rand(shape[0], 1, *shape[2:], generator=generator) < 0.6
    return logits, target, fov_mask


def test_bce_by_hand() -> None:
    # Probabilities 1/4 and 3/4 count, targets 1 and 0; the third pixel is outside.
    logits = torch.tensor([-math.log(3), math.log(3), 50.0]).reshape(1, 1, 1, 3)
    target = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    fov_mask = torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    assert bce_loss(logits, target, fov_mask).item() == pytest.approx(math.log(4), rel=1e-6)


def test_bce_equals_cross_entropy_of_the_sigmoid() -> None:
    logits, target, fov_mask = batch()
    total, count = 0.0, 0
    for n, s, y, x in torch.cartesian_prod(*map(torch.arange, logits.shape)).tolist():
        if fov_mask[n, 0, y, x]:
            p = 1 / (1 + math.exp(-logits[n, s, y, x].item()))
            t = target[n, s, y, x].item()
            total -= t * math.log(p) + (1 - t) * math.log(1 - p)
            count += 1
    assert bce_loss(logits, target, fov_mask).item() == pytest.approx(total / count, rel=1e-5)


def test_bce_with_everything_inside_is_pytorchs() -> None:
    logits, target, _ = batch()
    everywhere = torch.ones(3, 1, 7, 5, dtype=torch.bool)
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(bce_loss(logits, target, everywhere), expected)


def test_bce_takes_soft_targets() -> None:
    half = torch.full((1, 1, 2, 2), 0.5)
    fov_mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert bce_loss(torch.zeros(1, 1, 2, 2), half, fov_mask).item() == pytest.approx(math.log(2))


def test_bce_is_finite_where_the_sigmoid_saturates() -> None:
    logits = torch.tensor([200.0, -200.0]).reshape(1, 1, 1, 2)
    target = torch.tensor([0.0, 0.0]).reshape(1, 1, 1, 2)
    assert bce_loss(logits, target, torch.ones(1, 1, 1, 2, dtype=torch.bool)).item() == 100.0


def test_soft_dice_by_hand() -> None:
    # Structure 0: p = 1/2 thrice, t = 1 1 0 inside: (2 * 1 + 1) / (1.5 + 2 + 1) = 2/3.
    # Structure 1: p = 1/4 thrice, t = 0: 1 / (0.75 + 1) = 4/7.
    logits = torch.stack([torch.zeros(4), torch.full((4,), -math.log(3))]).reshape(1, 2, 2, 2)
    target = torch.tensor([[1.0, 1, 0, 1], [0, 0, 0, 1]]).reshape(1, 2, 2, 2)
    fov_mask = torch.tensor([True, True, True, False]).reshape(1, 1, 2, 2)
    expected = 1 - (2 / 3 + 4 / 7) / 2
    assert soft_dice_loss(logits, target, fov_mask).item() == pytest.approx(expected, rel=1e-6)


def test_soft_dice_smooth_and_mean_over_images() -> None:
    # p = 1/2 everywhere on four pixels; image 0 has t = 1 (dice 4/6), image 1 t = 0 (dice 0/2).
    logits = torch.zeros(2, 1, 2, 2)
    target = torch.cat([torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)])
    fov_mask = torch.ones(2, 1, 2, 2, dtype=torch.bool)
    loss = soft_dice_loss(logits, target, fov_mask, smooth=2.0)
    assert loss.item() == pytest.approx(1 - ((4 + 2) / (6 + 2) + 2 / (2 + 2)) / 2, rel=1e-6)


@BOTH
def test_outside_does_not_count(loss: LossFunction) -> None:
    logits, target, fov_mask = batch()
    other = torch.where(fov_mask, logits, -7 * logits + 1)
    flipped = torch.where(fov_mask, target, 1 - target)
    assert not torch.equal(other, logits)
    assert not torch.equal(flipped, target)
    torch.testing.assert_close(loss(other, flipped, fov_mask), loss(logits, target, fov_mask))
    logits.requires_grad_()
    loss(logits, target, fov_mask).backward()
    outside = ~fov_mask.expand_as(logits)
    assert (logits.grad[outside] == 0).all()
    assert (logits.grad[~outside] != 0).all()


@BOTH
def test_empty_field_of_view_gives_zero_and_no_gradient(loss: LossFunction) -> None:
    logits, target, fov_mask = batch()
    logits.requires_grad_()
    value = loss(logits, target, torch.zeros_like(fov_mask))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@BOTH
def test_bfloat16_logits_are_scored_in_float32(loss: LossFunction) -> None:
    logits, target, fov_mask = batch()
    rounded = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(rounded, target, fov_mask)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(rounded.float(), target, fov_mask), rtol=0, atol=0)


@BOTH
def test_gradient_equals_finite_differences(loss: LossFunction) -> None:
    logits, target, fov_mask = batch(shape=(1, 2, 3, 2))
    logits.requires_grad_()
    loss(logits, target, fov_mask).backward()
    step = 1e-2
    for index in torch.cartesian_prod(*map(torch.arange, logits.shape)).tolist():
        nudge = torch.zeros_like(logits)
        nudge[tuple(index)] = step
        with torch.no_grad():
            rise = loss(logits + nudge, target, fov_mask) - loss(logits - nudge, target, fov_mask)
        slope = (rise / (2 * step)).item()
        assert logits.grad[tuple(index)].item() == pytest.approx(slope, abs=1e-4)


def test_build_bce() -> None:
    assert build_loss(LossConfig(name=LossName.bce)) is bce_loss


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_build_bce_dice_weighs_both(weight: float) -> None:
    logits, target, fov_mask = batch()
    loss = build_loss(LossConfig(name=LossName.bce_dice, dice_weight=weight))
    bce = bce_loss(logits, target, fov_mask).item()
    dice = soft_dice_loss(logits, target, fov_mask).item()
    assert abs(bce - dice) > 0.05
    expected = (1 - weight) * bce + weight * dice
    assert loss(logits, target, fov_mask).item() == pytest.approx(expected, rel=1e-6)
