"""The cascade: two outputs while training, one after; the second sees what the first made."""

import pytest
import torch

from fundus_cli.model.unet import UNet
from fundus_cli.model.wnet import WNet


def test_two_u_nets_of_known_size() -> None:
    model = WNet(3, 2, 8, 3)
    weights = sum(p.numel() for p in model.parameters())
    alone = sum(p.numel() for p in UNet(3, 2, 8, 3).parameters())
    # The second has two input channels more, each with a 3x3 filter for 8 channels.
    assert weights == 2 * alone + 2 * 9 * 8
    assert [head.out_channels for head in model.heads] == [2, 2]


@pytest.mark.parametrize("hw", [(32, 32), (33, 47), (1, 5)])
def test_while_training_both_outputs_and_afterwards_the_second(hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = WNet(3, 1, 4, 2)
    image = torch.rand(2, 3, *hw)
    outputs = model(image)
    assert isinstance(outputs, tuple)
    assert [tuple(o.shape) for o in outputs] == [(2, 1, *hw)] * 2
    model.eval()
    alone = model(image)
    assert torch.equal(alone, model.second(torch.cat([image, model.first(image)], 1)))


def test_every_parameter_learns_from_both_losses() -> None:
    torch.manual_seed(0)
    model = WNet(3, 1, 4, 2)
    first, second = model(torch.rand(2, 3, 16, 16))
    second.square().mean().backward(retain_graph=True)
    # The second loss alone reaches the first U-Net too, through its logits.
    assert model.first.head.weight.grad.abs().sum() > 0
    (first.square().mean() + second.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
