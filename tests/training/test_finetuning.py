"""A run that begins with another run's weights: what is copied, what is refused, what is kept."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import random_checkpoint
from conftest import small
from reliability.forks import Forked
from torch import Tensor

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.errors import ConfigError, DataError
from fundus_cli.model.build import build_model
from fundus_cli.run import checkpoint
from fundus_cli.training.finetuning import check_unseen, load_initial_weights, load_pretrained

STANDING_STILL = ("optimizer.lr=1e-12", "optimizer.weight_decay=0", "precision=float32")


def config_of(*overrides: str) -> TrainConfig:
    words = ("data=folder", "data.fov_diameter_px=null", "model.base_channels=4", "model.depth=2")
    given = {word.partition("=")[0] for word in overrides}
    kept = [word for word in words if word.partition("=")[0] not in given]
    return compose_config("train", (*kept, *overrides))


def train(folder: Path, output: str, *more: str) -> tuple[int, str, str]:
    done = Forked(folder, "train", "data.root=data", f"output={output}", *small(*more)).result()
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, shared_tiny_set: Path) -> Path:
    """The folder of a finished run called `first`, beside its images in `data`."""
    folder = tmp_path_factory.mktemp("first")
    shutil.copytree(shared_tiny_set, folder / "data")
    code, _, error = train(folder, "first", "precision=float32")
    assert (code, error) == (0, "")
    return folder


@pytest.fixture
def place(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "place"))


def parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the running statistics of batch norm, which steps change whatever the rate."""
    return {name: t for name, t in weights.items() if "running" not in name and "num_" not in name}


def test_it_begins_with_the_weights_that_score(place: Path) -> None:
    code, said, error = train(
        place, "second", "init_from=first", "seed=7", "epochs=1", *STANDING_STILL
    )
    assert (code, error) == (0, "")
    assert "init_from: initialised from first/best.pt, step " in said
    before, after = (checkpoint.load(place / run / "best.pt") for run in ("first", "second"))
    assert after.averaged is not None
    for weights in (after.model, after.averaged):
        for name, weight in parameters(before.weights).items():
            torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=0)
    drawn = build_model(after.config).state_dict()
    assert not torch.allclose(drawn["head.weight"], after.model["head.weight"], atol=1e-3)
    assert json.loads((place / "second" / "config.json").read_text())["init_from"] == "first"
    scores = json.loads((place / "second" / "metrics.json").read_text())["protocols"]
    assert scores[0]["trained_on"] == "folder, fine-tuned from another run"
    assert "<dt>Begins with</dt><dd>first</dd>" in (place / "second" / "report.html").read_text()


def test_it_is_continued_without_the_file_it_began_with(place: Path) -> None:
    keys = ("init_from=first/best.pt", "scheduler=constant", "precision=float32")
    assert train(place, "whole", *keys, "epochs=2")[0] == 0
    assert train(place, "parts", *keys, "epochs=1")[0] == 0
    (place / "first").rename(place / "gone")
    code, _, error = train(place, "parts", *keys, "epochs=2", "resume=auto")
    assert (code, error) == (0, "")
    whole, parts = (checkpoint.load(place / run / "last.pt") for run in ("whole", "parts"))
    assert all(whole.model[name].equal(weight) for name, weight in parts.model.items())
    assert whole.manifest == parts.manifest
    code, _, error = train(place, "parts", "init_from=gone", *keys[1:], "resume=auto")
    assert code == 2 and "init_from: first/best.pt -> gone: cannot change" in error


def test_a_run_may_begin_with_the_one_that_it_replaces(place: Path) -> None:
    code, said, error = train(place, "first", "init_from=first", "overwrite=true", "epochs=1")
    assert (code, error) == (0, "")
    assert "init_from: initialised from" in said


def test_images_of_test_must_not_have_been_learned_from(place: Path) -> None:
    for folder in ("images", "masks"):
        learned = sorted((place / "data" / f"train_{folder}").iterdir())
        for path in learned:
            path.rename(place / "data" / f"test_{folder}" / path.name)
        for path in (place / "data" / f"test_{folder}").iterdir():
            if path.name in ("p6.png", "p7.png"):
                path.rename(place / "data" / f"train_{folder}" / path.name)
    code, _, error = train(place, "second", "init_from=first", "data.val_fraction=0")
    assert code == 3
    assert error.startswith("fundus-train: init_from=first/best.pt: was trained on 5 of the test")
    assert error.count("\n") == 1
    assert not (place / "second" / "last.pt").exists()
    code, _, error = train(place, "other", "data.val_fraction=0", "epochs=1")
    assert (code, error) == (0, "")


