"""Whatever is missing or damaged in a run folder is absent on its page, never an error."""

import os
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest
from PIL import Image

from fundus_cli.report.pictures import read_pictures
from fundus_cli.report.run_files import is_run, leaves, number, numbers, plain, read_rows, read_run
from fundus_cli.report.run_page import write_report
from fundus_cli.run.files import write_csv

from .conftest import MakeRun, add_pictures

FILES = (
    *("config.json", "environment.json", "splits.json", "log.csv", "metrics.json", "metrics.csv"),
    *("curves.json", "summary.json", "pictures/index.json", "pictures/01.png", "pictures/01.jpg"),
)
JUNK = (None, "", "{", "[1, 2]", '{"data": 3, "protocols": 5, "structures": [1], "pictures": 2}')


@pytest.mark.parametrize(("name", "junk"), list(zip(FILES, cycle(JUNK), strict=False)))
def test_a_page_is_made_whatever_one_file_holds(
    make_run: MakeRun, name: str, junk: str | None
) -> None:
    check_page_with(make_run, [name], junk)


@pytest.mark.parametrize("junk", JUNK)
def test_a_page_is_made_whatever_all_files_hold(make_run: MakeRun, junk: str | None) -> None:
    check_page_with(make_run, FILES, junk)


def check_page_with(make_run: MakeRun, names: Sequence[str], junk: str | None) -> None:
    folder = make_run("run", "data=chasedb1")
    add_pictures(folder, read_run(folder).rows)
    for name in names:
        (folder / name).unlink()
        if junk is not None:
            (folder / name).write_text(junk)
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")


def test_a_page_is_made_whatever_stands_in_the_place_of_the_files(make_run: MakeRun) -> None:
    """Pipes and an endless device would be waited for; the page of a folder of runs reads them
    too."""
    folder = make_run("run", "data=chasedb1")
    add_pictures(folder, read_run(folder).rows)
    for name, makes_pipe in zip(FILES, cycle((True, False)), strict=False):
        (folder / name).unlink()
        if makes_pipe:
            os.mkfifo(folder / name)
        else:
            (folder / name).symlink_to("/dev/zero")
    assert read_run(folder).config == {}
    assert write_report(folder).read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.parametrize("makes_pipe", [True, False])
def test_a_picture_that_is_no_small_file_is_left_out(make_run: MakeRun, makes_pipe: bool) -> None:
    folder = make_run("run", "data=chasedb1")
    add_pictures(folder, read_run(folder).rows)
    count = len(read_pictures(read_run(folder)))
    layer = next((folder / "pictures").glob("*.png"))
    layer.unlink()
    if makes_pipe:
        os.mkfifo(layer)
    else:
        Image.new("1", (20_000, 20_000)).save(layer)
    assert len(read_pictures(read_run(folder))) == count - 1


def test_scores_of_the_wrong_kind_are_left_out(make_run: MakeRun) -> None:
    folder = make_run("run")
    text = (folder / "metrics.json").read_text()
    (folder / "metrics.json").write_text(text.replace("0.91", '"high"').replace("0.66", "null"))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "high" not in page
    assert "clDice" not in page


def test_cells_are_numbers_where_they_are_and_ids_stay_text(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"id": "01", "dice": 0.5, "tp": 12, "hd95_px": float("nan")}])
    assert read_rows(tmp_path / "a.csv") == [{"id": "01", "dice": 0.5, "tp": 12, "hd95_px": None}]


def test_second_observers_rows_are_kept_apart(tmp_path: Path) -> None:
    rows = [{"id": "a", "rater": "network", "dice": 0.5}, {"id": "a", "rater": "observer2"}]
    write_csv(tmp_path / "metrics.csv", rows)
    run = read_run(tmp_path)
    assert [row["dice"] for row in run.rows] == [0.5]
    assert [row["rater"] for row in run.observer2_rows] == ["observer2"]


def test_small_readers() -> None:
    assert (number(True), number("1"), number(float("nan")), number(2)) == (None, None, None, 2.0)
    assert str(numbers([1, None, 0.5])) == "[1.0, nan, 0.5]"
    assert leaves({"a": {"b": 1, "c": [2]}, "d": None}) == {"a.b": 1, "a.c": [2], "d": None}
    values = (None, True, 0.0005, [1, "x"], "y", 3)
    assert [plain(v) for v in values] == ["null", "true", "0.0005", "[1, x]", "y", "3"]


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert not is_run(tmp_path)
    (tmp_path / "log.csv").touch()
    assert is_run(tmp_path)
