"""Every YAML composes into its dataclass and back; every mistake is told in one line."""

from pathlib import Path
from typing import Any

import pytest

from fundus_cli.cli.programs import PROGRAMS
from fundus_cli.cli.sweep import PLUGINS
from fundus_cli.config import DataConfig, EvalConfig, OptimizerName, TrainConfig, to_plain
from fundus_cli.config.compose import Command, compose_dict
from fundus_cli.config.keys import all_keys
from fundus_cli.config.overrides import (
    GROUPS,
    check_overrides,
    choices,
    expand_sweep,
    parse_overrides,
    quoted,
)
from fundus_cli.config.typed import change_data, from_plain, to_typed
from fundus_cli.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def typed(*overrides: str, config_dir: Path | None = None) -> TrainConfig:
    check_overrides(parse_overrides(overrides), TrainConfig, config_dir, multirun=False)
    command = Command(config_name="train", overrides=overrides, config_dir=config_dir)
    return to_typed(compose_dict(command)[0], TrainConfig)


@pytest.mark.parametrize("override", [f"{g}={c}" for g in GROUPS for c in choices(g)])
def test_every_choice_of_every_group_round_trips(override: str) -> None:
    config = typed(override)
    assert from_plain(to_plain(config), TrainConfig) == config


def test_every_yaml_file_is_a_choice_or_a_base() -> None:
    found = {p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml")}
    expected = {f"{g}/{c}.yaml" for g in GROUPS for c in choices(g)}
    programs = {f"{name}.yaml" for name in PROGRAMS}
    ready = {f"sweep/{name.partition('=')[2]}.yaml" for name in PLUGINS}
    bases = {"data/_base.yaml", "data/_as_trained.yaml"}
    assert found == expected | programs | ready | bases


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_key_has_a_plain_line_above_it(path: Path) -> None:
    said = set()
    for file in (CONFIGS / "data" / "_base.yaml", path):
        lines = file.read_text().splitlines()
        for above, line in zip(["", *lines], lines, strict=False):
            if ":" in line and not line.lstrip().startswith(("#", "-")) and "# " in above:
                said.add(line.split(":")[0].strip())
    told_by_group = {"name", "defaults", "hydra", "job", "run", "dir", "sweep", "subdir", "vessel"}
    told_by_group |= {"image", "fov", "targets", "observer2", "ids", "train", "test"}
    if path.parent.name == "experiment":
        return
    keys = {
        line.split(":")[0].strip()
        for line in path.read_text().splitlines()
        if ":" in line and not line.lstrip().startswith(("#", "-"))
    }
    assert keys - said - told_by_group == set()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.ir=1", ["train.ir", "no such key"]),
        ("optimizer.ir=1", ["optimizer.ir", "did you mean optimizer.lr?"]),
        ("+optimizer.ir=1", ["optimizer.ir", "did you mean optimizer.lr?"]),
        ("++optimizer.ir=1", ["optimizer.ir", "did you mean optimizer.lr?"]),
        ("optimiser.lr=1", ["optimiser.lr", "did you mean optimizer.lr?"]),
        ("lr=1", ["lr", "did you mean optimizer.lr?"]),
        ("lr", ["lr", "key=value"]),
        ("optimizer.lr=abc", ["optimizer.lr", "abc"]),
        ("optimizer.lr=nan", ["optimizer.lr=nan", "above 0"]),
        ("optimizer.lr=", ["optimizer.lr", "''"]),
        ("optimizer.lr=1,2", ["several values", "-m"]),
        ("epochs=3.7", ["epochs", "3.7"]),
        ("epochs=-5", ["epochs=-5", "1 or more"]),
        ("loss=dise", ["loss=dise", "did you mean bce_dice?", "bce"]),
        ("device=gpu", ["device", "gpu", "cuda"]),
        ("threshold=1.5", ["threshold=1.5", "between 0 and 1"]),
        ("threshold=2", ["threshold=2", "between 0 and 1"]),
        ("data.folds=1", ["data.folds=1", "2 and up"]),
        ("data.patch_px=3", ["data.patch_px=3", "16"]),
        ("data.train.image=../{id}.png", ["data.<split>.image", "below data.root"]),
        ("data.train.image=plain.png", ["{id}"]),
        ("seed=${oc.env:HOME}", ["seed", "environment"]),
        ("model._target_=builtins.open", ["_target_"]),
        ("+hydra.callbacks.x._target_=builtins.open", ["_target_"]),
        ("hydra/job_logging=evil", ["hydra/job_logging", "cannot be set"]),
        ("hydra.searchpath=[x]", ["hydra.searchpath", "cannot be set"]),
        ("data.root=/x/é (1)", ["quotes", """'data.root="/x/é (1)"'"""]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(override: str, words: list[str]) -> None:
    override = override.replace("{id}", "\\{id\\}") if "image=" in override else override
    with pytest.raises(ConfigError) as caught:
        typed(override)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text.replace("\\", "")


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="epochs: given twice"):
        typed("epochs=1", "epochs=2")


@pytest.mark.parametrize(
    "value", ['a"b', "a'b", "é (1)", "a=b,c", "a\\", 'a\\"', "[x]", "#1", "~a & !", "日本", "a: b"]
)
def test_quoting_survives_the_grammar(value: str) -> None:
    assert typed(quoted("data.root", value)).data.root == value


def test_the_command_line_beats_the_experiment_and_the_experiment_beats_the_defaults() -> None:
    baseline = typed("experiment=baseline")
    assert (baseline.epochs, baseline.batch_size, baseline.model.base_channels) == (10, 16, 64)
    assert (baseline.data.patch_px, baseline.data.val_fraction) == (None, 0.0)
    assert baseline.optimizer.name is OptimizerName.adam
    assert baseline.optimizer.lr == 1e-3
    assert typed("experiment=baseline", "epochs=3").epochs == 3
    assert typed("experiment=baseline", "optimizer=sgd").optimizer.name is OptimizerName.sgd


def test_output_follows_hydras_own_run_folder() -> None:
    assert typed("hydra.run.dir=some/where").output == "some/where"
    assert typed("output=else/where").output == "else/where"


def test_a_persons_own_yaml_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clinic.yaml").write_text(
        "defaults: [_base]\nname: clinic\nroot: photos\n"
        "train: {image: 'a/{id}.png', targets: {vessel: 'b/{id}.png'}}\ntest: null\n"
    )
    assert "clinic" in choices("data", tmp_path)
    config = typed("data=clinic", config_dir=tmp_path)
    assert config.data.train.image == "a/{id}.png"
    (tmp_path / "data" / "typo.yaml").write_text(
        (tmp_path / "data" / "clinic.yaml").read_text() + "flod: 3\n"
    )
    with pytest.raises(ConfigError, match=r"data\.flod: no such key; did you mean data\.fold"):
        typed("data=typo", config_dir=tmp_path)


