"""report.html: one offline file that says what the folder says, with everything escaped."""

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_cli.evaluation.counts import Counts
from fundus_cli.report.pictures import PictureFolder, choose_cases
from fundus_cli.report.run_files import read_run
from fundus_cli.report.run_page import write_report
from fundus_cli.run.files import write_csv, write_json

from .conftest import PROTOCOL, MakeRun, add_pictures, metrics_row

HOSTILE = "<script>alert('x')</script>"


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects tags, ids and whatever an attribute loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href") and tag != "a":
                self.loads.append(str(value))


def test_it_says_what_the_files_say(make_run: MakeRun) -> None:
    folder = make_run("run", "epochs=3", "optimizer.lr=0.25")
    page = page_of(folder)
    dice = 2 * 130 / (2 * 130 + 30 + 50)
    for text in (
        f"<b>{dice:.4f}</b>",
        "95 % interval 0.5000 to 0.9000",
        PROTOCOL,
        "2 train, 1 val, 2 test",
        "1\u202f234\u202f567 parameters",
        "1.5 minutes on 1 thread",
        "3 of 3, best 3",
        "fundus-train epochs=3 optimizer.lr=0.25",
        "<code>optimizer.lr</code>",
        "clDice",
    ):
        assert text in page, text
    for title in (
        "ROC",
        "Precision and recall",
        "Dice by threshold",
        "Calibration",
        "Dice by width",
    ):
        assert f"<h3>{title}</h3>" in page


def test_it_loads_nothing_and_no_id_stands_twice(make_run: MakeRun) -> None:
    folder = make_run("run", structures=("artery", "vein"))
    add_pictures(folder, read_run(folder).rows)
    reader = Reader(page_of(folder))
    assert reader.loads
    assert all(re.match(r"data:|#", address) for address in reader.loads)
    assert len(reader.ids) == len(set(reader.ids))
    assert not re.search(r"url\((?!#)|@import", page_of(folder))


@pytest.mark.parametrize("place", ["id", "structure", "data", "reason", "argument"])
def test_hostile_names_are_text(make_run: MakeRun, place: str) -> None:
    structure = HOSTILE if place == "structure" else "vessel"
    name = HOSTILE if place == "id" else "p1"
    counts = {name: Counts(8, 2, 1, 9), "other": Counts(7, 2, 2, 9), "$x_1$": Counts(1, 1, 1, 1)}
    folder = make_run("run", counts=counts, structures=(structure,))
    if place == "data":
        text = (folder / "metrics.json").read_text()
        (folder / "metrics.json").write_text(text.replace('"demo"', json.dumps(HOSTILE)))
    if place == "reason":
        write_json(folder / "summary.json", {"status": "failed", "reason": HOSTILE})
    if place == "argument":
        write_json(folder / "environment.json", {"arguments": [HOSTILE], HOSTILE: HOSTILE})
    add_pictures(folder, read_run(folder).rows)
    page = page_of(folder)
    assert page.count("<script") == 1
    assert "alert(" in page
    assert "&lt;script&gt;alert(" in page


def test_a_running_run_has_a_page(make_run: MakeRun) -> None:
    folder = make_run("run")
    for name in ("metrics.json", "metrics.csv", "curves.json"):
        (folder / name).unlink()
    write_json(folder / "summary.json", {"status": "running"})
    page = page_of(folder)
    assert "This run is not finished (running)" in page
    assert "No scores in this folder yet" in page
    assert "<h3>Loss</h3>" in page


def test_images_are_listed_from_the_lowest_dice_with_the_second_observer(
    make_run: MakeRun,
) -> None:
    counts = {"good": Counts(9, 1, 1, 9), "none": Counts(0, 0, 0, 9), "bad": Counts(1, 9, 9, 9)}
    folder = make_run("run", counts=counts)
    rows = [metrics_row(name, c) for name, c in counts.items()]
    second = [{**metrics_row("bad", Counts(3, 1, 1, 9)), "rater": "observer2"}]
    write_csv(folder / "metrics.csv", [*rows, *second])
    table = page_of(folder).partition('id="images"')[2].partition("</table>")[0]
    assert re.findall(r'scope="row">(\w+)<', table) == ["bad", "good", "none"]
    assert "Second observer's Dice" in table.replace("&#39;", "'")
    assert "0.7500" in table


def test_a_page_of_chase_images_is_small_and_quick(make_run: MakeRun, real_data: Path) -> None:
    folder = make_run("run", "data=chasedb1")
    names = [f"{n:02d}{eye}" for n in range(5, 9) for eye in "LR"]
    source = real_data / "CHASE_DB1"
    layers, rows = {}, []
    for name in names:
        with Image.open(source / f"Image_{name}.jpg") as file:
            image = np.asarray(file.convert("RGB"))
        masks = []
        for observer in ("1st", "2nd"):
            with Image.open(source / f"Image_{name}_{observer}HO.png") as file:
                masks.append(np.asarray(file.convert("L")) > 0)
        target, prediction = masks
        hits = int((target & prediction).sum())
        counts = Counts(hits, int(prediction.sum()) - hits, int(target.sum()) - hits, 9)
        rows.append(metrics_row(name, counts))
        layers[name] = (image, prediction, target, image.max(axis=2) > 25)
    write_csv(folder / "metrics.csv", rows)
    pictures = PictureFolder(folder)
    for kind, row in choose_cases(rows, 4):
        pictures.add(kind, row, *layers[row["id"]])
    pictures.close()
    started = time.process_time()
    page = write_report(folder)
    assert time.process_time() - started < 15
    assert 5e5 < page.stat().st_size < 6e6
    assert len(read_run(folder).pictures) == 8
