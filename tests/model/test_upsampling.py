"""The transposed convolution that sums its bias's gradient itself, beside nn.ConvTranspose2d."""

import copy
import statistics
import time

import pytest
import torch
from torch import Tensor, nn

from fundus_cli.model.unet import UNet
from fundus_cli.model.upsampling import ConvTranspose2d, _TransposedConvolution


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=random, dtype=torch.float64)
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def pair(dtype: torch.dtype = torch.float32, **more: object) -> list[nn.ConvTranspose2d]:
    """PyTorch's and ours with the same weights."""
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(6, 3, 2, 2, dtype=dtype, **more)  # type: ignore[arg-type]
    ours = ConvTranspose2d(6, 3, 2, 2, dtype=dtype, **more)  # type: ignore[arg-type]
    ours.load_state_dict(plain.state_dict())
    return [layer.to(memory_format=torch.channels_last) for layer in (plain, ours)]


def is_ours(output: Tensor) -> bool:
    return type(output.grad_fn).__name__ == "_TransposedConvolutionBackward"


def results(layer: nn.ConvTranspose2d, image: Tensor, grad: Tensor) -> list[Tensor]:
    image = image.detach().clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=grad.dtype is torch.bfloat16):
        output = layer(image)
    output.backward(grad)
    assert layer.bias is not None
    return [output.detach(), image.grad, layer.weight.grad, layer.bias.grad]


@pytest.mark.parametrize(
    ("parameters", "dtype", "rtol"),
    [
        (torch.float64, torch.float64, 1e-10),
        (torch.float32, torch.float32, 1e-4),
        (torch.float32, torch.bfloat16, 2**-6),
    ],
)
def test_equals_pytorch(parameters: torch.dtype, dtype: torch.dtype, rtol: float) -> None:
    plain, ours = pair(parameters)
    # As the network does it, the image is in bfloat16 already.
    image, grad = drawn(2, 6, 9, 7, dtype=dtype), drawn(2, 3, 18, 14, seed=1, dtype=dtype)
    theirs = results(plain, image, grad)
    for one, other in zip(results(ours, image, grad), theirs, strict=True):
        assert one.dtype is other.dtype and one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol)


def test_gradients_equal_differences() -> None:
    image, weight = drawn(1, 2, 3, 3, dtype=torch.float64), drawn(2, 3, 2, 2, dtype=torch.float64)
    bias = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (image, weight, bias)]
    geometry = ((2, 2), (0, 0), (1, 1))
    assert torch.autograd.gradcheck(lambda *t: _TransposedConvolution.apply(*t, *geometry), inputs)


def test_only_what_learns_gets_a_gradient() -> None:
    _, ours = pair()
    ours.weight.requires_grad_(False)
    output = ours(drawn(1, 6, 4, 4))
    assert is_ours(output)
    output.sum().backward()
    assert ours.weight.grad is None
    assert ours.bias is not None and ours.bias.grad is not None


def test_is_pytorchs_own_where_it_does_not_apply() -> None:
    plain, ours = pair()
    image = drawn(1, 6, 4, 4).requires_grad_()
    assert is_ours(ours(image))
    assert not is_ours(ours(image.contiguous()))
    assert not is_ours(ours(image, output_size=[8, 8]))
    torch.testing.assert_close(ours(image, output_size=[8, 8]), plain(image, output_size=[8, 8]))
    assert not is_ours(copy.deepcopy(ours).eval()(image))
    for more in ({"bias": False}, {"groups": 3}, {"output_padding": 1}):
        theirs, own = pair(**more)
        assert not is_ours(own(image))
        assert torch.equal(own(image), theirs(image))


def test_every_upsampling_of_the_network_is_ours() -> None:
    net = UNet(3, 1, 4, 2)
    assert [type(layer) for layer in net.upsample] == [ConvTranspose2d] * 2


def test_learning_the_bias_is_cheap() -> None:
    """What it is for: PyTorch's own needs several times as long, where it has not been mended."""
    image = drawn(4, 32, 64, 64, dtype=torch.bfloat16)
    grad = drawn(4, 16, 128, 128, dtype=torch.bfloat16)
    ours = ConvTranspose2d(32, 16, 2, 2).to(memory_format=torch.channels_last)

    def seconds(needs_bias: bool) -> float:
        assert ours.bias is not None
        ours.bias.requires_grad_(needs_bias)
        taken = []
        for _ in range(9):
            with torch.autocast("cpu", torch.bfloat16):
                output = ours(image)
            started = time.process_time()
            output.backward(grad)
            taken.append(time.process_time() - started)
        return statistics.median(taken)

    assert seconds(True) < 2 * seconds(False) + 1e-3
