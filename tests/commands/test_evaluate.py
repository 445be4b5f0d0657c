"""fundus-eval: where thresholds come from, native size, several checkpoints at once."""

import contextlib
import csv
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import random_checkpoint, read_content
from conftest import small, write_tiny_set
from PIL import Image

from fundus_cli.cli import main as cli
from fundus_cli.commands.evaluate import checkpoint_paths, data_config
from fundus_cli.config import Normalisation
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.errors import ConfigError
from fundus_cli.inference.ensembles import member_names
from fundus_cli.inference.loading import predictor_of
from fundus_cli.run import checkpoint

RUNS = {
    "fold0": ("data.folds=3", "data.fold=0"),
    "fold1": ("data.folds=3", "data.fold=1", "seed=1"),
    "smaller": ("data.folds=3", "data.fold=0", "data.fov_diameter_px=40"),
}


Run = Callable[..., tuple[int, str, str]]


@contextlib.contextmanager
def command_line(folder: Path, *words: str) -> Iterator[None]:
    """As if these words had been typed in this folder; signals are the test's again behind it."""
    before = sys.argv, Path.cwd(), {s: signal.getsignal(s) for s in (1, 2, 10, 15)}
    sys.argv = list(words)
    os.chdir(folder)
    try:
        yield
    finally:
        sys.argv, directory, handlers = before
        os.chdir(directory)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def train(folder: Path, output: str, *more: str) -> None:
    arguments = ("data.root=data", f"output={output}", *small(*more, "overlays=0"))
    with command_line(folder, "fundus-train", *arguments):
        assert cli.main("train") == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and three short runs on it: two folds, and one at another working resolution."""
    folder = tmp_path_factory.mktemp("several")
    write_tiny_set(folder / "data")
    for name, more in RUNS.items():
        train(folder, name, *more)
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run fundus-eval in the test's folder: exit code, standard output, standard error."""

    def run_eval(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with command_line(tmp_path, "fundus-eval", *arguments):
            code = cli.main("eval")
        return (code, *capsys.readouterr())

    return run_eval


def evaluate(run: Run, place: Path, *arguments: str) -> str:
    code, text, errors = run(f"data.root={place / 'data'}", "overlays=0", *arguments)
    assert code == 0, errors
    return text


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def pooled(content: Any, region: int = 0) -> dict[str, float]:
    found: dict[str, float] = content["protocols"][region]["structures"]["vessel"]["pooled"]
    return found


def test_members_score_as_they_do_alone_and_the_ensemble_averages_them(
    run: Run, tmp_path: Path, place: Path
) -> None:
    both = f"checkpoint=[{place / 'fold0'},{place / 'fold1' / 'best.pt'}]"
    text = evaluate(run, place, both, "output=both")
    members = {}
    for name in ("fold0", "fold1"):
        evaluate(run, place, f"checkpoint={place / name}", f"output={name}")
        members[name] = read(tmp_path / name / "metrics.json")
        for file in ("metrics.json", "metrics.csv", "curves.json"):
            alone = (tmp_path / name / file).read_bytes()
            assert (tmp_path / "both" / "members" / name / file).read_bytes() == alone
            assert (place / name / file).read_bytes() == alone

    page = (tmp_path / "both" / "report.html").read_text()
    several = f"{place / 'fold0'}, {place / 'fold1' / 'best.pt'}"
    assert f"<dt>Checkpoint</dt><dd>{several}</dd>" in page
    content = read(tmp_path / "both" / "metrics.json")
    thresholds = [members[name]["threshold"] for name in members]
    assert content["threshold"] == pytest.approx(sum(thresholds) / 2)
    assert content["threshold_origin"] == "mean of members"
    assert [own["name"] for own in content["members"]] == ["fold0", "fold1"]
    assert [own["threshold"] for own in content["members"]] == thresholds
    assert [own["threshold_origin"] for own in content["members"]] == ["val", "val"]
    for region in (0, 1):
        of_region = content["protocols"][region]
        assert of_region["num_models"] == 2
        assert "2 networks averaged" in of_region["protocol"]
        folds = [f"folder (fold {fold} of 3 left out)" for fold in (0, 1)]
        assert of_region["trained_on"] == " and ".join(folds)
        assert "mean of the members" in of_region["protocol"]
        spread = content["over_members"][of_region["region"]]["vessel"]
        for metric in ("dice", "auc_roc", "cldice", "ece"):
            values = [pooled(own, region)[metric] for own in members.values()]
            assert spread[metric]["mean"] == pytest.approx(np.mean(values))
            assert spread[metric]["sd"] == pytest.approx(np.std(values, ddof=1))
    dice = pooled(content)["dice"]
    for own, name in zip(content["members"], members, strict=True):
        difference = own["ensemble_minus_member"]["vessel"]
        assert difference["dice"] == pytest.approx(dice - pooled(members[name])["dice"])
        assert 0 < difference["p_value"] <= 1

    with (tmp_path / "both" / "members.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["region"] == "fov"]
    names = ["fold0", "fold1", "mean of members", "sd of members", "ensemble"]
    assert [row["name"] for row in rows] == names
    assert float(rows[-1]["dice"]) == dice
    for name in names:
        assert f"\n{name} " in text
    assert f"{dice:.4f}" in text


def test_the_ensemble_is_the_mean_of_the_logits(run: Run, tmp_path: Path, place: Path) -> None:
    evaluate(run, place, f"checkpoint=[{place / 'fold0'},{place / 'fold1'}]", "output=both")
    cpu = torch.device("cpu")
    saved = [checkpoint.load(place / name / "best.pt") for name in ("fold0", "fold1")]
    predictors = [predictor_of(own, cpu) for own in saved]
    predictors[0].models += predictors[1].models
    data = replace(saved[0].config.data, root=str(place / "data"))
    dataset = load_dataset(data, ("test",))
    with (tmp_path / "both" / "metrics.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for sample in dataset.samples["test"]:
        probability = predictors[0].probability(sample)[0]
        mean = probability[sample.native_fov.unpack()[0]].mean(dtype=np.float64)
        assert float(rows[sample.id]["mean_probability"]) == pytest.approx(mean, rel=1e-6)


def test_twice_is_equal_to_the_byte(run: Run, tmp_path: Path, place: Path) -> None:
    both = f"checkpoint=[{place / 'fold0'},{place / 'fold1'}]"
    for output in ("one", "two"):
        evaluate(run, place, both, f"output={output}")
    one, two = tmp_path / "one", tmp_path / "two"
    numbers = [p for kind in ("metrics.*", "curves.json", "members.csv") for p in one.rglob(kind)]
    assert len(numbers) == 3 * 3 + 1
    for path in numbers:
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


def test_a_member_that_was_trained_on_what_is_scored_is_named(run: Run, place: Path) -> None:
    both = f"checkpoint=[{place / 'fold0'},{place / 'fold1'}]"
    text = evaluate(run, place, both, "split=val", "output=val")
    # The images that fold 0 held out are among those that fold 1 was trained on.
    warnings = [line for line in text.splitlines() if line.startswith("warning")]
    # Once above the scores and once below.
    assert len(warnings) == 2 and warnings[0] == warnings[1]
    assert warnings[0].startswith("warning: fold1: 2 of these images were trained on")
    everything = evaluate(run, place, f"checkpoint={place / 'fold0'}", "split=all", "output=a")
    warnings = [line for line in everything.splitlines() if line.startswith("warning")]
    assert "4 of these images were trained on" in warnings[0]
    assert "2 of these images chose the checkpoint and the threshold" in warnings[1]
    assert "warning" not in evaluate(run, place, both, "output=test")


def test_members_may_see_images_at_different_sizes(run: Run, tmp_path: Path, place: Path) -> None:
    evaluate(run, place, f"checkpoint=[{place / 'fold0'},{place / 'smaller'}]", "output=both")
    evaluate(run, place, f"checkpoint={place / 'smaller'}", "output=alone")
    member = tmp_path / "both" / "members" / "smaller" / "metrics.json"
    assert member.read_bytes() == (tmp_path / "alone" / "metrics.json").read_bytes()
    assert member.read_bytes() == (place / "smaller" / "metrics.json").read_bytes()
    content = read(tmp_path / "both" / "metrics.json")
    assert 0 < pooled(content)["auc_roc"] < 1


def test_the_threshold_and_tta_can_be_given_and_are_written_down(
    run: Run, tmp_path: Path, place: Path
) -> None:
    both = f"checkpoint=[{place / 'fold0'},{place / 'fold1'}]"
    more = ("threshold=0.25", "tta=true", "shape_metrics=false", "output=given")
    evaluate(run, place, both, *more)
    content = read(tmp_path / "given" / "metrics.json")
    assert (content["threshold"], content["threshold_origin"]) == (0.25, "given")
    assert {own["threshold"] for own in content["members"]} == {0.25}
    assert content["protocols"][0]["tta"] is True
    assert "cldice" not in pooled(content)


def changed(place: Path, tmp_path: Path, change: dict[str, Any]) -> Path:
    """A copy of fold 0's checkpoint with other values in its config."""
    content = read_content(place / "fold0" / "best.pt")
    for key, value in change.items():
        *parents, leaf = key.split(".")
        level = content["config"]
        for parent in parents:
            level = level[parent]
        level[leaf] = value
    path = tmp_path / "changed.pt"
    torch.save(content, path)
    return path


def test_networks_that_do_not_go_together_are_refused_with_both_values(
    run: Run, tmp_path: Path, place: Path
) -> None:
    targets = {"artery": "train_masks/{id}.*"}
    change = {"data.train.targets": targets, "data.test.targets": targets}
    path = changed(place, tmp_path, change)
    code, _, errors = run(f"checkpoint=[{place / 'fold0'},{path}]", "output=none")
    assert code == 3
    for word in ("structures=vessel", "artery", "changed.pt", "best.pt"):
        assert word in errors
    assert not (tmp_path / "none").exists()

    path = changed(place, tmp_path, {"data.name": "elsewhere"})
    code, _, errors = run(f"checkpoint=[{place / 'fold0'},{path}]", "output=none")
    assert code == 2
    for word in ("folder", "elsewhere", "data=..."):
        assert word in errors
    assert errors.count("\n") == 1

    twice = f"checkpoint=[{place / 'fold0'},{place / 'fold0' / 'best.pt'}]"
    code, _, errors = run(twice, "output=none")
    assert code == 2
    assert "named twice" in errors


@pytest.mark.parametrize("value", ["[]", "''", "[a.pt,'']", "3", "[a.pt,a.pt]", "{a: b}"])
def test_what_names_no_checkpoint_is_a_config_error(value: str) -> None:
    with pytest.raises(ConfigError, match="checkpoint"):
        compose_config("eval", (f"checkpoint={value}",))


def test_run_folders_and_sweep_folders_stand_for_their_checkpoints(tmp_path: Path) -> None:
    for run, names in {"0": ("best.pt", "last.pt"), "1": ("last.pt",), "notes": ()}.items():
        (tmp_path / "sweep" / run).mkdir(parents=True)
        for name in names:
            (tmp_path / "sweep" / run / name).touch()
    sweep = tmp_path / "sweep"
    paths = [sweep / "0" / "best.pt", sweep / "1" / "last.pt"]
    assert checkpoint_paths([str(sweep)]) == paths
    assert checkpoint_paths([str(sweep / "0"), str(sweep / "1")]) == paths
    assert checkpoint_paths([str(sweep / "0" / "last.pt")]) == [sweep / "0" / "last.pt"]
    assert checkpoint_paths([str(sweep / "notes")]) == [sweep / "notes" / "best.pt"]
    assert checkpoint_paths(["nowhere.pt"]) == [Path("nowhere.pt")]


def test_member_names_are_short_and_differ() -> None:
    assert member_names([Path("a/best.pt"), Path("b/best.pt")]) == ["a", "b"]
    assert member_names([Path("x/0/best.pt"), Path("y/0/best.pt")]) == ["x_0", "y_0"]
    assert member_names([Path("a/best.pt"), Path("a/last.pt")]) == ["best", "last"]


def test_the_threshold_does_not_come_from_the_test_images(
    run: Run, tmp_path: Path, place: Path
) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    for path in (tmp_path / "data" / "test_masks").iterdir():
        with Image.open(path) as mask:
            thicker = np.asarray(mask) > 0
        for _ in range(4):
            thicker = thicker | np.roll(thicker, 1, axis=0) | np.roll(thicker, 1, axis=1)
        Image.fromarray(thicker.astype(np.uint8) * 255).save(path)
    train(tmp_path, "run", *RUNS["fold0"])
    before, after = (read(run / "metrics.json") for run in (place / "fold0", tmp_path / "run"))
    assert after["threshold"] == before["threshold"]
    assert after["threshold_origin"] == before["threshold_origin"] == "val"
    assert pooled(after)["dice"] != pooled(before)["dice"]
    weights = [
        checkpoint.load(run / "best.pt").weights for run in (place / "fold0", tmp_path / "run")
    ]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
    # Nor when other images are scored: the threshold that would suit them best is another.
    evaluate(run, place, f"checkpoint={tmp_path / 'run'}", "output=again")
    assert read(tmp_path / "again" / "metrics.json")["threshold"] == before["threshold"]


def test_scores_are_counted_at_the_images_own_size(place: Path) -> None:
    with (place / "smaller" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        with Image.open(place / "data" / "test_masks" / f"{row['id']}.png") as mask:
            native = np.asarray(mask) > 0
        counted = sum(int(row[key]) for key in ("tp", "fp", "fn", "tn"))
        assert counted == int(row["fov_px"])
        # Every vessel pixel of the file, none of a mask that was scaled to 40 pixels and back.
        assert int(row["tp"]) + int(row["fn"]) == np.count_nonzero(native)
        assert counted > 40 * 40


def test_another_set_keeps_its_cameras_angle_and_takes_the_networks_resolution(
    tmp_path: Path,
) -> None:
    words = ("data=hrf", "data.fov_diameter_px=900", "data.normalisation=local")
    random_checkpoint(tmp_path / "net.pt", *words)
    saved = checkpoint.load(tmp_path / "net.pt")
    stored = saved.config.data
    assert (stored.fov_angle_deg, stored.working_diameter_px) == (45, 900)
    other = compose_config("eval", ["checkpoint=any", "data=chasedb1"])
    data = data_config(other, {}, saved)
    assert (data.fov_angle_deg, data.working_diameter_px) == (30, 600)
    assert data.normalisation is Normalisation.local
