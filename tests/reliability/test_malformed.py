"""Checkpoints that are well-formed files with wrong content: one line from everything that reads
them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import read_content
from reliability.doors import Doors, took
from reliability.forks import Forked
from reliability.kit import complaint, train
from reliability.mutations import LOOP, ODD_TENSORS, made

from fundus_cli.config import SCHEMAS
from fundus_cli.errors import DataError
from fundus_cli.inference.loading import predictor_of
from fundus_cli.run import checkpoint
from fundus_cli.runtime.device import choose_device

Content = dict[str, Any]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    return Doors(tmp_path_factory.mktemp("doors"), optimizer="adamw")


def put(*keys: Any, value: Any) -> Callable[[Content], None]:
    """A change that puts a value at a place."""

    def change(content: Content) -> None:
        level: Any = content
        for key in keys[:-1]:
            level = level[key]
        level[keys[-1]] = value

    return change


def swap(one: str, other: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        content[one], content[other] = content[other], content[one]

    return change


def with_first_weight(make: Callable[[torch.Tensor], Any]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        name = next(iter(content["model"]))
        for part in ("model", "averaged"):
            content[part][name] = make(content[part][name])

    return change


ROW = {"epoch": 1, "train_loss": 0.5, "test_loss": 0.5, "lr": 0.1}
EVERY = ("format", "config", "model", "averaged", "optimizer", "progress", "threshold", "manifest")
REFUSED_BY_ALL: dict[str, Callable[[Content], None]] = {
    **{f"no {name}": lambda content, name=name: content.pop(name) for name in EVERY},  # type: ignore[misc]
    **{f"{name} is a list": put(name, value=[1, 2]) for name in EVERY},
    **{f"{name} is a number": put(name, value=3) for name in EVERY},
    "model and manifest swapped": swap("model", "manifest"),
    "averaged and progress swapped": swap("averaged", "progress"),
    "a weight is a list": with_first_weight(lambda weight: weight.tolist()),
    "a weight is missing": lambda content: content["averaged"].pop(next(iter(content["model"]))),
    "a weight of another shape": with_first_weight(lambda weight: weight[..., None]),
    "a weight is complex": with_first_weight(lambda weight: weight.to(torch.complex64)),
    "a weight is bool": with_first_weight(lambda weight: weight > 0),
    "a weight is int": with_first_weight(lambda weight: (100 * weight).int()),
    "a weight is not finite": with_first_weight(lambda weight: weight * torch.nan),
    "a weight is sparse": with_first_weight(lambda weight: weight.to_sparse()),
    "a weight is on no device": with_first_weight(lambda weight: weight.to("meta")),
    "a weight is one number": with_first_weight(
        lambda weight: weight[:1, :1, :1, :1].clone().expand_as(weight)
    ),
    "names of weights are numbers": put("model", 3, value=torch.zeros(1)),
    "manifest of lists": put("manifest", value={"train": ["a.png"]}),
    "manifest of numbers": put("manifest", value={"train": {"a.png": 5}}),
    "custom is a list": put("custom", value=["model"]),
    "threshold is NaN": put("threshold", "value", value=float("nan")),
    "threshold is text": put("threshold", "value", value="0.5"),
    "threshold of no origin": put("threshold", "origin", value="elsewhere"),
    "an odd row": put("progress", "rows", value=[{**ROW, "epoch": "one"}]),
    "a row without an epoch": put("progress", "rows", value=[{"train_loss": 1.0}]),
    "a row of lists": put("progress", "rows", value=[{**ROW, "lr": [1]}]),
    "timings of text": put("progress", "timings", value=["1 s"]),
    "epoch below 0": put("progress", "epoch", value=-1),
    "epoch is 1.5": put("progress", "epoch", value=1.5),
    "loss_sum is text": put("progress", "loss_sum", value="x"),
    "best_score is a tensor": put("progress", "best_score", value=torch.zeros(1)),
    "a number without end": put("progress", "seconds", value=10**400),
    "a list that contains itself": put("manifest", "train", value=LOOP),
    "a channel too many": put("config", "model", "base_channels", value=10**6),
    "structures of lists": put("config", "data", "train", "targets", value={"vessel": []}),
    "a seed of text": put("config", "seed", value="x"),
    "no epochs": put("config", "epochs", value=None),
    "a timeout without end": put("config", "data", "timeout_s", value=float("inf")),
    "a structure with a path": put("config", "data", "train", "targets", value={"../x": "a/{id}"}),
}


REFUSED_BY_RESUME: dict[str, Callable[[Content], None]] = {
    "no row": put("progress", "rows", value=[]),
    "a row too many": lambda content: content["progress"]["rows"].append(ROW),
    "batches without images": put("progress", "batch", value=1),
    "no group": put("optimizer", "param_groups", value=[]),
    "an empty group": put("optimizer", "param_groups", value=[{}, {}]),
    "other weights in the groups": put("optimizer", "param_groups", 0, "params", value=[0, 99]),
    "state of a weight too many": put("optimizer", "state", 999, value={}),
    "state without exp_avg": lambda content: content["optimizer"]["state"][0].pop("exp_avg"),
    "another optimizer's state": put("optimizer", "state", 0, value={"momentum_buffer": None}),
    "more state": put("optimizer", "state", 0, "more", value=[1]),
    "a step of text": put("optimizer", "state", 0, "step", value="7"),
    "a step below 0": put("optimizer", "state", 0, "step", value=torch.tensor(-1.0)),
}
"""These leave the weights whole: predicting and scoring with them is right."""


def changed(doors: Doors, path: Path, change: Callable[[Content], Any]) -> Path:
    """A copy of the run's checkpoint with a change."""
    content = read_content(doors.checkpoint)
    change(content)
    torch.save(content, path)
    return path


