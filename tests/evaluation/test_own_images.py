"""fundus-eval finds the images of training from anywhere, and says when they are others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import small, write_tiny_set
from forked import run_command
from PIL import Image

from fundus_cli.run import checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with data of the same name, and a run of the first."""
    place = tmp_path_factory.mktemp("place")
    write_tiny_set(place / "first" / "base", train=3, test=2)
    write_tiny_set(place / "second" / "base", train=3, test=2, size=72)
    words = ["train", "data.root=base", "output=out/run", *small("epochs=1")]
    result = run_command(place / "first", *words, scratch=place)
    assert result.returncode == 0, result.stderr
    return place


def evaluate(place: Path, folder: str, *words: str) -> str:
    result = run_command(place / folder, "eval", *words, scratch=place)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_relative_root_is_seen_from_where_it_was_typed(place: Path) -> None:
    run = place / "first" / "out" / "run"
    printed = evaluate(place, "second", f"checkpoint={run}", "output=scores")
    assert "not the files" not in printed
    scores = place / "second" / "scores" / "metrics.json"
    assert scores.read_bytes() == (run / "metrics.json").read_bytes()
    # With the root typed, it is that of the command.
    printed = evaluate(place, "second", f"checkpoint={run}", "data.root=base", "output=other")
    line = "warning: these are not the files of test that training saw below base: 4 changed ("
    assert printed.count(line) == 2


def test_a_checkpoint_sent_elsewhere_names_the_files_that_are_others(place: Path) -> None:
    shutil.copy(place / "first" / "out" / "run" / "best.pt", place / "second" / "net.pt")
    printed = evaluate(place, "second", "checkpoint=net.pt", "output=sent")
    assert "4 changed (test_images/p3.png, test_images/p4.png, test_masks/p3.png" in printed


def test_a_mask_that_was_edited_and_an_image_more_are_named(place: Path) -> None:
    shutil.copytree(place / "first", place / "edited")
    masks, images = (place / "edited" / "base" / f"test_{kind}" for kind in ("masks", "images"))
    mask = np.array(Image.open(masks / "p3.png"))
    mask[30, 30] = 255 - mask[30, 30]
    Image.fromarray(mask).save(masks / "p3.png")
    for folder in (masks, images):
        shutil.copy(folder / "p4.png", folder / "p9.png")
    printed = evaluate(place, "edited", "checkpoint=out/run", "output=scores")
    assert "1 changed (test_masks/p3.png), 2 new (test_images/p9.png, test_masks/p9.png)" in printed


def test_val_is_what_training_held_out(place: Path) -> None:
    shutil.copytree(place / "first", place / "more")
    root = place / "more" / "base"
    before = checkpoint.load(place / "more" / "out" / "run" / "best.pt").manifest["val"]
    # So many images more that others would be held out, too.
    for number in range(10, 25):
        for kind in ("images", "masks"):
            shutil.copy(
                root / f"train_{kind}" / "p1.png", root / f"train_{kind}" / f"p{number}.png"
            )
    evaluate(place, "more", "checkpoint=out/run", "split=val", "output=scores")
    rows = (place / "more" / "scores" / "metrics.csv").read_text().splitlines()[1:]
    held_out = {Path(name).stem for name in before if "images" in name}
    assert {row.partition(",")[0] for row in rows} == held_out
