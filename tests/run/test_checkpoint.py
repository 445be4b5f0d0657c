"""Checkpoints: what is saved comes back; damaged or strangers' files are refused, run nothing."""

import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import read_content
from torch import nn

from fundus_cli.config import TrainConfig, to_plain
from fundus_cli.config.compose import compose_config
from fundus_cli.errors import ConfigError, DataError
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import STORED_NAMES, Progress, Threshold


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return compose_config("train", ("output=run",))


def saved(path: Path, config: TrainConfig) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    checkpoint.save(
        path,
        config=config,
        model=model,
        averaged=None,
        optimizer=optimizer,
        progress=Progress(epoch=2, step=7, rows=[{"epoch": 1, "train_loss": 0.5}]),
        threshold=Threshold(0.37, "val"),
        manifest={"train": {"a.png": "00"}},
    )
    return model


def test_what_is_saved_comes_back(tmp_path: Path, config: TrainConfig) -> None:
    model = saved(tmp_path / "last.pt", config)
    loaded = checkpoint.load(tmp_path / "last.pt")
    assert loaded.config == config
    assert loaded.threshold == Threshold(0.37, "val")
    assert (loaded.progress.epoch, loaded.progress.step) == (2, 7)
    assert loaded.manifest == {"train": {"a.png": "00"}}
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model[name], tensor)
    assert torch.equal(loaded.optimizer["state"][0]["step"], torch.tensor(1.0))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("9.9.0", "was written by fundus-cli 9.9.0, and"),
        ("9.9\nis fine", "is not a checkpoint of fundus-train"),
        (9, "is not a checkpoint of fundus-train"),
        (None, "is not a checkpoint of fundus-train"),
    ],
)
def test_a_file_of_another_version_that_cannot_be_read_names_it(
    tmp_path: Path, config: TrainConfig, version: object, expected: str
) -> None:
    path = tmp_path / "last.pt"
    saved(path, config)
    content = read_content(path)
    content["config"]["invented_later"] = 1
    content["version"] = version
    torch.save(content, path)
    with pytest.raises(DataError, match=expected) as raised:
        checkpoint.load(path)
    assert "invented_later" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_of_another_version_that_can_be_read_is(tmp_path: Path, config: TrainConfig) -> None:
    path = tmp_path / "last.pt"
    saved(path, config)
    content = read_content(path)
    content["version"] = "9.9.0"
    torch.save(content, path)
    assert checkpoint.load(path).config == config


def test_a_flipped_bit_is_found(tmp_path: Path, config: TrainConfig) -> None:
    path = tmp_path / "last.pt"
    saved(path, config)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data = next(i for i in archive.infolist() if "/data/" in i.filename and i.file_size > 100)
    content[data.header_offset + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"last\.pt: (checksum|cannot be read)"):
        checkpoint.load(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_file_is_named(tmp_path: Path, config: TrainConfig, share: float) -> None:
    path = tmp_path / "last.pt"
    saved(path, config)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"last\.pt: .*truncated"):
        checkpoint.load(path)


class Touch:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def hostile_files(folder: Path, mark: Path) -> list[Path]:
    inner = io.BytesIO()
    torch.save({"model": Touch(mark)}, inner)
    contents: dict[str, object] = {
        "reduce.pt": {"format": 1, "model": Touch(mark)},
        "eval.pt": {"format": 1, "model": {"w": Touch(mark)}, "config": {}},
        "nested.pt": {"format": 1, "model": inner.getvalue()},
    }
    paths = []
    for name, content in contents.items():
        torch.save(content, folder / name)
        paths.append(folder / name)
    torch.save(Touch(mark), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    (folder / "plain.pt").write_bytes(pickle.dumps(Touch(mark)))
    (folder / "page.pt").write_text("<html>404</html>")
    (folder / "folder.pt").mkdir()
    return [*paths, *(folder / n for n in ("legacy.pt", "plain.pt", "page.pt", "folder.pt"))]


def test_a_strangers_file_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "MARK"
    files = hostile_files(tmp_path, mark)
    assert len(files) == 7
    for path in files:
        with pytest.raises(DataError, match=path.name):
            checkpoint.load(path)
        assert not mark.exists(), path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": "${oc.env:HOME}"}, "seed=.*: a stored config may hold values only"),
        ({"hydra": {"run": {"dir": "x"}}}, "hydra: no such key"),
        ({"_target_": "builtins.open"}, "_target_: no such key"),
        ({"epochs": 0}, "epochs=0: must be 1 or more"),
    ],
)
def test_a_strangers_config_is_refused(
    tmp_path: Path, config: TrainConfig, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "last.pt"
    saved(path, config)
    content = read_content(path)
    plain = to_plain(config)
    assert isinstance(plain, dict)
    torch.save({**content, "config": {**plain, **change}}, path)
    with pytest.raises(DataError, match=f"not a checkpoint of fundus-train .{said}") as caught:
        checkpoint.load(path)
    assert os.environ["HOME"] not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 99, "format 99, this program reads 2"),
        ("threshold", {"value": 1.5, "origin": "val"}, "threshold 1.5"),
        ("threshold", {}, "value is missing"),
        ("progress", {"epoch": 1, "evil": 2}, "progress has the unknown field evil"),
    ],
)
def test_other_wrong_content_is_refused(
    tmp_path: Path, config: TrainConfig, key: str, value: object, said: str
) -> None:
    path = tmp_path / "last.pt"
    saved(path, config)
    torch.save({**read_content(path), key: value}, path)
    with pytest.raises(DataError, match=f"not a checkpoint of fundus-train .{said}"):
        checkpoint.load(path)


def test_no_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        checkpoint.load(tmp_path / "none.pt")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 4, 3)
    state = model.state_dict()
    with pytest.raises(DataError, match=r"weight has shape \(5, 3, 3, 3\).*\(4, 3, 3, 3\)"):
        checkpoint.load_weights(model, {**state, "weight": torch.zeros(5, 3, 3, 3)}, tmp_path)
    with pytest.raises(DataError, match="bias is missing"):
        checkpoint.load_weights(model, {"weight": state["weight"]}, tmp_path)
    with pytest.raises(DataError, match="more is unknown"):
        checkpoint.load_weights(model, {**state, "more": state["bias"]}, tmp_path)


def test_progress_is_plain_values_only(tmp_path: Path, config: TrainConfig) -> None:
    saved(tmp_path / "last.pt", replace(config, epochs=3))
    progress = torch.load(tmp_path / "last.pt", weights_only=True)["progress"]
    assert set(progress) == {STORED_NAMES.get(name, name) for name in Progress.__slots__}