def test_the_unchanged_checkpoint_is_taken(doors: Doors, tmp_path: Path) -> None:
    path = changed(doors, tmp_path / "same.pt", lambda content: None)
    assert doors.every(path) == [True] * 4
    assert doors.every(doors.checkpoint) == [True] * 4


@pytest.mark.parametrize("name", REFUSED_BY_ALL)
def test_wrong_content_is_refused(doors: Doors, tmp_path: Path, name: str) -> None:
    path = changed(doors, tmp_path / "odd.pt", REFUSED_BY_ALL[name])
    assert doors.every(path) == [False] * 4


@pytest.mark.parametrize("name", REFUSED_BY_RESUME)
def test_what_cannot_be_continued_is_refused(doors: Doors, tmp_path: Path, name: str) -> None:
    path = changed(doors, tmp_path / "odd.pt", REFUSED_BY_RESUME[name])
    assert doors.every(path) == [True, True, True, False]


@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_odd_tensors_are_refused(doors: Doors, tmp_path: Path, kind: str) -> None:
    """As a weight and as state of the optimizer."""
    odd = made(ODD_TENSORS[kind])
    path = changed(doors, tmp_path / "weight.pt", with_first_weight(lambda weight: odd))
    assert doors.every(path) == [False] * 4
    change = put("optimizer", "state", 0, "exp_avg", value=odd)
    path = changed(doors, tmp_path / "state.pt", change)
    assert not took(lambda: doors.resume(path))


def test_a_network_of_absurd_size_is_refused_before_it_is_made(
    doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 GB, which no weights in the file stand for."""

    def large(content: Content) -> None:
        content["config"]["model"] |= {"base_channels": 512, "depth": 7}

    saved = checkpoint.load(changed(doors, tmp_path / "large.pt", large))
    plain = torch.Tensor.uniform_

    def on_paper(tensor: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        assert tensor.is_meta, "memory was taken"
        return plain(tensor, *arguments, **named)

    monkeypatch.setattr(torch.Tensor, "uniform_", on_paper)
    with pytest.raises(DataError, match="the file belongs to another network"):
        predictor_of(saved, choose_device(saved.config.device))


def test_a_tensor_larger_than_its_file_is_not_touched(doors: Doors, tmp_path: Path) -> None:
    """A number that stands for 4 TB."""
    huge = torch.zeros(1).expand(10**12)
    path = changed(doors, tmp_path / "huge.pt", with_first_weight(lambda weight: huge))
    with pytest.raises(DataError, match="cannot be read safely"):
        checkpoint.load(path)


def test_resume_changes_what_the_config_says(doors: Doors, tmp_path: Path) -> None:
    """Weight decay and momentum may change on resume; the stored ones do not come back."""
    saved = checkpoint.load(doors.checkpoint)
    words = ("optimizer.weight_decay=0.25", "optimizer.lr=0.001")
    trainer = doors.trainer(doors.composed(2, "decay", *words), tmp_path)
    trainer.restore(saved)
    groups = trainer.learner.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]
    state = trainer.learner.optimizer.state_dict()["state"]
    for index, own in saved.optimizer["state"].items():
        assert all(torch.equal(state[index][name], own[name]) for name in own)


TAKES_CHECKPOINT = ("eval", "predict", "export")


@pytest.mark.parametrize("program", [*TAKES_CHECKPOINT, "train"])
def test_the_commands_say_it_in_a_line(doors: Doors, tmp_path: Path, program: str) -> None:
    assert set(TAKES_CHECKPOINT) == {n for n, s in SCHEMAS.items() if "checkpoint" in fields_of(s)}
    path = changed(doors, tmp_path / "odd.pt", REFUSED_BY_ALL["manifest is a list"])
    arguments = {
        "predict": (f"checkpoint={path}", f"input={doors.data}/test_images"),
        "train": train(doors.data, "run", f"init_from={path}")[1:],
    }.get(program, (f"checkpoint={path}",))
    result = Forked(tmp_path, program, *arguments).result(seconds=30)
    complaint(result, 3, "odd.pt: is not a checkpoint of fundus-train (manifest is not a mapping")
    assert not {"run", "outputs"} & {p.name for p in tmp_path.iterdir()}


def fields_of(schema: type) -> list[str]:
    return list(schema.__dataclass_fields__)  # type: ignore[attr-defined]


def test_resume_with_a_malformed_checkpoint_says_it_in_a_line(doors: Doors, tmp_path: Path) -> None:
    """One that cannot be read, and one whose optimizer does not fit."""
    words = ("train", *doors.words, "epochs=2", "output=run", "resume=auto")
    (tmp_path / "run").mkdir()
    for name, change, code, said in (
        ("list", REFUSED_BY_ALL["manifest is a list"], 5, "nothing to resume from"),
        ("state", REFUSED_BY_RESUME["state without exp_avg"], 3, "exp_avg is not a tensor"),
    ):
        changed(doors, tmp_path / "run" / "last.pt", change)
        result = Forked(tmp_path, *words).result(seconds=60)
        complaint(result, code, "last.pt", said)
        assert not (tmp_path / "run" / "log.csv").exists(), name