def test_a_missing_checkpoint_is_asked_for() -> None:
    config, _ = compose_dict(Command(config_name="eval", overrides=()))
    with pytest.raises(ConfigError, match=r"checkpoint: not given; add checkpoint=.*best\.pt"):
        to_typed(config, EvalConfig)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", "${oc.env:HOME}", "seed=.*: a stored config may hold values only"),
        ("_target_", "builtins.open", "_target_: no such key"),
        ("data.root", "${hydra:run.dir}", r"data\.root=.*: a stored config may hold values only"),
        ("epochs", "many", "epochs: Value 'many' could not be converted"),
        ("model._target_", "torch.load", r"model\._target_: no such key"),
        ("epochs", b"1", "epochs: bytes is not a config value"),
        ("data.train.ids", [["a"]], "ids=.*: must be text"),
        ("data.train.targets", {"vessel": []}, "targets=.*: must be text"),
        ("data.mask_foreground", [[1]], "mask_foreground=.*: must be text"),
    ],
)
def test_a_strangers_stored_config_is_data_only(key: str, value: object, said: str) -> None:
    config = typed()
    plain: Any = to_plain(config)
    assert from_plain(plain, TrainConfig) == config
    *parents, leaf = key.split(".")
    level = plain
    for parent in parents:
        level = level[parent]
    level[leaf] = value
    with pytest.raises(ConfigError, match=said):
        from_plain(plain, TrainConfig)


def test_sweep_expansion_is_hydras_grid() -> None:
    jobs = expand_sweep(parse_overrides(["epochs=1,2", "optimizer.lr=0.1,0.2", 'data.root="a,b"']))
    assert jobs == [
        ["epochs=1", "optimizer.lr=0.1", 'data.root="a,b"'],
        ["epochs=1", "optimizer.lr=0.2", 'data.root="a,b"'],
        ["epochs=2", "optimizer.lr=0.1", 'data.root="a,b"'],
        ["epochs=2", "optimizer.lr=0.2", 'data.root="a,b"'],
    ]


def test_data_overrides_change_a_stored_data_config() -> None:
    stored = typed("data=chasedb1", "data.root=old").data
    changed = change_data(stored, {"root": "new", "fold": 1, "folds": 4})
    assert (changed.root, changed.fold, changed.folds) == ("new", 1, 4)
    assert changed.train == stored.train
    with pytest.raises(ConfigError, match=r"fold"):
        change_data(stored, {"fold": 7})


def test_all_keys_are_reached() -> None:
    keys = list(all_keys(TrainConfig))
    assert {"optimizer.lr", "data.train.image", "data.demo.size_px", "epochs"} <= set(keys)
    assert len(keys) == len(set(keys))
    assert set(all_keys(DataConfig)) == {k.removeprefix("data.") for k in keys if "data." in k}
