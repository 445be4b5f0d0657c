"""Names that would lead out of a folder, pipes and devices as files, and who generates images."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import random_checkpoint, read_content
from conftest import tiny_image
from PIL import Image
from reliability.forks import Forked
from reliability.kit import complaint, train

from fundus_cli.commands.evaluate import data_config
from fundus_cli.commands.predict_files import output_files
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import demo_folder
from fundus_cli.errors import ConfigError, DataError
from fundus_cli.inference.ensembles import member_names
from fundus_cli.run import checkpoint
from fundus_cli.run.files import inside, read_json
from fundus_cli.synthetic.write_set import write_demo

CLIMBING = ("../../x", "/abs/x", "..", ".", "a/b", "a\\b", "C:x", "", "x y", "a.b", "é" * 65)


def with_config(path: Path, copy: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a checkpoint with another config."""
    content = read_content(path)
    change(content["config"])
    torch.save(content, copy)
    return copy


def preset(folder: Path, name: str, structure: str) -> Path:
    """A config folder with data=mine."""
    split = {"image": "i/{id}.png", "targets": {structure: "m/{id}.png"}}
    lines = {"defaults": ["_base", "_self_"], "name": name, "train": split, "test": None}
    (folder / "data").mkdir(exist_ok=True)
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
    (folder / "data" / "mine.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("name", CLIMBING)
def test_names_in_a_config_are_names(tmp_path: Path, name: str) -> None:
    assert compose_config("train", ("data=mine",), preset(tmp_path, "My-set_2", "Gefäß-1"))
    for own, structure, key in ((name, "vessel", "data.name"), ("mine", name, "targets")):
        with pytest.raises(ConfigError, match=f"{key}=.*: must be a name of 1 to 64 letters"):
            compose_config("train", ("data=mine",), preset(tmp_path, own, structure))


@pytest.mark.parametrize("name", ["../../outside", "{tmp}/outside"])
def test_structures_of_a_checkpoint_do_not_lead_out(tmp_path: Path, name: str) -> None:
    name = name.format(tmp=tmp_path)

    def rename(config: dict[str, Any]) -> None:
        for split in ("train", "test"):
            config["data"][split]["targets"] = {name: "a/{id}.png", "b": "b/{id}.png"}

    place = tmp_path / "a" / "b" / "c"
    place.mkdir(parents=True)
    two = [f'+data.{split}.targets.b="b/{{id}}.png"' for split in ("train", "test")]
    random_checkpoint(tmp_path / "good.pt", *two)
    with_config(tmp_path / "good.pt", place / "bad.pt", rename)
    Image.fromarray(tiny_image(0)[0]).save(place / "photo.png")
    for program in ("predict", "eval", "export"):
        more = ("input=photo.png",) if program == "predict" else ()
        result = Forked(place, program, "checkpoint=bad.pt", *more).result(seconds=30)
        complaint(result, 3, "bad.pt: is not a checkpoint", "letters, digits")
    assert not list(tmp_path.rglob("outside"))
    left = {path.name for path in place.iterdir()} - {"stdout", "stderr", "sitecustomize.py"}
    assert left == {"bad.pt", "photo.png"}


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/abs/x.png", "", "..", "."])
def test_nothing_is_written_outside_a_folder(tmp_path: Path, name: str) -> None:
    """Whatever a name was checked for before, the writers look again."""
    with pytest.raises(DataError, match="leads out of it"):
        inside(tmp_path, name)
    options: dict[str, Any] = {"probability": True, "overlay": True, "fov": True}
    with pytest.raises(DataError, match="leads out of it"):
        output_files(tmp_path, Path(name), ("vessel",), **options)
    if name not in ("", "."):
        with pytest.raises(DataError, match="leads out of it"):
            output_files(tmp_path, Path("x.png"), ("vessel", name), **options)
    assert inside(tmp_path, "a", "b..c/x.png") == tmp_path / "a" / "b..c" / "x.png"


def test_a_pattern_with_dots_writes_below_its_output(tmp_path: Path) -> None:
    """photos/*/../../x.png is named ../x.png below photos/a."""
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.fromarray(tiny_image(0)[0]).save(tmp_path / "photo.png")
    random_checkpoint(tmp_path / "best.pt")
    pattern = "input=photos/*/../../photo.png"
    words = ("predict", "checkpoint=best.pt", pattern, "output=masks/here")
    complaint(Forked(tmp_path, *words).result(seconds=30), 3, "leads out of it")
    assert not list(tmp_path.rglob("masks/*.png")) and not list(tmp_path.rglob("here/*.png"))


def test_members_are_named_by_folders_not_by_dots() -> None:
    names = member_names([Path("../best.pt"), Path("../../best.pt")])
    assert len(set(names)) == 2 and not any(".." in name for name in names)


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, shared_tiny_set: Path) -> None:
    """As a checkpoint, an image and the initial weights."""
    os.mkfifo(tmp_path / "pipe.pt")
    os.mkfifo(tmp_path / "pipe.png")
    random_checkpoint(tmp_path / "best.pt")
    images = f"input={shared_tiny_set}/test_images"
    for name in ("pipe.pt", "/dev/zero", "/dev/stdin"):
        result = Forked(tmp_path, "predict", f"checkpoint={name}", images).result(seconds=20)
        complaint(result, 3, f"{name}: is a folder, pipe or device, not a checkpoint file")
    for program in ("eval", "export"):
        result = Forked(tmp_path, program, "checkpoint=pipe.pt").result(seconds=20)
        complaint(result, 3, "pipe.pt: is a folder, pipe or device")
    words = train(shared_tiny_set, "run", "init_from=pipe.pt")
    complaint(Forked(tmp_path, *words).result(seconds=20), 2, "init_from=pipe.pt: no checkpoint")
    words = ["predict", "checkpoint=best.pt", "input=pipe.png"]
    complaint(Forked(tmp_path, *words).result(seconds=20), 3, "pipe.png", "not a regular file")


