"""A network that has gone one colour is told with its likely cause; a healthy one never is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small
from torch import Tensor

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.training.constant_predictions import ConstantPredictionWatch
from fundus_cli.training.losses import bce_loss


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    overrides = ("data=folder", "data.root=x", "output=x", *small("threshold=0.5"))
    return compose_config("train", overrides)


def batch(share: float) -> tuple[Tensor, Tensor]:
    """Target (1, 1, 20, 20) with this share of ones, and a field of view of all but one row."""
    target = torch.zeros(1, 1, 20, 20)
    target.view(-1)[20 : 20 + round(share * 380)] = 1
    fov = torch.ones(1, 1, 20, 20, dtype=torch.bool)
    fov[:, :, 0] = False
    return target, fov


def epochs_of(
    watch: ConstantPredictionWatch, logits: Tensor, share: float, num: int, lr: float = 1e-3
) -> list[list[str]]:
    said, before = [], 0
    target, fov = batch(share)
    for _ in range(num):
        watch.begin_epoch()
        watch.look(logits, target, fov)
        before, lines = watch.end_epoch(0.5, before, lr)
        said.append(lines)
    return said


@pytest.mark.parametrize(("logit", "colour"), [(-4.0, "black"), (4.0, "white")])
def test_one_colour_is_told_in_the_third_epoch_and_again_ten_later(
    config: TrainConfig, logit: float, colour: str
) -> None:
    said = epochs_of(
        ConstantPredictionWatch(config, [0.1]), torch.full((1, 1, 20, 20), logit), 0.1, 13
    )
    assert [number for number, lines in enumerate(said, start=1) if lines] == [3, 13]
    probability = 1 / (1 + np.exp(-logit))
    line = said[2][0]
    assert f"vessel: predictions have been all {colour} for 3 epochs" in line
    assert f"probabilities {np.floor(probability * 1000) / 1000:.3f}" in line
    assert "cover 10.0%" in line
    assert "threshold=auto" in line


def test_predictions_of_both_kinds_start_the_count_anew(config: TrainConfig) -> None:
    watch = ConstantPredictionWatch(config, [0.1])
    target, fov = batch(0.1)
    watch.look(torch.full((1, 1, 20, 20), -4.0), target, fov)
    assert watch.end_epoch(0.5, 1, 1e-3)[0] == 2
    watch.begin_epoch()
    watch.look(torch.where(target > 0, 4.0, -4.0), target, fov)
    assert watch.end_epoch(0.5, 2, 1e-3) == (0, [])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_masks_of_one_colour_make_no_such_warning(config: TrainConfig, share: float) -> None:
    said = epochs_of(
        ConstantPredictionWatch(config, [0.1]), torch.full((1, 1, 20, 20), -4.0), share, 4
    )
    assert said == [[], [], [], []]


def test_what_lies_outside_the_field_of_view_is_not_counted(config: TrainConfig) -> None:
    logits = torch.full((1, 1, 20, 20), -4.0)
    logits[:, :, 0] = 9.0
    assert epochs_of(ConstantPredictionWatch(config, [0.1]), logits, 0.1, 3)[2]


@pytest.mark.parametrize(
    ("train_share", "lr", "loss", "words"),
    [
        (0.0, 1e-3, "bce", "how they are read (data.mask_foreground"),
        (0.1, 0.5, "bce", "optimizer.lr=0.05 (a tenth"),
        (0.005, 1e-3, "bce", "loss=bce_dice"),
        (0.1, 1e-3, "bce_dice", "more epochs"),
    ],
)
def test_the_advice_fits_the_cause(
    config: TrainConfig, train_share: float, lr: float, loss: str, words: str
) -> None:
    own = replace(config, loss=replace(config.loss, name=type(config.loss.name)(loss)))
    logits = torch.full((1, 1, 20, 20), -4.0)
    (line,) = epochs_of(ConstantPredictionWatch(own, [train_share]), logits, 0.1, 3, lr)[2]
    assert words in line


def test_the_watched_loss_is_the_same_loss(config: TrainConfig) -> None:
    torch.manual_seed(0)
    target, fov = batch(0.2)
    logits = torch.randn(1, 1, 20, 20)
    watch = ConstantPredictionWatch(config, [0.2])
    assert torch.equal(watch.watched(bce_loss)(logits, target, fov), bce_loss(logits, target, fov))
    assert int(watch.counts.sum()) == 380
