"""The real commands: exit codes, one line per mistake, nothing made before all is checked."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from conftest import RunCommand, small

from fundus_cli.config.compose import compose_config


def nothing_made(folder: Path) -> bool:
    return not (folder / "outputs").exists() and not (folder / "multirun").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["optimizer.ir=1"], 2, ["optimizer.ir", "did you mean optimizer.lr?"]),
        (["+train.lr=1"], 2, ["train.lr"]),
        (["epochs=-5"], 2, ["epochs=-5", "1 or more"]),
        (["loss=dise"], 2, ["bce_dice"]),
        (["lr", "0.1"], 2, ["key=value"]),
        (["-m", "epochs=1,many"], 2, ["epochs", "many"]),
        (["--experimental-rerun", "x"], 2, ["--experimental-rerun", "unknown flag"]),
        (["data=drive"], 2, ["data.root", "not given", "data=drive data.root="]),
        (["data.root=nowhere"], 3, ["data.root=nowhere", "does not exist"]),
        (["data.root=/x (1)"], 2, ["""'data.root="/x (1)"'"""]),
    ],
)
def test_a_mistake_is_told_in_two_lines_and_makes_nothing(
    command: RunCommand, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    result = command("train", *arguments)
    assert result.returncode == code, result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    assert nothing_made(tmp_path)


def test_the_help_page_comes_without_torch_and_names_every_group(command: RunCommand) -> None:
    started = time.monotonic()
    result = command("train", "--help")
    assert result.returncode == 0
    # Loading torch alone takes longer than this; the exact figure is a benchmark's business.
    assert time.monotonic() - started < 5
    for word in (
        "fundus-train data.root=my_data",
        "chasedb1",
        "bce_dice",
        "epochs=10",
        "--cfg job",
    ):
        assert word in result.stdout
    assert "fundus-eval checkpoint=" in command("eval", "--help").stdout
    assert re.match(r"fundus-cli \d+\.\d+\.\d+", command("train", "--version").stdout)


def test_the_composed_config_is_printed_from_an_empty_folder(
    command: RunCommand, tmp_path: Path
) -> None:
    result = command("train", "--cfg", "job", "experiment=baseline", "epochs=3")
    assert result.returncode == 0, result.stderr
    assert "epochs: 3" in result.stdout
    assert "base_channels: 64" in result.stdout
    assert nothing_made(tmp_path)


def test_every_bad_file_is_told_at_once_and_nothing_is_trained(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    images, masks = tiny_set / "train_images", tiny_set / "train_masks"
    content = (images / "p0.png").read_bytes()
    (images / "p0.png").write_bytes(content[: len(content) // 2])
    (images / "p1.png").write_text("<html>not found</html>")
    (images / "p2.png").write_bytes(b"")
    (images / "p3.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (masks / "p4.png").write_bytes(content)
    result = command("train", f"data.root={tiny_set}", *small())
    assert result.returncode == 3
    for name in ("p0.png", "p1.png", "p2.png", "p3.png", "train_masks/p4.png"):
        assert name in result.stderr
    assert "p5" not in result.stderr
    assert nothing_made(tmp_path)


def test_pairing_mistakes_are_all_listed(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    (tiny_set / "train_masks" / "p0.png").rename(tiny_set / "train_masks" / "P0.png")
    (tiny_set / "test_masks" / "p6.png").unlink()
    (tiny_set / "test_images" / "p7.jpg").write_bytes(
        (tiny_set / "test_images" / "p7.png").read_bytes()
    )
    result = command("train", f"data.root={tiny_set}", *small())
    assert result.returncode == 3
    for word in ("p0.png (found P0.png", "p6.png", "p7.jpg and p7.png"):
        assert word in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 5
    assert nothing_made(tmp_path)


def test_bad_files_can_be_skipped_and_are_recorded(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    (tiny_set / "train_images" / "p0.png").write_bytes(b"")
    result = command(
        "train", f"data.root={tiny_set}", *small("data.on_bad=skip", "output=run", "epochs=1")
    )
    assert result.returncode == 0, result.stderr
    assert "skipped: train_images/p0.png" in result.stdout
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert splits["skipped"] == ["train_images/p0.png"]
    assert "p0" not in splits["train"] + splits["val"]


def test_a_copy_of_a_test_image_in_train_stops_the_run(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    for kind in ("images", "masks"):
        content = (tiny_set / f"test_{kind}" / "p6.png").read_bytes()
        (tiny_set / f"train_{kind}" / "other.png").write_bytes(content)
    result = command("train", f"data.root={tiny_set}", *small())
    assert result.returncode == 3
    assert "test/p6.png" in result.stderr
    assert "other.png" in result.stderr
    assert nothing_made(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_output_folder_is_told_at_once(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    result = command("train", f"data.root={shared_tiny_set}", *small("output=locked/run"))
    assert result.returncode == 5
    assert "output=" in result.stderr


def test_a_file_where_the_run_folder_should_be_is_told(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    (tmp_path / "file").touch()
    result = command("train", f"data.root={shared_tiny_set}", *small("output=file/run"))
    assert result.returncode == 6
    assert "is a file" in result.stderr


@pytest.mark.parametrize("name", ["a b", "é=(1),#", "日本"])
def test_odd_folder_and_file_names_train(
    command: RunCommand, tmp_path: Path, tiny_set: Path, name: str
) -> None:
    odd = tiny_set.rename(tmp_path / name)
    for kind in ("images", "masks"):
        folder = odd / f"test_{kind}"
        (folder / "p6.png").rename(folder / f"{name}.png")
    result = command(
        "train", f'data.root="{odd}"', *small("epochs=1", "output=run"), LC_ALL="POSIX"
    )
    assert result.returncode == 0, result.stderr
    rows = (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8")
    assert name.split(",")[0] in rows


def test_a_persons_own_preset_trains(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    (tmp_path / "my" / "data").mkdir(parents=True)
    (tmp_path / "my" / "data" / "clinic.yaml").write_text(
        f"defaults: [_base]\nname: clinic\nroot: {shared_tiny_set}\n"
        "train: {image: 'train_images/{id}.png', targets: {vessel: 'train_masks/{id}.png'}}\n"
        "test: null\n"
    )
    result = command("train", "--config-dir", "my", "data=clinic", *small("output=run"))
    assert result.returncode == 0, result.stderr
    assert "nothing to score" in result.stdout
    assert "clinic: 6 train, 0 val" in result.stdout


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "demo"),
        (["data.root=null"], "demo"),
        (["data.root=mine"], "folder"),
        (["data=demo", "data.root=drawn"], "demo"),
        (["data=drive", "data.root=mine"], "drive"),
    ],
)
def test_a_root_alone_means_a_folder_of_ones_own(words: list[str], name: str) -> None:
    config = compose_config("train", words)
    assert config.data.name == name
