"""Damaged and made-up files: taken, or refused in a line with an exit code of the table.

`-m slow` tries more than a thousand; the quick tests try the first of the same series. A failure
says the seed and the change.
"""

import contextlib
import csv
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkpoints import read_content
from PIL import Image
from reliability.doors import Doors, predict_into, read_run_folder, took
from reliability.mutations import (
    ODD_TENSORS,
    ODD_VALUES,
    ONLY_IN_CHECKPOINTS,
    made,
    mutate_bytes,
    mutate_structure,
)

from fundus_cli.config import SCHEMAS
from fundus_cli.config.compose import compose_config
from fundus_cli.config.keys import all_keys


def series(quick: int, all_seeds: int) -> pytest.MarkDecorator:
    """The first seeds in every run of the tests, the others with `-m slow`."""
    marks = [pytest.mark.slow, pytest.mark.timeout(3600)]
    ranges = [range(quick), pytest.param(range(quick, all_seeds), marks=marks)]
    return pytest.mark.parametrize("seeds", ranges, ids=["quick", "slow"])


@contextlib.contextmanager
def trying(seed: int, change: str) -> Iterator[None]:
    """Add seed and change to whatever is raised."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"seed {seed}: {change}")
        raise


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    return Doors(tmp_path_factory.mktemp("doors"))


@series(12, 400)
def test_values_of_checkpoints(doors: Doors, tmp_path: Path, seeds: range) -> None:
    path = tmp_path / "odd.pt"
    refused = 0
    for seed in seeds:
        dice = random.Random(seed)
        content = read_content(doors.checkpoint)
        tensors = [made(make) for make in ODD_TENSORS.values()]
        odd = [*ODD_VALUES, *ONLY_IN_CHECKPOINTS, *tensors]
        change = mutate_structure(content, dice, odd)
        with trying(seed, change):
            torch.save(content, path)
            refused += not all(doors.every(path))
    assert refused > len(seeds) // 3


@series(6, 150)
def test_bytes_of_checkpoints(doors: Doors, tmp_path: Path, seeds: range) -> None:
    path = tmp_path / "odd.pt"
    good = doors.checkpoint.read_bytes()
    refused = 0
    for seed in seeds:
        content, change = mutate_bytes(good, random.Random(seed))
        with trying(seed, change):
            path.write_bytes(content)
            refused += not took(lambda: doors.predict(path))
    assert refused > len(seeds) // 3


@series(10, 400)
def test_overrides(seeds: range) -> None:
    """A key of any program with an odd value, as it may be typed."""
    refused = 0
    for seed in seeds:
        dice = random.Random(seed)
        program = dice.choice(list(SCHEMAS))
        key = dice.choice([*all_keys(SCHEMAS[program]), "hydra.run.dir", "x", ""])
        value = dice.choice(ODD_VALUES)
        text = value if isinstance(value, str) and dice.random() < 0.5 else json.dumps(value)
        word = f"{dice.choice(('', '', '+', '~', '++'))}{key}={text}"
        with trying(seed, f"{program} {word!r}"):
            refused += not took(lambda: compose_config(program, [word]))  # noqa: B023
    assert refused > len(seeds) // 3


@series(6, 250)
def test_yaml_files(tmp_path: Path, seeds: range) -> None:
    """A config folder with a shipped preset of which a value or some bytes have changed."""
    presets = sorted((Path(__file__).parents[2] / "configs" / "experiment").glob("*.yaml"))
    presets += sorted((Path(__file__).parents[2] / "configs" / "data").glob("[a-z]*.yaml"))
    refused = 0
    for seed in seeds:
        dice = random.Random(seed)
        source = dice.choice(presets)
        text = source.read_bytes()
        header = b"# @package _global_\n" if source.parent.name == "experiment" else b""
        if dice.random() < 0.5:
            text, change = mutate_bytes(text, dice)
        else:
            content = yaml.safe_load(text)
            change = mutate_structure(content, dice, ODD_VALUES)
            text = header + yaml.safe_dump(content, sort_keys=False).encode()
        folder = tmp_path / source.parent.name
        folder.mkdir(exist_ok=True)
        (folder / "odd.yaml").write_bytes(text)
        with trying(seed, f"{source.name}: {change}"):
            word = f"{source.parent.name}=odd"
            refused += not took(lambda: compose_config("train", [word], tmp_path))  # noqa: B023
    assert refused > len(seeds) // 4


@pytest.fixture(scope="module")
def run_folder(doors: Doors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run, and of an evaluation of it, beside each other."""
    runs = tmp_path_factory.mktemp("runs")
    doors.complete(runs / "run")
    return runs / "run"


READ = (
    *("config.json", "environment.json", "summary.json", "splits.json", "metrics.json"),
    *("curves.json", "metrics.csv", "log.csv", "job.json", "pictures/index.json"),
)
"""The files of a run folder that are read again."""


def mutate_file(path: Path, dice: random.Random) -> str:
    """Change a value or some bytes of a JSON or CSV file."""
    if dice.random() < 0.4:
        content, change = mutate_bytes(path.read_bytes(), dice)
        path.write_bytes(content)
    elif path.suffix == ".json":
        values: Any = json.loads(path.read_text())
        change = mutate_structure(values, dice, ODD_VALUES)
        path.write_text(json.dumps(values))
    else:
        rows = list(csv.reader(path.read_text().splitlines()))
        row = dice.choice(rows)
        column = dice.randrange(len(row))
        row[column] = dice.choice(("", "x", "nan", "inf", "-1e999", "9" * 5000, "é", "a,b", "\x00"))
        change = f"cell {column} = {row[column][:20]!r}"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return f"{path.name}: {change}"


@series(3, 120)
def test_files_of_a_run_folder(
    doors: Doors, run_folder: Path, tmp_path: Path, seeds: range
) -> None:
    for seed in seeds:
        dice = random.Random(seed)
        copy = tmp_path / "runs" / "run"
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        shutil.copytree(run_folder.parent, tmp_path / "runs")
        change = mutate_file(copy / dice.choice(READ), dice)
        with trying(seed, change):
            read_run_folder(copy, doors.config)


@series(3, 100)
def test_files_of_predictions(doors: Doors, tmp_path: Path, seeds: range) -> None:
    Image.fromarray(doors.pixels).save(tmp_path / "a.png")
    masks = tmp_path / "masks"
    for seed in seeds:
        dice = random.Random(seed)
        shutil.rmtree(masks, ignore_errors=True)
        predict_into(masks, doors.checkpoint, tmp_path / "a.png")
        change = mutate_file(masks / dice.choice(("predictions.csv", "predict.json")), dice)
        with trying(seed, change):
            predict_into(masks, doors.checkpoint, tmp_path / "a.png")