def test_pipes_in_a_run_folder_are_as_good_as_nothing(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    """Where resume=auto and fundus-report look for files, and where the log goes."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "summary.json", "environment.json", "train.log"):
        os.mkfifo(run / name)
    words = train(shared_tiny_set, "run", "epochs=1", "resume=auto")
    result = Forked(tmp_path, *words).result(seconds=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert read_json(run / "summary.json")["status"] == "done"
    for name in ("metrics.csv", "log.csv", "curves.json", "splits.json", "pictures/01.jpg"):
        (run / name).unlink()
        os.mkfifo(run / name)
    result = Forked(tmp_path, "report", "path=run").result(seconds=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_pipes_in_a_folder_of_masks(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "best.pt")
    Image.fromarray(tiny_image(0)[0]).save(tmp_path / "photo.png")
    (tmp_path / "masks").mkdir()
    for name in ("predictions.csv", "predict.json", "photo.png"):
        os.mkfifo(tmp_path / "masks" / name)
    words = ("predict", "checkpoint=best.pt", "input=photo.png", "output=masks")
    result = Forked(tmp_path, *words).result(seconds=30)
    complaint(result, 3, "photo.png", "already exists with different content")


def test_the_synthetic_images_of_a_checkpoint_are_read_and_never_made(tmp_path: Path) -> None:
    """Where it was trained they are there; elsewhere a line says what to type."""
    counts = ("data.demo.train=1", "data.demo.test=1", "data.demo.size_px=64")
    config = random_checkpoint(tmp_path / "best.pt", "data=demo", *counts)
    assert config.data.demo is not None
    write_demo(tmp_path / demo_folder(config.data), config.data.demo)
    words = ("eval", "checkpoint=best.pt", "overlays=0", "shape_metrics=false")
    first = Forked(tmp_path, *words, "output=first")
    assert first.wait() == 0, first.said("stderr")

    shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    result = Forked(tmp_path, *words, "output=gone").result()
    said = complaint(result, 3, "are not here", "data=demo data.demo.train=1 data.demo.test=1")
    assert not (tmp_path / "outputs").exists() and not (tmp_path / "gone").exists()
    typed = [word for word in said.split() if word.startswith("data")]
    again = Forked(tmp_path, *words, "output=typed", *typed)
    assert again.wait() == 0, again.said("stderr")
    one, other = (read_json(tmp_path / name / "metrics.json") for name in ("first", "typed"))
    assert one["protocols"] and one["protocols"] == other["protocols"]


def test_a_checkpoint_does_not_choose_where_images_are_made(tmp_path: Path) -> None:
    place = tmp_path / "chosen"

    def elsewhere(config: dict[str, Any]) -> None:
        config["data"]["root"] = str(place)
        config["data"]["demo"]["train"] = 10**9

    random_checkpoint(tmp_path / "good.pt", "data=demo")
    with_config(tmp_path / "good.pt", tmp_path / "bad.pt", elsewhere)
    result = Forked(tmp_path, "eval", "checkpoint=bad.pt").result(seconds=30)
    complaint(result, 3, f"data=demo data.root={place} data.demo.train=1000000000")
    result = Forked(tmp_path, "eval", "checkpoint=bad.pt", "data.root=typed").result(seconds=30)
    complaint(result, 3, "typed: the synthetic images")
    assert not place.exists() and not list(tmp_path.glob("*typed*"))


def test_waiting_and_memory_are_the_commands_own(tmp_path: Path) -> None:
    def greedy(config: dict[str, Any]) -> None:
        config["data"] |= {"timeout_s": 1e6, "cache_gb": 1e9}

    random_checkpoint(tmp_path / "good.pt")
    stored = checkpoint.load(with_config(tmp_path / "good.pt", tmp_path / "bad.pt", greedy))
    config = compose_config("eval", ("checkpoint=x", "data.cache_gb=2"))
    data = data_config(config, {"cache_gb": 2}, stored)
    assert (data.timeout_s, data.cache_gb) == (300, 2)
