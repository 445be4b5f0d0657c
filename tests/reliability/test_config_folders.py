"""A stranger's config folder says values only: it starts nothing, reads nothing, waits for nothing.

Every door is tried as a run, as a sweep, and with the flags that print the config.
"""

import os
import time
from pathlib import Path

import pytest
from conftest import RunCommand, small
from reliability.kit import complaint

from fundus_cli.cli.command_line import run
from fundus_cli.config.compose import Command, compose_config, compose_dict
from fundus_cli.config.config_folder import MOST_BYTES, search_path
from fundus_cli.errors import ConfigError
from fundus_cli.run.signals import StopRequest

CORE = "hydra._internal.core_plugins"
MARK = "{_target_: os.mkdir, path: MARK}"
LAUNCHER = f"_target_: {CORE}.basic_launcher.BasicLauncher\nx: {MARK}\n"
SWEEPER = f"_target_: {CORE}.basic_sweeper.BasicSweeper\nmax_batch_size: {MARK}\nparams: null\n"
CONFIG = f"hydra: {{launcher: {{_target_: {CORE}.basic_launcher.BasicLauncher, x: {MARK}}}}}"
GLOBAL = "# @package _global_\n"
ONE_PRESET = "experiment/evil.yaml"

DOORS: dict[str, dict[str, str]] = {
    "launcher": {
        ONE_PRESET: GLOBAL + "defaults: [{override /hydra/launcher: evil}]\n",
        "hydra/launcher/evil.yaml": LAUNCHER,
    },
    "sweeper": {
        ONE_PRESET: GLOBAL + "defaults: [{override /hydra/sweeper: evil}]\n",
        "hydra/sweeper/evil.yaml": SWEEPER,
    },
    "a shipped launcher replaced": {ONE_PRESET: GLOBAL, "hydra/launcher/basic.yaml": LAUNCHER},
    "hydra's own config replaced": {ONE_PRESET: GLOBAL, "hydra/config.yaml": "launcher: basic"},
    "selected, not brought": {
        ONE_PRESET: GLOBAL + "defaults: [{override /hydra/job_logging: stdout}]\n"
    },
    "hydra in the content": {ONE_PRESET: GLOBAL + CONFIG},
    "hydra quoted": {ONE_PRESET: GLOBAL + CONFIG.replace("hydra:", '"\\x68ydra":', 1)},
    "hydra merged in": {ONE_PRESET: GLOBAL + f"<<: {{{CONFIG}}}\n"},
    "data with a global package": {"data/evil.yaml": GLOBAL + CONFIG},
    "package in the header": {ONE_PRESET: "# @package hydra.launcher\n" + LAUNCHER},
    "package in brackets": {ONE_PRESET: "# @package _global_.[hydra].launcher\n" + LAUNCHER},
    "package in the second line": {ONE_PRESET: "\n\n  #@package   hydra.launcher\n" + LAUNCHER},
    "header without a value": {ONE_PRESET: "# @package\nepochs: 1\n"},
    "package of a base": {
        ONE_PRESET: GLOBAL + "defaults: [_base@_global_.hydra.launcher]\n",
        "experiment/_base.yaml": LAUNCHER,
    },
    "package of a group": {
        ONE_PRESET: GLOBAL + "defaults: [{/data@_global_.hydra.launcher: evil}]\n",
        "data/evil.yaml": LAUNCHER,
    },
    "package of an override": {
        ONE_PRESET: GLOBAL + "defaults: [{override /hydra/launcher@foo: basic}]\n"
    },
    "a base elsewhere": {ONE_PRESET: GLOBAL + "defaults: [../../evil]\n", "../evil.yaml": CONFIG},
    "an absolute base": {
        ONE_PRESET: GLOBAL + "defaults: [/other/evil]\n",
        "other/evil.yaml": CONFIG,
    },
    "a group of a base": {
        ONE_PRESET: GLOBAL + "defaults: [{/other: evil}]\n",
        "other/evil.yaml": GLOBAL + CONFIG,
    },
    "an optional base": {ONE_PRESET: GLOBAL + "defaults: [{optional /hydra/env: evil}]\n"},
    "interpolated defaults": {ONE_PRESET: GLOBAL + "defaults: [{override /model: '${data}'}]\n"},
    "defaults that are no list": {ONE_PRESET: GLOBAL + "defaults: {model: unet}\n"},
    "callbacks": {ONE_PRESET: GLOBAL + f"hydra: {{callbacks: {{x: {MARK}}}}}"},
    "logging": {ONE_PRESET: GLOBAL + "hydra: {hydra_logging: {handlers: {x: {(): os.mkdir}}}}"},
    "search path": {ONE_PRESET: GLOBAL + "hydra: {searchpath: [pkg://os]}"},
    "help": {ONE_PRESET: GLOBAL + "hydra: {help: {template: $CONFIG}}"},
    "environment": {ONE_PRESET: GLOBAL + "hydra: {job: {env_set: {PYTHONPATH: x}}}"},
    "environment copied": {ONE_PRESET: GLOBAL + "hydra: {job: {env_copy: [HOME]}}"},
    "output folder": {ONE_PRESET: GLOBAL + "hydra: {output_subdir: ../../x}"},
    "words of other jobs": {ONE_PRESET: GLOBAL + "hydra: {overrides: {task: [output=/x]}}"},
    "search": {ONE_PRESET: GLOBAL + "hydra: {sweeper: {params: {seed: '1,2'}}}"},
    "object": {ONE_PRESET: GLOBAL + "output: !!python/object/apply:os.mkdir [MARK]\n"},
    "path object": {ONE_PRESET: GLOBAL + "output: !!python/object/apply:pathlib.Path [x]\n"},
    "decode": {ONE_PRESET: GLOBAL + "output: '${oc.decode:\"${data.name}\"}'\n"},
    "environment read": {ONE_PRESET: GLOBAL + "output: '${oc.env:HOME}'\n"},
    "hydra read": {ONE_PRESET: GLOBAL + "output: '${hydra:runtime.cwd}'\n"},
    "nested interpolation": {ONE_PRESET: GLOBAL + "output: '${${data.name}:HOME}'\n"},
    "long time": {ONE_PRESET: GLOBAL + "output: '${now:%99999999d}'\n"},
    "lines in a value": {ONE_PRESET: GLOBAL + 'output: "${oc.env:X}\\nfundus-train: done"\n'},
    "lines in a base": {ONE_PRESET: GLOBAL + 'defaults: ["a\\nfundus-train: done"]\n'},
    "lines in a tag": {ONE_PRESET: GLOBAL + "output: !<a%0Afundus-train:%20done> x\n"},
    "not utf-8": {ONE_PRESET: GLOBAL + "output: \udcff\n"},
    "a list": {ONE_PRESET: "[1, 2]\n"},
    "two documents": {ONE_PRESET: GLOBAL + "epochs: 1\n---\nepochs: 2\n"},
}