def test_what_was_learned_before_is_known_to_eval(place: Path) -> None:
    """Also two runs later, when p1 is no longer in the set and only the file's record can tell."""
    shutil.copytree(place / "data", place / "former")
    for folder in ("images", "masks"):
        (place / "data" / f"train_{folder}" / "p1.png").unlink()
    for before, now in (("first", "second"), ("second", "third")):
        assert train(place, now, f"init_from={before}", "epochs=1")[0] == 0
    assert train(place, "third", "init_from=second", "epochs=2", "resume=auto")[0] == 0
    third = checkpoint.load(place / "third" / "last.pt")
    assert third.progress.epoch == 2
    scored = Forked(
        place, "eval", "checkpoint=third/last.pt", "data.root=former", "split=all", "output=scores"
    ).result()
    assert scored.returncode == 0, scored.stderr
    line, _ = [row for row in scored.stdout.splitlines() if "were trained on" in row]
    assert line.startswith("warning: 5 of these images were trained on")
    assert line.endswith("about new ones: p1, p2, p3, p4, p5")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("init_from=nowhere",), 2, "init_from=nowhere: no such file or folder"),
        (("init_from=data",), 2, "init_from=data: no checkpoint found"),
        (("init_from=' '",), 2, "init_from= : must be a checkpoint, a run folder, or null"),
        (
            ("init_from=data/train_images/p1.png",),
            3,
            "p1.png: cannot be read safely",
        ),
        (
            ("init_from=first", "model.base_channels=5"),
            2,
            "init_from=first: a network of other size than this run's (model=unet "
            "model.base_channels=5 model.depth=2); add model=unet model.base_channels=4 "
            "model.depth=2",
        ),
    ],
)
def test_what_cannot_be_begun_with_is_one_line(
    place: Path, given: tuple[str, ...], code: int, words: str
) -> None:
    found, _, error = train(place, "second", *given)
    assert found == code
    assert words in error and error.count("\n") == 1
    assert not (place / "second").exists()


def test_a_folder_of_several_runs_is_not_one_checkpoint(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
        random_checkpoint(tmp_path / "sweep" / name / "best.pt")
    config = config_of(f"init_from={tmp_path / 'sweep'}")
    with pytest.raises(ConfigError, match=r"holds 2 checkpoints; name one of them, as in .*a/best"):
        load_pretrained(config)


def structures(config: TrainConfig, *names: str) -> TrainConfig:
    data = config.data
    split = replace(data.train, targets={name: f"{name}/{{id}}.png" for name in names})
    return replace(config, data=replace(data, train=split, test=None))


def test_a_structure_keeps_what_is_known_about_it(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "a.pt")
    saved = checkpoint.load(tmp_path / "a.pt")
    config = structures(config_of("seed=3"), "artery", "vessel")
    model = build_model(config)
    fresh = {name: weight.clone() for name, weight in model.state_dict().items()}
    lines = load_initial_weights(saved, config, model)
    now = model.state_dict()
    for name in ("head.weight", "head.bias"):
        assert now[name][0].equal(fresh[name][0])
        assert now[name][1].equal(saved.weights[name][0])
    others = [name for name in now if not name.startswith("head.")]
    assert all(now[name].equal(saved.weights[name]) for name in others)
    assert "init_from: artery: new, so its last layer starts from random weights" in lines


def test_a_cascade_cannot_change_its_structures(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "a.pt", "model=wnet")
    saved = checkpoint.load(tmp_path / "a.pt")
    config = config_of("model=wnet")
    load_initial_weights(saved, config, build_model(config))
    other = structures(config, "vein")
    with pytest.raises(ConfigError, match="which cannot be fine-tuned for vein"):
        load_initial_weights(saved, other, build_model(other))


def test_images_that_look_different_are_told(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "a.pt", "data.normalisation=local")
    saved = checkpoint.load(tmp_path / "a.pt")
    config = config_of("data.normalisation=fov", "data.fov_diameter_px=900")
    lines = load_initial_weights(saved, config, build_model(config))
    assert [line.split(", so")[0] for line in lines if line.startswith("warning: ")] == [
        "warning: init_from was trained with data.normalisation=local and this run has fov",
        "warning: init_from was trained with data.fov_diameter_px=null and this run has 900",
    ]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("data.fov_diameter_px=900",), []),
        # 1.22 times as wide, as zoom shows images a sixth smaller than they are held.
        (("data.fov_diameter_px=1320", "augment.zoom=0.833"), []),
        (
            ("data.fov_diameter_px=1320",),
            [
                "warning: init_from was trained with data.fov_diameter_px * augment.zoom=900 and "
                "this run has 1320"
            ],
        ),
    ],
)
def test_vessels_as_wide_as_zoom_shows_them_anyway_are_not_told(
    tmp_path: Path, overrides: tuple[str, ...], told: list[str]
) -> None:
    random_checkpoint(tmp_path / "a.pt", "data.fov_diameter_px=900")
    config = config_of(*overrides)
    lines = load_initial_weights(checkpoint.load(tmp_path / "a.pt"), config, build_model(config))
    assert [line.split(", so")[0] for line in lines if line.startswith("warning: ")] == told


def test_validation_images_that_were_learned_from_are_a_warning(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "a.pt")
    saved = replace(
        checkpoint.load(tmp_path / "a.pt"),
        manifest={"train": {"x/a.png": "1"}, checkpoint.BEFORE: {"2 b.png": "2"}},
    )
    assert check_unseen(saved, {"train": {"a": "1"}, "val": {"c": "3"}, "test": {}}) == []
    (line,) = check_unseen(saved, {"val": {"a": "1", "c": "3"}})
    assert line.startswith("warning: init_from was trained on 1 of the validation images")
    with pytest.raises(DataError, match=r"trained on 1 of the test images, .*: b;"):
        check_unseen(saved, {"test": {"b": "2", "c": "3"}})
