"""What fundus-check knows about masks that do not fit, training says before it begins."""

import time
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCommand, small
from PIL import Image

from fundus_cli.check.quick_look import misfit_warnings
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import Dataset, load_dataset

MANY = 12


def write(root: Path, real_data: Path, change: str) -> Path:
    """A data set of reduced CHASE_DB1 images, of which the masks of the first three are changed."""
    names = sorted((real_data / "CHASE_DB1").glob("*.jpg"))[:MANY]
    masks = [name.with_name(f"{name.stem}_1stHO.png") for name in names]
    if change == "swapped":
        masks[:3] = [masks[1], masks[2], masks[0]]
    for folder in ("train_images", "train_masks"):
        (root / folder).mkdir(parents=True)
    for number, (name, mask) in enumerate(zip(names, masks, strict=True)):
        Image.open(name).resize((333, 320)).save(root / "train_images" / f"{name.stem}.png")
        pixels = np.asarray(Image.open(mask).convert("L").resize((333, 320))) > 128
        if number < 3:
            pixels = {
                "moved": np.roll(pixels, (14, 9), (0, 1)),
                "turned": pixels[::-1, ::-1],
            }.get(change, pixels)
        Image.fromarray(pixels.astype(np.uint8) * 255).save(
            root / "train_masks" / f"{name.stem}.png"
        )
    return root


def dataset(root: Path) -> Dataset:
    words = [f"data.root={root}", "data.test=null", "data.val_fraction=0", *small()]
    return load_dataset(compose_config("train", words).data)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("moved", "3 of 12 masks looked at fit only when moved"),
        ("turned", "3 of 12 masks looked at fit only when rotated or mirrored"),
        ("swapped", "3 of 12 masks looked at do not resemble their image"),
    ],
)
def test_a_kind_of_misfit_is_one_warning(
    tmp_path: Path, real_data: Path, change: str, text: str
) -> None:
    loaded = dataset(write(tmp_path / "data", real_data, change))
    started = time.perf_counter()
    (line,) = misfit_warnings(loaded.samples, loaded.structures, "fundus-check data.root=data")
    assert time.perf_counter() - started < 5
    assert line.startswith(f"warning: vessel: {text}")
    assert "Image_01L, Image_01R, Image_02L; fundus-check data.root=data shows all" in line


def test_masks_that_fit_are_not_warned_of(tmp_path: Path, real_data: Path) -> None:
    loaded = dataset(write(tmp_path / "data", real_data, "none"))
    assert misfit_warnings(loaded.samples, loaded.structures, "x") == []


def test_the_command_says_so_unless_it_is_told_not_to(
    command: RunCommand, tmp_path: Path, real_data: Path
) -> None:
    write(tmp_path / "data", real_data, "turned")
    words = ["data.root=data", "data.test=null", "data.val_fraction=0", *small("epochs=1")]
    for more, number in (("check_masks=true", 2), ("check_masks=false", 0)):
        result = command("train", *words, f"output={more.partition(chr(61))[2]}", more)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("fit only when rotated or mirrored") == number