DOUBLING = "\n".join(f"    x{n}: '${{.x{n + 1}}}${{.x{n + 1}}}'" for n in range(40))
LAUGHS = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 12))
BOMBS: dict[str, dict[str, str]] = {
    "aliases": {ONE_PRESET: GLOBAL + "x0: &x0 [lol, lol]\n" + LAUGHS},
    "an alias of itself": {ONE_PRESET: GLOBAL + "x: &x [*x]\n"},
    "interpolations": {
        "data/evil.yaml": f"defaults: [_base]\ntrain:\n  targets:\n{DOUBLING}\n    x40: lol\n"
    },
    "bases": {
        ONE_PRESET: GLOBAL + "defaults: [a0, b0]\n",
        **{
            f"experiment/{x}{n}.yaml": GLOBAL + f"defaults: [a{n + 1}, b{n + 1}]\n"
            for x in "ab"
            for n in range(25)
        },
    },
    "a base of itself": {ONE_PRESET: GLOBAL + "defaults: [evil]\n"},
    "many bases": {
        ONE_PRESET: GLOBAL + "defaults: [x0]\n",
        **{f"experiment/x{n}.yaml": GLOBAL + f"defaults: [x{n + 1}]\n" for n in range(300)},
    },
    "depth": {ONE_PRESET: GLOBAL + "x: " + "[" * 50_000},
    "a long value": {ONE_PRESET: GLOBAL + f"output: {'x' * 100_000}\n"},
    "size": {ONE_PRESET: GLOBAL + f"# {'x' * MOST_BYTES}\n"},
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode(errors="surrogateescape"))
    return folder


