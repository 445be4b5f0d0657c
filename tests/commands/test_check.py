"""The real command: exit codes, files it leaves, hostile folders, quiet when nobody watches."""

import json
import os
import time
from pathlib import Path

import pytest
from conftest import RunCommand
from PIL import Image


def test_a_good_set_exits_0_with_report_and_sheet(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    result = command("check", f"data.root={shared_tiny_set}", "output=out")
    assert (result.returncode, result.stderr) == (0, "")
    assert "nothing wrong" in result.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["counts"] == {"error": 0, "warning": 0, "note": 0}
    assert report["data"] == "folder"
    assert [one["split"] for one in report["images"]].count("test") == 2
    first = report["images"][0]
    assert (first["width"], first["format"], first["bits"]) == (64, "PNG", 8)
    assert first["masks"]["vessel"]["alignment"]["verdict"] == "aligned"
    with Image.open(tmp_path / "out" / report["contact_sheet"][0]) as page:
        page.load()
        assert page.size[0] > 700
    assert "nothing wrong" in (tmp_path / "out/report.txt").read_text()


def test_findings_exit_3_in_one_line_and_are_all_in_the_report(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    (tiny_set / "train_images/p0.png").write_bytes(b"")
    (tiny_set / "train_masks/p1.png").unlink()
    result = command("check", f"data.root={tiny_set}", "output=out", "contact_sheet=false")
    assert result.returncode == 3
    assert result.stderr == "fundus-check: 2 errors; out/report.txt lists them\n"
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [(f["code"], f["files"]) for f in report["findings"]] == [
        ("missing-file", ["train_images/p1.png"]),
        ("empty-file", ["train_images/p0.png"]),
    ]
    text = (tmp_path / "out/report.txt").read_text()
    for word in ("train_images/p0.png", "likely", "do ", "fix=true output=folder_repaired"):
        assert word in text
        assert word in result.stdout
    assert not list((tmp_path / "out").glob("*.png"))
    again = command("check", f"data.root={tiny_set}", "output=out")
    assert again.returncode == 6
    assert "already holds a report" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fxi=true"], 2, ["fxi", "did you mean fix?"]),
        (["data.root=nowhere"], 3, ["does not exist"]),
        (["data=drive"], 2, ["data.root", "data=drive data.root="]),
        (["fix=maybe"], 2, ["fix", "maybe"]),
        (["data.mask_threshold=2"], 2, ["data.mask_threshold"]),
    ],
)
def test_mistakes_are_told_as_for_every_command(
    command: RunCommand, arguments: list[str], code: int, words: list[str]
) -> None:
    result = command("check", *arguments)
    assert result.returncode == code
    assert len(result.stderr.strip().splitlines()) <= 2
    assert all(word in result.stderr for word in words)


def test_fix_in_place_is_refused(command: RunCommand, tiny_set: Path) -> None:
    for place, words in (
        (tiny_set, "is the folder of the data set"),
        (tiny_set / "fixed", "is inside the data set"),
    ):
        result = command("check", f"data.root={tiny_set}", "fix=true", f"output={place}")
        assert result.returncode == 6
        assert words in result.stderr
        assert not (tiny_set / "fixed").exists()


def test_the_help_page_names_its_keys(command: RunCommand) -> None:
    result = command("check", "--help")
    assert result.returncode == 0
    for word in ("fix=false", "contact_sheet=true", "data.mask_threshold=null", "chasedb1"):
        assert word in result.stdout


def test_a_hostile_folder_is_survived_named_and_left_alone(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    images, masks = tiny_set / "train_images", tiny_set / "train_masks"
    content, mask = (images / "p0.png").read_bytes(), (masks / "p0.png").read_bytes()
    odd = ["a b", "é=(1),#", "日本", "line\nbreak", "quote'\"", "x" * 240, b"\xff\xfe".decode(
        "utf-8", "surrogateescape"
    )]  # fmt: skip
    for number, name in enumerate(odd):
        Image.open(images / "p0.png").point(lambda v, n=number: max(0, v - n - 1)).save(
            tmp_path / "other.png"
        )
        (images / f"{name}.png").write_bytes((tmp_path / "other.png").read_bytes())
        (masks / f"{name}.png").write_bytes(mask)
    os.mkfifo(images / "fifo.png")
    (images / "folder.png").mkdir()
    (images / "loop.png").symlink_to("loop.png")
    (images / "here").symlink_to(".")
    (masks / "bomb.png").write_bytes(content)
    Image.new("1", (13_500, 13_500)).save(images / "bomb.png")
    (images / "._p0.png").write_bytes(b"x")
    started = time.monotonic()
    result = command(
        "check", f"data.root={tiny_set}", "output=out", LC_ALL="POSIX", PYTHONUTF8="0", timeout=60
    )
    assert time.monotonic() - started < 60
    assert result.returncode == 3, result.stderr
    assert "Traceback" not in result.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    told = {(f["code"], f["files"][0]) for f in report["findings"] if f["files"]}
    assert {
        ("not-a-file", "train_images/fifo.png"),
        ("not-a-file", "train_images/folder.png"),
        ("cannot-open", "train_images/loop.png"),
        ("too-large", "train_images/bomb.png"),
    } <= told
    seen = {one["file"] for one in report["images"]}
    assert {"train_images/line\\nbreak.png", "train_images/\\xff\\xfe.png"} <= seen
    fixed = command("check", f"data.root={tiny_set}", "output=mended", "fix=true", timeout=60)
    assert fixed.returncode == 3, fixed.stderr
    assert (tmp_path / "mended/train_images" / f"{'x' * 240}.png").exists()
    assert (tmp_path / "mended/train_images/日本.png").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_output_is_told_at_once(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    result = command("check", f"data.root={shared_tiny_set}", "output=locked/out")
    assert result.returncode == 5
