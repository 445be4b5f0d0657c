"""Files are whole or absent, and a failed write names the reason and keeps what was there."""

import errno
import json
import os
from pathlib import Path
from typing import IO

import pytest

from fundus_cli.errors import MachineError
from fundus_cli.run.files import (
    MOST_BYTES,
    link_whole,
    read_json,
    read_text,
    remove_stale_temporaries,
    write_csv,
    write_json,
    write_whole,
)


@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "folder", "link to a pipe"])
def test_only_regular_files_of_some_size_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(MOST_BYTES + 1)
    elif kind == "folder":
        path.mkdir()
    else:
        target = path if kind == "pipe" else tmp_path / "pipe"
        os.mkfifo(target)
        if target != path:
            path.symlink_to(target)
    with pytest.raises(ValueError, match=r"^(not a regular file|larger than 64 MB)$"):
        read_text(path)
    assert read_json(path) == {}


@pytest.mark.parametrize("levels", [60, 900, 200_000])
def test_json_of_many_levels_counts_as_missing(tmp_path: Path, levels: int) -> None:
    (tmp_path / "a.json").write_text('{"a": ' + "[" * levels + "]" * levels + "}")
    assert read_json(tmp_path / "a.json") == {}


def test_a_number_of_many_digits_is_a_float(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 12, "b": 1' + "0" * 400 + "}")
    assert read_json(tmp_path / "a.json") == {"a": 12, "b": float("inf")}


def test_a_failed_write_keeps_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def half(file: IO[bytes]) -> None:
        file.write(b"ne")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_whole(path, half)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_a_full_disk_is_told_in_one_line_even_behind_torchs_error(tmp_path: Path) -> None:
    def full(file: IO[bytes]) -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RuntimeError("unexpected pos 704 vs 598") from error

    with pytest.raises(MachineError, match=r"a\.bin: cannot be written \(No space left.*MB free"):
        write_whole(tmp_path / "a.bin", full)
    assert list(tmp_path.iterdir()) == []


def test_json_is_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.5], "z": "é"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"x": None, "y": [None, 1.5], "z": "é"}
    assert "NaN" not in text


def test_csv_takes_rows_with_different_keys_and_odd_names(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"id": 'a,"b"', "x": 0.1}, {"id": "c", "y": float("nan")}])
    assert (tmp_path / "a.csv").read_text() == 'id,x,y\n"a,""b""",0.1,\nc,,\n'


def test_a_link_keeps_its_content_when_the_other_name_is_replaced(tmp_path: Path) -> None:
    last, best = tmp_path / "last", tmp_path / "best"
    last.write_text("1")
    link_whole(last, best)
    link_whole(last, best)
    write_whole(last, lambda file: file.write(b"2"))
    assert (last.read_text(), best.read_text()) == ("2", "1")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_is_a_copy_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "last").write_text("1")
    link_whole(tmp_path / "last", tmp_path / "best")
    assert (tmp_path / "best").read_text() == "1"


def test_temporaries_of_killed_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".last.pt.123.fundus.tmp").touch()
    (tmp_path / "last.pt").touch()
    remove_stale_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