def refusals(folder: Path, word: str) -> list[str]:
    """What a run, two sweeps and the flags that print say about a config folder."""
    said = []
    group = word.partition("=")[0]
    other = {"data": "demo", "experiment": "baseline"}[group]
    lines = [
        [word],
        [word, "-m", "seed=1,2"],
        ["-m", f"{group}={other},{word.partition('=')[2]}"],
        [word, "--cfg", "all"],
        [word, "--info", "all"],
    ]
    for line in lines:
        with pytest.raises(ConfigError) as caught:
            run("train", ["--config-dir", str(folder), *line, "data.root=nowhere"], StopRequest())
        said.append(str(caught.value))
    return said


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.mark.parametrize("door", DOORS)
def test_a_config_folder_cannot_say_more_than_values(tmp_path: Path, door: str) -> None:
    folder = write(tmp_path / "folders" / "evil", DOORS[door])
    word = f"{next(iter(DOORS[door])).partition('/')[0]}=evil"
    for text in refusals(folder, word):
        assert len(text.splitlines()) == 1, text
        assert os.environ["HOME"] not in text.replace(str(tmp_path), "")
    with pytest.raises(ConfigError) as caught:
        compose_config("train", [word], folder)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("value", [f"model: {MARK}", 'device: "\\e[2J\\nfundus-train: done"'])
def test_a_value_of_another_type_is_one_line(tmp_path: Path, value: str) -> None:
    folder = write(tmp_path / "evil", {ONE_PRESET: f"{GLOBAL}{value}\n"})
    with pytest.raises(ConfigError) as caught:
        compose_config("train", ["experiment=evil"], folder)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_preset_grows_without_end(tmp_path: Path, bomb: str) -> None:
    folder = write(tmp_path / "evil", BOMBS[bomb])
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        compose_config("train", [f"{next(iter(BOMBS[bomb])).partition('/')[0]}=evil"], folder)
    assert time.monotonic() - started < 10
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "pipe as a base"])
def test_a_preset_is_a_regular_file_of_some_size(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "evil", {"data/fine.yaml": "defaults: [_mine]\nname: fine\n"})
    name = "_mine" if kind == "pipe as a base" else "evil"
    path = folder / "data" / f"{name}.yaml"
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        os.mkfifo(path)
    word = "data=fine" if kind == "pipe as a base" else "data=evil"
    with pytest.raises(ConfigError, match=rf"{name}\.yaml: (not a regular file|larger than)"):
        compose_config("train", [word], folder)


def test_only_groups_exist_for_hydra(tmp_path: Path) -> None:
    """A folder that is named like a key would make the key a group, and its value a file."""
    files = {"hydra.launcher.x/1.yaml": CONFIG, "epochs/3.yaml": CONFIG, "train.yaml": CONFIG}
    folder = write(tmp_path / "evil", files)
    config = compose_config("train", ["epochs=3", "+hydra.launcher.x=1"], folder)
    assert config.epochs == 3
    command = Command(config_name="train", overrides=("+hydra.launcher.x=1",), config_dir=folder)
    assert compose_dict(command)[1].launcher.x == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["hydra/launcher=evil"], "choose hydra/launcher= from basic, joblib"),
        (["+hydra/launcher=joblib"], "choose hydra/launcher="),
        (["~hydra/launcher"], "choose hydra/launcher="),
        (["hydra/sweeper=evil"], "choose hydra/sweeper= from basic, optuna"),
        (["hydra/sweeper='optuna'"], "choose hydra/sweeper="),
        (["hydra/sweeper@foo=basic"], "package"),
        (["data@hydra.launcher=demo"], "package"),
        (["hydra/sweeper/sampler=grid"], "cannot be set"),
        (["hydra.launcher={x: {_target_: os.mkdir}}"], "_target_"),
        (["+hydra.launcher.x=${data.train.targets}"], "values only"),
        (["hydra.launcher=${data.train.targets}"], "cannot be set"),
        (["+hydra.sweeper.custom_search_space=os.system"], "cannot be set"),
        (["+hydra.launcher.x={custom_search_space: os.system}"], "not one of the plugins"),
        (["+hydra.sweeper.params.seed='1,2'"], "type ranges as words"),
        (["hydra.verbose=true"], "cannot be set"),
    ],
)
def test_the_command_line_chooses_among_what_ships(words: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected.replace("$", r"\$")):
        run("train", ["-m", *words, "seed=1,2"], StopRequest())
    assert not list(Path.cwd().iterdir())


