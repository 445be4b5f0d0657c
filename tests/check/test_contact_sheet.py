"""The contact sheet: outlines where the mask is, a frame per severity, pages as they fill."""

from pathlib import Path

import numpy as np
from conftest import tiny_image
from PIL import Image

from fundus_cli.check.contact_sheet import (
    FRAMES,
    LARGE,
    OUTLINES,
    SMALL,
    ContactSheet,
    Layout,
    layout_for,
    render_tile,
)
from fundus_cli.check.findings import Severity


def near(tile: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(tile.astype(int) - np.array(colour)).sum(axis=2) < 130


def test_the_outline_follows_the_mask() -> None:
    image = np.full((200, 200, 3), 60, np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[50:150, 80:120] = 1
    fov = np.ones((200, 200), bool)
    tile = render_tile(image, [mask], fov, 200)
    outline = near(tile, OUTLINES[0])
    assert outline[50, 80:120].all()
    assert outline[50:150, 80].all()
    assert outline[149, 80:120].all()
    assert not outline[52:148, 83:117].any()
    assert not outline[:, :78].any()


def test_a_tile_is_cropped_to_the_field_and_as_large_as_asked() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    fov = np.zeros((100, 300), bool)
    fov[20:80, 100:220] = True
    image[fov] = (150, 80, 40)
    tile = render_tile(image, [], fov, 64)
    assert max(tile.shape[:2]) == 64
    assert tile.shape[0] < 40
    assert tile[16, 32, 0] > 200


def test_two_structures_have_two_colours() -> None:
    image, vessel = tiny_image(0, 128)
    left, right = vessel.copy(), vessel.copy()
    left[:, 64:], right[:, :64] = False, False
    tile = render_tile(image, [left, right], np.ones((128, 128), bool), 128)
    assert near(tile, OUTLINES[0])[:, :60].any()
    assert near(tile, OUTLINES[1])[:, 68:].any()
    assert not near(tile, OUTLINES[1])[:, :60].any()


def test_pages_are_written_as_they_fill_and_framed(tmp_path: Path) -> None:
    sheet = ContactSheet(tmp_path, "set", Layout(tile_px=100, columns=2, rows=1), 3)
    tile = np.full((100, 100, 3), 200, np.uint8)
    sheet.add(tile, "train  a.png", None)
    assert sheet.paths == []
    sheet.add(None, "train  " + "very long " * 30 + ".png", Severity.error)
    assert [path.name for path in sheet.paths] == ["contact_sheet_1.png"]
    sheet.add(tile, "test  c.png", Severity.warning)
    sheet.finish()
    sheet.finish()
    assert [path.name for path in sheet.paths] == ["contact_sheet_1.png", "contact_sheet_2.png"]
    first, second = (np.array(Image.open(path)) for path in sheet.paths)
    red, orange = FRAMES[Severity.error], FRAMES[Severity.warning]
    assert (first == red).all(axis=2).sum() > 300
    assert not (first == orange).all(axis=2).any()
    assert (second == orange).all(axis=2).sum() > 300


def test_big_sets_get_small_tiles() -> None:
    assert layout_for(28) is LARGE
    assert layout_for(20_000) is SMALL
