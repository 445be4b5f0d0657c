"""Overlays pixel by pixel, captions that fit, curves that are whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_cli.report.loss_curves import plot_curves
from fundus_cli.report.overlays import (
    FN_COLOUR,
    FP_COLOUR,
    MIN_WIDTH,
    TP_COLOUR,
    file_stem,
    render_overlay,
    save_overlay,
)


def test_every_kind_of_pixel_has_its_colour() -> None:
    image = np.full((2, 3, 3), 100, np.uint8)
    prediction = np.array([[1, 0, 1], [0, 1, 1]], bool)
    target = np.array([[1, 1, 0], [0, 1, 0]], bool)
    fov = np.array([[1, 1, 1], [1, 0, 0]], bool)
    drawn = render_overlay(image, prediction, target, fov)
    assert [tuple(p) for p in drawn[0].tolist()] == [TP_COLOUR, FN_COLOUR, FP_COLOUR]
    assert [tuple(p) for p in drawn[1].tolist()] == [(60, 60, 60)] * 3


@pytest.mark.parametrize("side", [1, 64, 256, 999])
def test_an_overlay_is_enlarged_by_a_whole_factor_with_a_caption_below(
    tmp_path: Path, side: int
) -> None:
    overlay = np.zeros((side, side, 3), np.uint8)
    overlay[0, 0] = TP_COLOUR
    save_overlay(tmp_path / "a.png", overlay, "p1  vessel  dice 0.8123  sensitivity 0.8  ")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image)
    factor = pixels.shape[1] // side
    assert pixels.shape[1] == factor * side >= min(side, MIN_WIDTH)
    assert np.all(pixels[:factor, :factor] == TP_COLOUR)
    caption = pixels[factor * side :]
    assert caption.max() > 200
    assert np.all(caption[:, -8:].max() < 40)


def test_names_become_file_names_everywhere() -> None:
    assert file_stem('a/b:c"d*') == "a_b_c_d_"
    assert file_stem("日本 é,=(1)") == "日本 é,=(1)"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"epoch": 1, "train_loss": 0.5, "test_loss": float("nan")}],
        [
            {
                "epoch": e,
                "train_loss": 1 / e,
                "test_loss": 0.5,
                "val_loss": 0.4,
                "val_dice": 0.1 * e,
            }
            for e in range(1, 5)
        ],
    ],
)
def test_curves_are_a_whole_picture(tmp_path: Path, rows: list[dict[str, float]]) -> None:
    plot_curves(rows, tmp_path / "curves.png", "demo")
    with Image.open(tmp_path / "curves.png") as image:
        image.load()
        assert image.width > 500
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