def test_a_target_at_any_depth_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the check of the words stands one of what Hydra would instantiate."""
    words = ("+hydra.launcher.x={a: [{b: {_target_: os.mkdir, path: MARK}}]}",)
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.x\.a\.0\.b\._target_=os\.mkdir"):
        compose_dict(Command(config_name="train", overrides=words))


CLINIC = """\
defaults: [_clinic, _self_]
name: clinic
train: {image: 'train_images/{id}.png', targets: {vessel: 'train_masks/{id}.png'}}
test: null
"""
OWN = {
    "data/_clinic.yaml": "# @package data\ndefaults: [_base]\nperson: (\\d+)\n",
    "data/clinic.yaml": CLINIC,
    "experiment/mine.yaml": (
        GLOBAL
        + "# my own\ndefaults:\n  - _first\n  - override /model: unet\n  - override /data: clinic\n"
        + "  - override /augment: my augment\n"
        + "output: outputs/${data.name}/${now:%Y-%m-%d}_${seed}\nmodel: {depth: 2}\n"
    ),
    "experiment/_first.yaml": GLOBAL + "epochs: 3\nseed: 7\noptimizer: {lr: 1e-3}\n",
    "augment/my augment.yaml": "defaults: [none]\nflips: true\n",
    "README.md": "mine",
    "broken/other.yaml": "a: [",
}


def test_ordinary_presets_work(tmp_path: Path) -> None:
    """Bases, choices in other groups, and values that refer to others."""
    folder = write(tmp_path / "my configs [é]", OWN)
    config = compose_config("train", ["experiment=mine", "data.root=x"], folder)
    assert (config.data.name, config.data.person, config.data.test) == ("clinic", r"(\d+)", None)
    assert (config.epochs, config.seed, config.model.depth, config.optimizer.lr) == (3, 7, 2, 1e-3)
    assert config.output.startswith("outputs/clinic/2") and config.output.endswith("_7")
    assert compose_config("check", ["data=clinic"], folder).data.name == "clinic"


def test_a_real_sweep_starts_no_launcher_of_a_folder(command: RunCommand, tmp_path: Path) -> None:
    write(tmp_path / "evil", DOORS["launcher"])
    result = command("train", "--config-dir", "evil", "-m", "experiment=evil", "seed=1,2")
    complaint(result, 2, "--config-dir evil: has files below hydra/")
    assert {path.name for path in tmp_path.iterdir()} == {"evil", "work"}


def test_a_real_sweep_with_a_folder_of_ones_own(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    """Parent and job read the same presets."""
    write(tmp_path / "mine", {**OWN, "experiment/mine.yaml": GLOBAL + "defaults: [_first]\n"})
    words = ["data=clinic", f"data.root={tiny_set}", "experiment=mine", "hydra.sweep.dir=sweep"]
    result = command("train", "--config-dir", "mine", "-m", *words, *small("epochs=1", "seed=1"))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "sweep" / "0" / "best.pt").exists()


def test_a_real_command_ends_at_a_pipe_and_at_a_bomb(command: RunCommand, tmp_path: Path) -> None:
    folder = write(tmp_path / "evil", BOMBS["aliases"])
    os.mkfifo(folder / "experiment" / "pipe.yaml")
    result = command("train", "--config-dir", "evil", "experiment=evil", timeout=60)
    complaint(result, 2, "evil.yaml, line 3: *x0 is an alias", "write the values out")
    result = command("train", "--config-dir", "evil", "experiment=pipe", "--cfg", "job", timeout=60)
    complaint(result, 2, "pipe.yaml: not a regular file")


def test_search_path_survives_any_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "a,b ${x} 'c' \"d\" é%20", {"data/x.yaml": CLINIC})
    assert all(character not in search_path(folder) for character in "${, '")
    write(folder, {"data/_clinic.yaml": OWN["data/_clinic.yaml"]})
    assert compose_config("train", ["data=x"], folder).data.name == "clinic"
