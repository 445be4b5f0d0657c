"""The loop against the same step written in plain PyTorch, and what it does with odd scores."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, tiny_image, write_tiny_set
from torch import Tensor, nn

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import Dataset, load_dataset
from fundus_cli.errors import DivergedError
from fundus_cli.evaluation.histogram import ProbabilityHistogram
from fundus_cli.run import checkpoint
from fundus_cli.run.signals import StopRequest
from fundus_cli.training import loop
from fundus_cli.training.loop import Console, Trainer
from fundus_cli.training.validation import Validation


def config_of(*overrides: str) -> TrainConfig:
    return compose_config("train", overrides)


def silent() -> Console:
    return Console(lambda line: None, lambda *numbers: None)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("loop"), train=3, test=1)


def trainer(config: TrainConfig, folder: Path) -> Trainer:
    dataset = load_dataset(config.data)
    return Trainer(config, dataset, folder, StopRequest(), silent())


def baseline(root: Path, *more: str) -> TrainConfig:
    return config_of(
        *("data=folder", f"data.root={root}", "experiment=baseline", "model.base_channels=4"),
        *("model.depth=2", "device=cpu", "precision=float32", *more),
    )


def plain_step(model: nn.Module, image: Tensor, target: Tensor) -> tuple[float, nn.Module]:
    """One step as a tutorial writes it: sigmoid, BCE, Adam, contiguous float32."""
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    loss = nn.BCELoss()(torch.sigmoid(model(image)), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach()), model


def test_one_step_of_the_baseline_equals_plain_pytorch(root: Path, tmp_path: Path) -> None:
    # The tiny images' surround is black, so a field of view of everything is asked for by
    # giving the sampler one: the plain recipe knows no field of view.
    config = baseline(root)
    own = trainer(config, tmp_path)
    everything = [
        replace(s, fov_mask=np.ones_like(s.fov_mask)) for s in own.dataset.samples["train"]
    ]
    own.sampler.samples = everything
    order = own.sampler.order(0)
    assert len(order) == 3
    pictures = [tiny_image(int(number)) for number in order]
    image = torch.stack(
        [torch.from_numpy(photo).permute(2, 0, 1).float() / 255 for photo, _ in pictures]
    )
    target = torch.stack([torch.from_numpy(vessel)[None].float() for _, vessel in pictures])
    loss, expected = plain_step(own.learner.model, image, target)
    own.learner.step(own.sampler.batch(0, order), 0, 0)
    [(value, number)] = own.learner.flush()
    assert number == 3
    assert value == pytest.approx(loss, rel=1e-5)
    for (name, ours), plain in zip(
        own.learner.model.state_dict().items(), expected.state_dict().values(), strict=True
    ):
        # Adam's first step is lr whatever the gradient's size, so where a gradient is rounding
        # noise (biases before batch norm, a few weights) its sign, and no more, may differ.
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=2.1e-3, msg=name)
        if ours.dim() == 4:
            close = torch.isclose(ours, plain, rtol=1e-4, atol=2e-6).float().mean()
            assert close > 0.98, f"{name}: {close:.4f} of the values agree"


def test_the_surround_weighs_nothing_in_the_loss(root: Path, tmp_path: Path) -> None:
    own = trainer(baseline(root), tmp_path)
    batch = own.sampler.batch(0, [0, 1, 2])
    assert 0.5 < float(batch.fov_mask.float().mean()) < 0.8
    outside = ~batch.fov_mask
    own.learner.model.eval()
    before = float(own.learner.loss_of(batch).detach())
    wrong = replace(batch, target=torch.where(outside, 1 - batch.target, batch.target))
    assert float(own.learner.loss_of(wrong).detach()) == before


def test_train_loss_is_the_mean_over_images_also_with_a_smaller_last_batch(
    root: Path, tmp_path: Path
) -> None:
    config = baseline(root, "batch_size=2", "epochs=1", "optimizer=sgd", "optimizer.lr=1e-30")
    own = trainer(config, tmp_path)
    order = own.sampler.order(0)
    batches = [own.sampler.batch(0, order[:2]), own.sampler.batch(0, order[2:])]
    first, last = (float(own.learner.loss_of(batch).detach()) for batch in batches)
    own.fit(lambda: None)
    mean = (2 * first + last) / 3
    assert own.progress.rows[0]["train_loss"] == pytest.approx(mean)


def with_val_dice(
    root: Path, folder: Path, dice: list[float], monkeypatch: pytest.MonkeyPatch
) -> Trainer:
    config = config_of(
        *("data=folder", f"data.root={root}", *SMALL[:-2], f"epochs={len(dice)}"),
        "data.val_fraction=0.4",
    )
    own = trainer(config, folder)
    values = iter(dice)
    monkeypatch.setattr(
        loop, "validate", lambda *_: Validation(loss=1.0, dice=next(values), threshold=0.5)
    )
    return own


def test_nan_is_never_best(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = with_val_dice(root, tmp_path, [math.nan, 0.5, math.nan, 0.7, 0.6], monkeypatch)
    own.fit(lambda: None)
    assert (own.progress.best_epoch, own.progress.best_score) == (4, 0.7)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert best["progress"]["epoch"] == 4


def test_without_val_best_is_the_last(root: Path, tmp_path: Path) -> None:
    own = trainer(baseline(root, "epochs=2"), tmp_path)
    own.fit(lambda: None)
    assert (tmp_path / "best.pt").read_bytes() == (tmp_path / "last.pt").read_bytes()
    assert own.threshold.value == 0.5
    assert own.threshold.origin == "fixed"


def test_without_val_the_threshold_comes_from_train_at_the_end(root: Path, tmp_path: Path) -> None:
    own = trainer(baseline(root, "epochs=2", "threshold=auto"), tmp_path)
    origins: list[str] = []
    own.fit(lambda: origins.append(own.threshold.origin))
    assert origins == ["fixed", "train"]
    histogram = ProbabilityHistogram()
    for sample in own.dataset.samples["train"]:
        fov, target = sample.native_fov.unpack()[0], sample.native_targets.unpack()[0]
        histogram.add(own.predictor.probability(sample)[0], target, fov)
    assert own.threshold.value == histogram.best_dice_threshold()[0]
    assert checkpoint.load(tmp_path / "best.pt").threshold == own.threshold


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(root: Path, tmp_path: Path) -> None:
    own = trainer(baseline(root), tmp_path)
    before = copy.deepcopy(own.learner.model.state_dict())
    parameter = next(own.learner.model.parameters())
    parameter.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(DivergedError, match=r"epoch 1, step 1.*images p0, p1, p2"):
        own.learner.step(own.sampler.batch(0, [0, 1, 2]), 0, 0)
    for name, tensor in own.learner.model.named_parameters():
        assert torch.equal(tensor, before[name])


def test_the_seed_draws_the_weights_and_nothing_else_changes_them(
    root: Path, tmp_path: Path
) -> None:
    torch.manual_seed(123)
    one = trainer(baseline(root, "seed=0"), tmp_path).learner.model.state_dict()
    torch.manual_seed(456)
    again = trainer(baseline(root, "seed=0"), tmp_path).learner.model.state_dict()
    other = trainer(baseline(root, "seed=1"), tmp_path).learner.model.state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_the_last_bias_starts_at_the_log_odds_of_the_structure(root: Path, tmp_path: Path) -> None:
    own = trainer(baseline(root, "model.prior_bias=true"), tmp_path)
    samples = own.dataset.samples["train"]
    vessel = sum(float(s.target[0][s.fov_mask].sum()) / 255 for s in samples)
    share = vessel / sum(int(s.fov_mask.sum()) for s in samples)
    assert 0.05 < share < 0.3
    bias = float(own.learner.model.state_dict()["head.bias"])
    assert bias == pytest.approx(math.log(share / (1 - share)), rel=1e-5)
    plain = trainer(baseline(root), tmp_path).learner.model.state_dict()["head.bias"]
    assert abs(float(plain)) <= 0.5


def test_dataset_splits_are_disjoint_and_whole(root: Path) -> None:
    dataset: Dataset = load_dataset(
        config_of("data=folder", f"data.root={root}", "data.val_fraction=0.4").data
    )
    ids = {split: {s.id for s in samples} for split, samples in dataset.samples.items()}
    assert ids["train"] | ids["val"] == {"p0", "p1", "p2"}
    assert not ids["train"] & ids["val"]
    assert ids["test"] == {"p3"}
    assert len(dataset.manifest()["test"]) == 2


def test_the_test_loss_of_an_epoch_is_that_of_few_enough_images(tmp_path: Path) -> None:
    root = write_tiny_set(tmp_path / "set", train=2, test=5)
    # 4 patches of 64 pixels allow as many pixels as one image of 64 has; 12 allow three.
    for patches, expected in ((4, ["p2"]), (12, ["p2", "p4", "p6"]), (20, 5)):
        own = trainer(
            baseline(root, f"data.patches_per_epoch={patches}", "data.patch_px=64"), tmp_path
        )
        ids = [sample.id for sample in own.test_samples]
        assert len(ids) == expected if isinstance(expected, int) else ids == expected
