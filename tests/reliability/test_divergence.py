"""Values that are not finite end a run in one line with exit code 4, whenever they appear."""

import math
from pathlib import Path

import pytest
import torch
from checkpoints import read_content
from reliability.forks import Forked
from reliability.kit import complaint, train

from fundus_cli.training.learner import Learner
from fundus_cli.training.loop import Trainer

ONE_STEP = ("batch_size=100", "epochs=2")
"""Each step is the last of its epoch."""


@pytest.mark.parametrize("more", [(), ("ema_decay=0",), ("data.val_fraction=0",)])
def test_the_last_step_of_an_epoch_diverges(
    tmp_path: Path, shared_tiny_set: Path, more: tuple[str, ...]
) -> None:
    arguments = train(shared_tiny_set, "run", *ONE_STEP, "optimizer.lr=1e30", *more)
    result = Forked(tmp_path, *arguments).result()
    complaint(result, 4, "lower", "optimizer.lr")
    assert not list((tmp_path / "run").glob("*.pt"))


def spoil(learner: Learner, what: str) -> None:
    """Make one value not finite, as an overflow does."""
    model = learner.model
    if what == "average":
        assert learner.average is not None
        model = learner.average.model
    if what == "variance":
        name = next(name for name in model.state_dict() if name.endswith("running_var"))
        model.state_dict()[name][0] = math.inf
    elif what == "prediction":
        with torch.no_grad():
            for parameter in learner.scored_model.parameters():
                parameter.fill_(1e30)
    else:
        next(model.parameters()).data[0, 0, 0, 0] = math.nan


@pytest.mark.parametrize("what", ["weight", "variance", "average", "prediction"])
def test_what_the_last_step_spoils_is_not_validated_and_not_saved(
    tmp_path: Path, shared_tiny_set: Path, what: str
) -> None:
    """In the second epoch; the checkpoints of the first are kept."""

    def prepare() -> None:
        plain = Trainer._train_epoch

        def spoiling(self: Trainer, epoch: int) -> None:
            plain(self, epoch)
            if epoch == 1:
                spoil(self.learner, what)

        Trainer._train_epoch = spoiling  # type: ignore[method-assign]

    arguments = train(shared_tiny_set, "run", *ONE_STEP, "data.val_fraction=0.4")
    result = Forked(tmp_path, *arguments, prepare=prepare).result()
    told = complaint(result, 4, "lower", "optimizer.lr")
    assert ("the network's output is not finite" in told) is (what == "prediction")
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 2
    again = Forked(tmp_path, *arguments, "resume=auto").result()
    assert again.returncode == 0, again.stderr
    assert "resume: from epoch 2, step 1" in again.stdout


@pytest.mark.parametrize("program", ["eval", "predict"])
def test_a_network_whose_output_overflows_is_named(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]], program: str
) -> None:
    content = read_content(whole[0] / "best.pt")
    for part in ("model", "averaged"):
        for name, tensor in content[part].items():
            if tensor.is_floating_point() and "running" not in name:
                tensor.fill_(1e30)
    torch.save(content, tmp_path / "huge.pt")
    more = {"eval": [], "predict": [f"input={shared_tiny_set}/test_images"]}[program]
    result = Forked(tmp_path, program, "checkpoint=huge.pt", "output=out", *more).result()
    complaint(result, 4, "image p6", "the network's output is not finite")
