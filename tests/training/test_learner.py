"""Steps whose losses are looked at later, and steps on a GPU that this machine need not have."""

import contextlib
import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.batches import Batch
from fundus_cli.errors import DivergedError
from fundus_cli.training import learner as module
from fundus_cli.training.learner import Learner

CPU = torch.device("cpu")
SHARES = np.array([0.1])
SIDE = 16


def config_of(*overrides: str) -> TrainConfig:
    words = ("model.base_channels=4", "model.depth=2", "batch_size=2", f"data.patch_px={SIDE}")
    return compose_config("train", (*words, *overrides))


def learner(*overrides: str, device: torch.device = CPU, said: list[str] | None = None) -> Learner:
    print_line = (said if said is not None else []).append
    return Learner(config_of(*overrides), SHARES, 100, device, print_line)


def batch(number: int, device: torch.device = CPU, size: int = 2) -> Batch:
    stream = torch.Generator().manual_seed(number)
    image = torch.randn(size, 3, SIDE, SIDE, generator=stream)
    target = (image[:, :1] > 0.5).float()
    inside = torch.ones(size, 1, SIDE, SIDE, dtype=torch.bool)
    ids = tuple(f"p{number}-{n}" for n in range(size))
    return Batch(image.to(device), target.to(device), inside.to(device), ids)


def weights(own: Learner) -> dict[str, Tensor]:
    return copy.deepcopy(own.model.state_dict())


def test_looking_at_losses_later_changes_no_number() -> None:
    at_once, later = learner("precision=float32"), learner("precision=float32")
    later.steps_per_fetch = 3
    seen: list[tuple[float, int]] = []
    for number in range(7):
        size = 1 if number == 6 else 2
        at_once.step(batch(number, size=size), 0, number)
        later.step(batch(number, size=size), 0, number)
        seen += at_once.flush()
        assert len(seen) == number + 1
    assert later.flush() == seen
    assert [size for _, size in seen] == [2] * 6 + [1]
    assert later.flush() == []
    for name, tensor in weights(later).items():
        assert torch.equal(tensor, weights(at_once)[name]), name
    average = at_once.average
    assert average is not None
    assert at_once.scored_model is average.model


def test_a_bad_step_is_named_at_the_look_and_before_anything_is_settled() -> None:
    own = learner("precision=float32")
    own.steps_per_fetch = 32
    for number in range(4):
        seen = batch(number)
        if number >= 2:
            seen = replace(seen, image=seen.image * math.nan)
        own.step(seen, 4, 10 + number)
    with pytest.raises(DivergedError, match=r"epoch 5, step 13: loss nan.*images p2-0, p2-1;"):
        own.flush()


def test_on_a_processor_a_bad_step_changes_no_weight() -> None:
    own = learner("precision=float32")
    own.step(batch(0), 0, 0)
    before = dict(copy.deepcopy(dict(own.model.named_parameters())))
    bad = batch(1)
    with pytest.raises(DivergedError, match="step 2: loss nan"):
        own.step(replace(bad, image=bad.image * math.nan), 0, 1)
    assert all(torch.equal(p, before[name]) for name, p in own.model.named_parameters())


def test_weights_that_are_not_finite_are_refused() -> None:
    own = learner()
    own.check_weights(7)
    with torch.no_grad():
        next(own.model.parameters()).fill_(math.inf)
    with pytest.raises(DivergedError, match=r"step 7: the update left weights .* optimizer.lr"):
        own.check_weights(7)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("model=wnet",),
        ("loss=bce_dice", "optimizer=sgd"),
        ("ema_decay=0", "optimizer=adam"),
        ("optimizer=muon",),
    ],
)
def test_steps_on_a_gpu_never_wait_for_it(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors on PyTorch's device without memory have shapes and no numbers.

    They refuse what would need their numbers on the processor, and what mixes devices.
    """
    meta = torch.device("meta")
    monkeypatch.setattr(module, "autocast", lambda *_: contextlib.nullcontext())
    own = learner("precision=float32", *words, device=meta)
    assert own.steps_per_fetch == module.STEPS_PER_FETCH == 32
    for number in range(3):
        own.step(batch(number, meta), 0, number)
    with pytest.raises(RuntimeError, match="meta"):
        own.flush()


def plain_forward(*_: object) -> object:
    raise RuntimeError("no compiler was found\nand more lines of it")


def test_where_compiling_fails_a_line_says_so_and_the_result_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: plain_forward)
    said: list[str] = []
    own, plain = learner("compile=true", said=said), learner()
    for number in range(2):
        own.step(batch(number), 0, number)
        plain.step(batch(number), 0, number)
    assert own.flush() == plain.flush()
    assert said == [
        "compile=true: not possible on this machine (RuntimeError: no compiler was found); "
        "training continues without it"
    ]


def test_the_batch_that_is_tried_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []

    def not_really(model: nn.Module, **_: object) -> object:
        def forward(image: Tensor) -> object:
            shapes.append(tuple(image.shape))
            return model(image)

        return forward

    monkeypatch.setattr(torch, "compile", not_really)
    own, plain = learner("compile=true"), learner()
    for number, size in enumerate((2, 1, 2)):
        own.step(batch(number, size=size), 0, number)
        plain.step(batch(number, size=size), 0, number)
    assert own.flush() == plain.flush()
    for name, tensor in weights(own).items():
        assert torch.equal(tensor, weights(plain)[name]), name
    # The one of zeros, then those of the full size; the smaller one passes by.
    assert shapes == [(2, 3, SIDE, SIDE)] * 3


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_compiled_step_equals_the_plain_one_but_for_rounding() -> None:
    said: list[str] = []
    own = learner("compile=true", "precision=float32", said=said)
    plain = learner("precision=float32")
    for number in range(3):
        own.step(batch(number), 0, number)
        plain.step(batch(number), 0, number)
    assert said == []
    ours, theirs = own.flush(), plain.flush()
    assert [loss for loss, _ in ours] == pytest.approx([loss for loss, _ in theirs], rel=1e-3)
