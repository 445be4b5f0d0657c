"""Muon against singular values, against PyTorch's own of matrices, and by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fundus_cli.config import OptimizerConfig, OptimizerName
from fundus_cli.training import muon as module
from fundus_cli.training.muon import Muon
from fundus_cli.training.optimizer import build_optimizer

CPU = torch.device("cpu")


def muon(parameters: list[nn.Parameter], lr: float = 0.01, decay: float = 0.0) -> Muon:
    return Muon(parameters, lr=lr, weight_decay=decay, momentum=0.9)


def orthogonal(matrix: Tensor) -> Tensor:
    (result,) = module.orthogonal([matrix])
    return result


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def taught(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, steps: int = 5) -> Tensor:
    for number in range(steps):
        parameter.grad = random(*parameter.shape, seed=number)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize(("rows", "columns"), [(7, 63), (63, 7), (16, 16), (1, 9), (9, 1)])
def test_orthogonal_keeps_singular_vectors_and_levels_values(rows: int, columns: int) -> None:
    # Singular values a thousand times apart would be missed by no gradient step of a real network.
    left, _, right = torch.linalg.svd(random(rows, columns), full_matrices=False)
    values = torch.logspace(0, -2, min(rows, columns))
    result = orthogonal(left @ torch.diag(values) @ right)
    levelled = left.T @ result @ right.T
    assert levelled.diagonal().min() > 0.6
    assert levelled.diagonal().max() < 1.3
    off = levelled - torch.diag(levelled.diagonal())
    assert off.abs().max() < 1e-3


def test_orthogonal_of_nothing_is_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize(("shape", "sizes"), [((520, 600), (174, 173, 173)), ((256, 300), (256,))])
def test_many_rows_are_made_orthogonal_block_by_block(
    shape: tuple[int, int], sizes: tuple[int, ...]
) -> None:
    matrix = random(*shape)
    for result in (orthogonal(matrix), orthogonal(matrix.T).T):
        for block, given in zip(result.split(sizes), matrix.split(sizes), strict=True):
            torch.testing.assert_close(block, orthogonal(given))
            values = torch.linalg.svdvals(block)
            assert values.min() > 0.6 and values.max() < 1.3
    # As a whole the rows of different blocks are not orthogonal; those of one matrix are.
    overlap = float(torch.linalg.svdvals(orthogonal(matrix)).max())
    assert (overlap > 1.3) == (len(sizes) > 1)


def test_each_of_many_matrices_is_made_orthogonal_as_if_alone() -> None:
    shapes = [(4, 6), (6, 4), (4, 9), (300, 4), (520, 600), (1, 1), (260, 260)]
    matrices = [random(*shape, seed=number) for number, shape in enumerate(shapes)]
    together = module.orthogonal(matrices)
    for matrix, result in zip(matrices, together, strict=True):
        torch.testing.assert_close(result, orthogonal(matrix))


def test_does_not_depend_on_the_size_of_gradients() -> None:
    gradient = random(4, 6)
    torch.testing.assert_close(orthogonal(gradient), orthogonal(1e-3 * gradient))


def test_matrices_learn_as_with_pytorchs_own() -> None:
    ours, theirs = nn.Parameter(random(6, 20, seed=9)), nn.Parameter(random(6, 20, seed=9))
    reference = torch.optim.Muon(
        [theirs], lr=0.01, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    start = ours.detach().clone()
    taught(ours, muon([ours], decay=0.1))
    taught(theirs, reference)
    moved = (ours.detach() - start).norm()
    # PyTorch's iterates in bfloat16.
    assert (ours - theirs).norm() < 0.02 * moved


def test_filters_learn_as_their_matrices() -> None:
    weights, gradient = random(4, 3, 3, 3), random(4, 3, 3, 3, seed=1)
    flat = nn.Parameter(weights.flatten(1).clone())
    flat.grad = gradient.flatten(1).clone()
    muon([flat]).step()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        filters = nn.Parameter(weights.clone().to(memory_format=memory_format))
        filters.grad = gradient.clone().to(memory_format=memory_format)
        muon([filters]).step()
        torch.testing.assert_close(filters.detach().flatten(1), flat.detach())


def test_first_step_of_a_filter_by_hand() -> None:
    # One row of one column: its only singular value becomes the quintic's answer to 1, five times.
    value = 1.0
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    parameter = nn.Parameter(torch.full((1, 1, 1, 1), 2.0))
    parameter.grad = torch.full((1, 1, 1, 1), 5.0)
    muon([parameter], lr=0.5, decay=0.25).step()
    expected = 2.0 * (1 - 0.5 * 0.25) - 0.5 * 0.2 * value
    assert float(parameter.detach()) == pytest.approx(expected, abs=1e-5)


def test_biases_and_norms_learn_as_with_adamw() -> None:
    ours, theirs = nn.Parameter(random(6)), nn.Parameter(random(6))
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.0)
    # A weight decay of filters is none of theirs.
    torch.testing.assert_close(taught(ours, muon([ours], decay=0.5)), taught(theirs, reference))


def test_what_has_no_gradient_stays() -> None:
    kernel, bias = nn.Parameter(random(2, 3)), nn.Parameter(random(2))
    before = copy.deepcopy([kernel, bias])
    optimizer = muon([kernel, bias], decay=0.5)
    optimizer.step()
    assert torch.equal(kernel, before[0])
    assert torch.equal(bias, before[1])
    assert not optimizer.state


def test_a_config_reaches_it() -> None:
    config = OptimizerConfig(name=OptimizerName.muon, lr=0.125, weight_decay=0.25, momentum=0.5)
    kernel, bias = nn.Parameter(random(2, 3)), nn.Parameter(random(2))
    built = build_optimizer([kernel, bias], config, CPU)
    assert isinstance(built, Muon)
    filters, others = built.param_groups
    assert (filters["lr"], filters["weight_decay"], filters["momentum"]) == (0.125, 0.25, 0.5)
    assert (others["lr"], others["weight_decay"]) == (0.125, 0.0)
    assert filters["params"][0] is kernel
    assert others["params"][0] is bias
