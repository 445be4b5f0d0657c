"""The average of the weights, by hand."""

import pytest
import torch
from torch import nn

from fundus_cli.training.ema import WeightAverage


def test_the_average_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
    model = nn.Sequential(conv, norm)
    average = WeightAverage(model, decay=0.5)
    expected, statistics = conv.weight.item(), 0.0
    for step, weight in enumerate((4.0, -2.0, 1.0), start=1):
        with torch.no_grad():
            conv.weight.fill_(weight)
            norm.running_mean.fill_(10 * weight)  # type: ignore[union-attr]
            norm.num_batches_tracked += 1  # type: ignore[operator]
        average.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
        statistics = decay * statistics + (1 - decay) * 10 * weight
    averaged = average.model.state_dict()
    assert averaged["0.weight"].item() == pytest.approx(expected)
    assert averaged["1.running_mean"].item() == pytest.approx(statistics)
    assert averaged["1.num_batches_tracked"].item() == 3
    assert conv.weight.item() == 1.0
    assert not any(p.requires_grad for p in average.model.parameters())
