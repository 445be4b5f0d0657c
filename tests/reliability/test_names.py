"""Names of files reach neither a terminal as commands nor a spreadsheet as formulas."""

import csv
import os
from pathlib import Path

import pytest
from checkpoints import random_checkpoint
from conftest import RunCommand, tiny_image, write_tiny_set
from PIL import Image

from fundus_cli.errors import list_names, printable
from fundus_cli.run.files import from_cell, to_cell, write_csv

EVIL = "a\x1b[2J\nfundus-train: done\u202egnp"


def is_safe(text: str) -> bool:
    """Whether only ordinary characters and line breaks reach the terminal."""
    return all(c.isprintable() or c == "\n" for c in text)


def test_control_characters_are_escaped_and_others_stay() -> None:
    assert printable("Auge 01 é 眼.png") == "Auge 01 é 眼.png"
    assert printable(EVIL) == r"a\x1b[2J\nfundus-train: done\u202egnp"
    assert printable("a\nb\r", keep="\n") == "a\nb\\r"
    assert list_names(["b", "a\nb"]) == r"a\nb, b"


@pytest.mark.parametrize(
    "text", ["=1+1", "+a", "-a", "@a", "'=a", "''-a", "\ta", "a", "'a", "-1.5", ""]
)
def test_a_cell_is_read_as_it_was_written(tmp_path: Path, text: str) -> None:
    write_csv(tmp_path / "t.csv", [{"a": text, "b": 1}])
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert from_cell(row["a"]) == text
    assert row["a"][:1] not in ("=", "+", "@", "\t", "\r")
    assert row["a"] == to_cell(text)


def test_numbers_keep_their_sign() -> None:
    assert [to_cell(text) for text in ("-1.5", "+2", "-inf")] == ["-1.5", "+2", "-inf"]


def test_training_checking_and_predicting_print_no_control_characters(
    command: RunCommand, tmp_path: Path
) -> None:
    data = write_tiny_set(tmp_path / "data", train=2, test=1)
    for folder in ("train_images", "train_masks"):
        os.rename(data / folder / "p0.png", data / folder / f"{EVIL.replace('/', '')}.png")  # noqa: PTH104
    (data / "train_images" / f"x{EVIL}.png").write_bytes(b"")
    random_checkpoint(tmp_path / "net.pt")
    results = [
        command("train", "data.root=data", "output=run"),
        command("check", "data.root=data", "output=checked"),
        command("predict", "checkpoint=net.pt", "input=data/train_images", "output=masks"),
    ]
    for result in results:
        assert result.returncode == 3, result.stderr
        assert is_safe(result.stdout), result.stdout
        assert is_safe(result.stderr), result.stderr
        assert "\nfundus-train: done" not in result.stdout + result.stderr
        assert r"\x1b[2J" in result.stdout + result.stderr


def test_the_second_call_knows_what_is_done_whatever_it_is_called(
    command: RunCommand, tmp_path: Path
) -> None:
    random_checkpoint(tmp_path / "net.pt")
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate(("=1+1.png", f"{EVIL}.png")):
        Image.fromarray(tiny_image(seed)[0]).save(tmp_path / "photos" / name)
    call = ("predict", "checkpoint=net.pt", "input=photos", "output=masks")
    assert command(*call).returncode == 0
    table = (tmp_path / "masks" / "predictions.csv").read_text()
    assert "\n'=1+1.png" in table
    again = command(*call)
    assert "2 already existed" in again.stdout, again.stdout
    assert (tmp_path / "masks" / "predictions.csv").read_text() == table
