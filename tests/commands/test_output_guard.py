"""No program writes into, above or over somebody's images."""

from pathlib import Path

import pytest
from checkpoints import random_checkpoint
from conftest import RunCommand, small, write_tiny_set
from reliability.kit import tree

from fundus_cli.commands.output_guard import check_output
from fundus_cli.errors import RunFolderError


def test_folders_of_ones_own_and_new_ones_are_taken(tmp_path: Path) -> None:
    data = write_tiny_set(tmp_path / "data", train=1, test=1)
    check_output(str(tmp_path / "new"), data_root=str(data))
    check_output(str(data / "outputs" / "mine"), data_root=str(data))
    (tmp_path / "run" / "overlays").mkdir(parents=True)
    (tmp_path / "run" / "overlays" / "a.png").write_bytes(b"x")
    with pytest.raises(RunFolderError, match=r"holds 1 images in overlays/ that no fundus program"):
        check_output(str(tmp_path / "run"))
    (tmp_path / "run" / "config.json").write_text("{}")
    check_output(str(tmp_path / "run"))


@pytest.mark.parametrize("output", ["data", ".", "data/train_images", "data/../data"])
def test_no_program_takes_the_data_for_its_output(
    command: RunCommand, tmp_path: Path, output: str
) -> None:
    data = write_tiny_set(tmp_path / "data", train=2, test=1)
    # A name of a run's file does not make a data set a run.
    (data / "config.json").write_text("{}")
    random_checkpoint(tmp_path / "net.pt")
    before = tree(tmp_path)
    for words in (
        ("train", "data.root=data", f"output={output}", "overwrite=true", *small("epochs=1")),
        ("eval", "checkpoint=net.pt", "data=folder", "data.root=data", f"output={output}"),
        ("check", "data.root=data", f"output={output}"),
        ("predict", "checkpoint=net.pt", "input=data/test_images", f"output={output}"),
    ):
        result = command(*words)
        assert result.returncode == 6, (words, result.stdout, result.stderr)
        assert "a folder of its own" in result.stderr
    assert tree(tmp_path) == before
