"""Batch norm for few channels, beside nn.BatchNorm2d."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fundus_cli.model.batch_norm import BatchNorm2d, _WideBatchNorm
from fundus_cli.model.unet import UNet


def drawn(shape: tuple[int, int, int, int], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Channels stored last, far from zero mean and unit deviation."""
    random = torch.Generator().manual_seed(seed)
    values = 2 * torch.randn(shape, generator=random, dtype=torch.float64) + 3
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def pair(channels: int, dtype: torch.dtype) -> tuple[nn.BatchNorm2d, BatchNorm2d]:
    """PyTorch's and ours with the same uneven weights."""
    plain, ours = nn.BatchNorm2d(channels, dtype=dtype), BatchNorm2d(channels, dtype=dtype)
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(0.5, 1.5, channels))
        plain.bias.copy_(torch.linspace(-1, 1, channels))
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def results(norm: nn.BatchNorm2d, image: Tensor, grad: Tensor) -> list[Tensor]:
    """Output, gradients and running statistics of one training step."""
    image = image.detach().clone().requires_grad_()
    output = norm(image)
    output.backward(grad)
    tensors = (output, image.grad, norm.weight.grad, norm.bias.grad)
    return [*tensors, norm.running_mean, norm.running_var, norm.num_batches_tracked]


def is_wide(output: Tensor) -> bool:
    return type(output.grad_fn).__name__ == "_WideBatchNormBackward"


@pytest.mark.parametrize("channels", [1, 3, 7, 8, 14, 28, 56])
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 1e-3), (torch.bfloat16, 2**-6)]
)
def test_equals_pytorch_within_rounding(channels: int, dtype: torch.dtype, rtol: float) -> None:
    parameters = torch.float64 if dtype is torch.float64 else torch.float32
    plain, ours = pair(channels, parameters)
    image, grad = drawn((2, channels, 12, 10), dtype), drawn((2, channels, 12, 10), dtype, 1)
    assert is_wide(copy.deepcopy(ours)(image))
    for mine, theirs in zip(results(ours, image, grad), results(plain, image, grad), strict=True):
        assert mine.dtype is theirs.dtype and mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=rtol)
    assert ours(image).is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_is_no_further_from_the_truth_than_pytorch() -> None:
    """Rounding an intermediate result costs something, but not twice the error."""
    exact, _ = pair(7, torch.float64)
    plain, ours = pair(7, torch.float32)
    image, grad = drawn((4, 7, 32, 32), torch.bfloat16), drawn((4, 7, 32, 32), torch.bfloat16, 1)
    truth = results(exact, image.double(), grad.double())
    errors = [
        [
            (mine - true).double().square().mean().sqrt()
            for mine, true in zip(of, truth, strict=True)
        ]
        for of in (results(ours, image, grad), results(plain, image, grad))
    ]
    for mine, theirs in zip(errors[0][:2], errors[1][:2], strict=True):
        assert mine <= 2 * theirs


@pytest.mark.parametrize("side_by_side", [2, 4])
def test_gradients_equal_differences(side_by_side: int) -> None:
    image = drawn((2, 3, 2, 2), torch.float64).requires_grad_()
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64, requires_grad=True)

    def normalised(*inputs: Tensor) -> Tensor:
        return _WideBatchNorm.apply(*inputs, 1e-5, side_by_side)[0]

    assert torch.autograd.gradcheck(normalised, (image, weight, bias))


def test_a_large_mean_does_not_drown_the_variance() -> None:
    plain, ours = pair(7, torch.float32)
    image = drawn((2, 7, 16, 16), torch.float32) + 1000
    grad = drawn((2, 7, 16, 16), torch.float32, 1)
    exact, _ = pair(7, torch.float64)
    truth = exact(image.double())
    assert (ours(image) - truth).abs().max() <= 2 * (plain(image) - truth).abs().max() + 1e-6
    ours(image).backward(grad)
    assert ours.weight.grad.isfinite().all()


