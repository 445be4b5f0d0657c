"""Which images are kept, and every kind of pixel in the compact form."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_cli.report.pictures import MAX_SIDE_PX, PictureFolder, choose_cases, read_pictures
from fundus_cli.report.run_files import read_run


def rows_of(*dices: float) -> list[dict[str, object]]:
    return [{"id": f"p{n}", "structure": "vessel", "dice": d} for n, d in enumerate(dices)]


def chosen(dices: tuple[float, ...], num_worst: int) -> list[tuple[str, object]]:
    return [(kind, row["dice"]) for kind, row in choose_cases(rows_of(*dices), num_worst)]


def test_worst_median_and_best_without_repeating_one() -> None:
    dices = (0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6)
    assert chosen(dices, 2) == [("worst", 0.1), ("worst", 0.2), ("median", 0.5), ("best", 0.9)]
    assert chosen(dices, 4)[4:] == [("median", 0.5), ("median", 0.6), ("best", 0.9), ("best", 0.8)]
    assert chosen((0.2, 0.4), 4) == [("worst", 0.2), ("worst", 0.4)]
    assert chosen((0.2, 0.4, 0.6), 1) == [("worst", 0.2), ("median", 0.4), ("best", 0.6)]
    assert chosen((float("nan"), 0.4), 1) == [("worst", 0.4)]
    assert chosen(dices, 0) == []


def write_one(folder: Path, identifier: str, size: int = 2) -> None:
    prediction = np.zeros((size, size), bool)
    target = np.zeros((size, size), bool)
    fov = np.ones((size, size), bool)
    prediction[0, :2] = True
    target[0, 0] = target[1, 0] = True
    fov[1, 1] = False
    pictures = PictureFolder(folder)
    row = {"id": identifier, "structure": "vessel"}
    pictures.add("worst", row, np.full((size, size, 3), 99, np.uint8), prediction, target, fov)
    pictures.close()


def test_every_pixel_has_its_kind_and_hostile_ids_name_no_file(tmp_path: Path) -> None:
    write_one(tmp_path, "../<script>")
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["01.jpg", "01.png", "index.json"]
    with Image.open(tmp_path / "pictures" / "01.png") as image:
        assert np.asarray(image).tolist() == [[1, 3], [2, 0]]
        assert image.info["transparency"] == 0
    (picture,) = read_pictures(read_run(tmp_path))
    assert (picture.id, picture.native_px, picture.width) == ("../<script>", "2 x 2", 2)


def test_large_images_are_made_smaller(tmp_path: Path) -> None:
    write_one(tmp_path, "p", 2 * MAX_SIDE_PX)
    (picture,) = read_pictures(read_run(tmp_path))
    assert (picture.width, picture.height) == (MAX_SIDE_PX, MAX_SIDE_PX)
    assert picture.native_px == f"{2 * MAX_SIDE_PX} x {2 * MAX_SIDE_PX}"


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "nowhere.png"])
def test_an_index_leads_to_no_other_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "runs").mkdir()
    write_one(tmp_path / "runs", "p")
    index = tmp_path / "runs" / "pictures" / "index.json"
    content = json.loads(index.read_text())
    content["pictures"][0]["classes"] = name
    index.write_text(json.dumps(content))
    assert read_pictures(read_run(tmp_path / "runs")) == []
