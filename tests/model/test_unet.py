"""The network: its size, any image size, and its arithmetic against a second writing of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fundus_cli.model.unet import UNet, pad_to_multiple


def small(depth: int = 2, structures: int = 2, base: int = 3) -> UNet:
    """A small network whose norms have seen data, so that their running numbers matter."""
    torch.manual_seed(0)
    net = UNet(3, structures, base, depth)
    for _ in range(3):
        net(torch.rand(2, 3, 16, 16))
    return net.eval()


def textbook_forward(state: dict[str, Tensor], image: Tensor, depth: int) -> Tensor:
    """The U-Net in evaluation mode, from its weights alone; H and W multiples of 2**depth."""

    def conv_norm_relu(x: Tensor, conv: str, norm: str) -> Tensor:
        x = F.conv2d(x, state[f"{conv}.weight"], state[f"{conv}.bias"], padding=1)
        mean, var = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        x = x * state[f"{norm}.weight"][:, None, None] + state[f"{norm}.bias"][:, None, None]
        return x.relu()

    def twice(x: Tensor, name: str) -> Tensor:
        return conv_norm_relu(conv_norm_relu(x, f"{name}.0", f"{name}.1"), f"{name}.3", f"{name}.4")

    def level(x: Tensor, below: int) -> Tensor:
        if below == 0:
            return twice(x, "bottleneck")
        skip = twice(x, f"encoder.{depth - below}")
        deeper = level(F.max_pool2d(skip, 2), below - 1)
        index = below - 1  # decoder blocks are listed from the deepest
        up = F.conv_transpose2d(
            deeper, state[f"upsample.{index}.weight"], state[f"upsample.{index}.bias"], stride=2
        )
        return twice(torch.cat([skip, up], 1), f"decoder.{index}")

    return F.conv2d(level(image, depth), state["head.weight"], state["head.bias"])


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ((3, 1, 64, 4), 31_043_521),
        # Counted by hand, depth 1, base 1: level 0 has (9+1)+2 and (9+1)+2 = 24; the bottleneck
        # (18+2)+4 and (36+2)+4 = 66; up 8+1 = 9; decoder (18+1)+2 and (9+1)+2 = 33; head 2+2 = 4.
        ((1, 2, 1, 1), 24 + 66 + 9 + 33 + 4),
    ],
)
def test_parameter_count(arguments: tuple[int, int, int, int], count: int) -> None:
    with torch.device("meta"):
        net = UNet(*arguments)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_levels_double_the_channels() -> None:
    net = UNet(3, 2, 5, 3)
    assert [level[0].out_channels for level in net.encoder] == [5, 10, 20]
    assert net.bottleneck[0].out_channels == 40
    assert [(up.in_channels, up.out_channels) for up in net.upsample] == [
        (40, 20),
        (20, 10),
        (10, 5),
    ]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_forward_equals_textbook_unet(depth: int) -> None:
    net = small(depth).double()
    image = torch.rand(2, 3, 24, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = textbook_forward(net.state_dict(), image, depth)
        torch.testing.assert_close(net(image), expected, rtol=1e-10, atol=1e-10)


def test_textbook_notices_the_other_skip_order() -> None:
    net = small(1)
    image = torch.rand(1, 3, 8, 8)
    state = dict(net.state_dict())
    weight = state["decoder.0.0.weight"]
    state["decoder.0.0.weight"] = weight.roll(weight.shape[1] // 2, dims=1)
    with torch.no_grad():
        assert (textbook_forward(state, image, 1) - net(image)).abs().max() > 1e-3


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_images", [1, 2])
@pytest.mark.parametrize("hw", [(1, 1), (3, 3), (65, 47), (8, 16)])
def test_any_size_gives_logits_of_that_size(
    hw: tuple[int, int], num_images: int, training: bool
) -> None:
    net = small(3).train(training)
    logits = net(torch.rand(num_images, 3, *hw))
    assert logits.shape == (num_images, 2, *hw)
    assert logits.isfinite().all()


@pytest.mark.parametrize("hw", [(1, 1), (3, 3), (65, 47), (8, 12)])
def test_padding_inside_equals_padding_by_hand(hw: tuple[int, int]) -> None:
    net, (height, width) = small(2), hw
    image = torch.rand(1, 3, height, width)
    below, right = -(-height // 4) * 4, -(-width // 4) * 4
    rows = torch.arange(below).clamp(max=height - 1)
    columns = torch.arange(right).clamp(max=width - 1)
    padded = image[:, :, rows][..., columns]
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(padded)[..., :height, :width], rtol=0, atol=0)


def test_pad_to_multiple_repeats_the_last_row_and_column() -> None:
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, None]
    expected = torch.tensor([[1.0, 2, 3, 3], [4, 5, 6, 6], [4, 5, 6, 6], [4, 5, 6, 6]])
    assert torch.equal(pad_to_multiple(image, 4)[0, 0], expected)
    assert pad_to_multiple(image[..., :2], 2).data_ptr() == image.data_ptr()


def test_one_pixel_left_in_the_bottleneck_still_trains() -> None:
    net = UNet(3, 1, 4, 4).train()
    net(torch.rand(1, 3, 16, 16)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_every_parameter_gets_a_finite_gradient() -> None:
    net = small(2).train()
    net(torch.rand(2, 3, 20, 17)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A shift right before batch norm is taken out again, so its gradient is rounding alone.
        before_norm = name.endswith((".0.bias", ".3.bias")) and not name.startswith("upsample")
        if not before_norm:
            assert parameter.grad.abs().max() > 0, name


def test_state_dict_restores_the_same_function(tmp_path) -> None:
    net = small()
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    other = UNet(3, 2, 3, 2).eval()
    image = torch.rand(1, 3, 13, 9)
    with torch.no_grad():
        assert not torch.equal(other(image), net(image))
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(other(image), net(image))


def test_channels_last_is_kept_and_changes_nothing() -> None:
    net = small()
    image = torch.rand(2, 3, 21, 18)
    seen = []
    with torch.no_grad():
        expected = net(image)
        net = net.to(memory_format=torch.channels_last)
        for level in (*net.encoder, net.bottleneck, *net.decoder):
            level.register_forward_hook(
                lambda _module, _inputs, output: seen.append(
                    output.is_contiguous(memory_format=torch.channels_last)
                )
            )
        logits = net(image.contiguous(memory_format=torch.channels_last))
    assert seen == [True] * 5
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_same_seed_same_weights() -> None:
    def first_weight(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return UNet(3, 1, 4, 1).encoder[0][0].weight

    assert torch.equal(first_weight(0), first_weight(0))
    assert not torch.equal(first_weight(0), first_weight(1))


def test_starts_as_pytorch_initialises() -> None:
    torch.manual_seed(3)
    weight = UNet(3, 1, 4, 1).encoder[0][0].weight
    torch.manual_seed(3)
    assert torch.equal(weight, torch.nn.Conv2d(3, 4, 3, padding=1).weight)


def test_prediction_in_bfloat16_folds_batch_norm_and_is_as_near_to_float32() -> None:
    net = small(2, structures=1, base=7).to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 40, 36).contiguous(memory_format=torch.channels_last)
    calls = []
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda *_: calls.append(1))
    with torch.autocast("cpu", torch.bfloat16):
        plain = net(image).detach().float()
        num_norms, calls = len(calls), calls.clear() or calls
        with torch.inference_mode():
            folded = net(image).float()
    with torch.inference_mode():
        assert (num_norms, len(calls)) == (10, 0)
        exact = net(image)
    assert len(calls) == 10
    folded_error, plain_error = ((x - exact).square().mean().sqrt() for x in (folded, plain))
    assert folded_error <= 1.5 * plain_error + 1e-4
    assert not torch.equal(folded, exact)


def test_training_in_bfloat16_does_not_fold() -> None:
    net = small(1).train()
    before = net.encoder[0][1].running_mean.clone()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        net(torch.rand(2, 3, 8, 8))
    assert not torch.equal(net.encoder[0][1].running_mean, before)