def test_same_bits_every_time() -> None:
    image, grad = drawn((2, 8, 16, 16), torch.bfloat16), drawn((2, 8, 16, 16), torch.bfloat16, 1)
    first, second = (results(pair(8, torch.float32)[1], image, grad) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_gradient_with_channels_first_is_the_same_gradient() -> None:
    image, grad = drawn((2, 8, 6, 4), torch.float32), drawn((2, 8, 6, 4), torch.float32, 1)
    last, first = (results(pair(8, torch.float32)[1], image, g) for g in (grad, grad.contiguous()))
    assert all(torch.equal(a, b) for a, b in zip(last, first, strict=True))


def test_no_gradient_by_the_image_is_asked_for() -> None:
    _, ours = pair(3, torch.float32)
    ours(drawn((1, 3, 4, 4), torch.float32)).square().sum().backward()
    assert ours.weight.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("shape", "side_by_side"),
    [
        ((2, 8, 4, 4), 8),
        ((2, 7, 4, 4), 16),
        ((1, 7, 2, 3), 2),
        ((1, 7, 3, 5), 1),
        ((2, 16, 4, 4), 1),
        ((2, 65, 4, 4), 1),
    ],
)
def test_how_many_pixels_are_read_as_one(
    shape: tuple[int, int, int, int], side_by_side: int
) -> None:
    plain, ours = pair(shape[1], torch.float32)
    image = drawn(shape, torch.float32).requires_grad_()
    assert ours._side_by_side(image) == side_by_side
    torch.testing.assert_close(ours(image), plain(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"affine": False}, {"track_running_stats": False}, {"momentum": None}],
    ids=lambda options: next(iter(options)),
)
def test_other_options_are_pytorch_to_the_bit(options: dict[str, bool | None]) -> None:
    image = drawn((2, 8, 4, 4), torch.float32)
    plain, ours = nn.BatchNorm2d(8, **options), BatchNorm2d(8, **options)
    assert torch.equal(plain(image), ours(image))
    assert str(plain.state_dict()) == str(ours.state_dict())


@pytest.mark.parametrize("case", ["evaluation", "channels first", "2 dimensions too few"])
def test_elsewhere_it_is_pytorch_to_the_bit(case: str) -> None:
    plain, ours = pair(8, torch.float32)
    image = drawn((2, 8, 4, 4), torch.float32)
    if case == "evaluation":
        plain.eval(), ours.eval()
    elif case == "channels first":
        image = image.contiguous()
    else:
        with pytest.raises(ValueError, match="expected 4D input"):
            ours(image[0, :, :, 0])
        return
    assert torch.equal(plain(image), ours(image))
    assert torch.equal(plain.running_var, ours.running_var)


def test_one_value_per_channel_is_refused_as_by_pytorch() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm2d(8)(torch.ones(1, 8, 1, 1))


def test_a_step_of_the_network_is_that_of_a_network_with_pytorchs_norm() -> None:
    torch.manual_seed(0)
    ours = UNet(3, 1, 7, 2).double().to(memory_format=torch.channels_last)
    plain = copy.deepcopy(ours)
    for level in (*plain.encoder, plain.bottleneck, *plain.decoder):
        for place in (1, 4):
            own = level[place]
            assert isinstance(own, BatchNorm2d)
            level[place] = nn.BatchNorm2d(own.num_features).double()
            level[place].load_state_dict(own.state_dict())
    assert list(plain.state_dict()) == list(ours.state_dict())
    image = drawn((2, 3, 20, 12), torch.float64)
    for net in (ours, plain):
        net(image).square().mean().backward()
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-10, msg=name)
    for (name, mine), theirs in zip(ours.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12, msg=name)


def test_an_exported_training_graph_holds_pytorchs_batch_norm() -> None:
    net = BatchNorm2d(8).train()
    program = torch.export.export(net, (drawn((2, 8, 4, 4), torch.float32),))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert any("batch_norm" in target for target in targets)
