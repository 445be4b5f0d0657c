"""Explanation of mask values; the proposed key reads the mask in training."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_image
from PIL import Image

from fundus_cli.check.mask_values import diagnose
from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.config.overrides import check_overrides, parse_overrides
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.masks import PLAIN, read_mask
from fundus_cli.data.samples import mask_rule

_, VESSEL = tiny_image(1, 128)
MASK = VESSEL.astype(np.uint8)


def smooth(mask: np.ndarray) -> np.ndarray:
    big = Image.fromarray(mask * np.uint8(255)).resize((384, 384), Image.Resampling.BICUBIC)
    return np.asarray(big.resize((128, 128), Image.Resampling.BILINEAR))


def coloured(values: dict[int, tuple[int, int, int]], labels: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    for label, colour in values.items():
        table[label] = colour
    return table[labels]


LABELS = MASK.copy()
LABELS[:, 64:] *= 2
SOFT = np.clip(np.add.outer(np.arange(128), np.arange(128)), 0, 255).astype(np.uint8)

CASES = {
    "jpeg": (MASK * 255, "a.jpg", "JPEG", "data.mask_threshold=0.5", MASK),
    "anti-aliased": (smooth(MASK), "a.png", "smoothed", "data.mask_threshold=0.5", None),
    "soft": (SOFT, "a.png", "soft labels", "data.mask_threshold=0.5", SOFT > 127),
    "classes": (LABELS, "a.png", "2 classes", "data.mask_foreground=[1,2]", MASK),
    "128 and 255": (
        np.where(MASK, 255, 128).astype(np.uint8),
        *("a.png", "128, the more frequent", "data.mask_foreground=[255]", MASK),
    ),
    "red and blue": (
        coloured({0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 0, 255)}, LABELS),
        *("a.png", "2 classes", 'data.mask_foreground=["#0000ff","#ff0000"]', MASK),
    ),
    "red on white": (
        coloured({0: (255, 255, 255), 1: (255, 0, 0)}, MASK),
        *("a.png", "#ffffff, the more frequent", 'data.mask_foreground=["#ff0000"]', MASK),
    ),
    "all 255": (MASK * 0 + 255, "a.png", "everything", "data.mask_foreground=[255]", MASK * 0 + 1),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_proposed_key_reads_the_mask_in_training(case: str, tmp_path: Path) -> None:
    array, name, means, override, expected = CASES[case]
    path = tmp_path / name
    Image.fromarray(array).save(path, **({"quality": 80} if name.endswith("jpg") else {}))
    with pytest.raises(BadFile, match=r"data\.mask_foreground decides"):
        read_mask(path, PLAIN, 1)
    found = diagnose(path, name.endswith("jpg"), 1)
    assert found is not None
    assert means in found.means
    assert shlex.split(found.override) == [override]
    assert found.override in found.todo
    words = shlex.split(found.override)
    check_overrides(parse_overrides(words), TrainConfig, None, multirun=False)
    read = read_mask(path, mask_rule(compose_config("train", tuple(words)).data), 1)
    wrong = np.mean(read != (MASK if expected is None else expected))
    assert wrong < 0.02


def test_values_are_listed_with_their_share(tmp_path: Path) -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[0, :4] = 1
    labels[5:] = 7
    Image.fromarray(labels).save(tmp_path / "a.png")
    found = diagnose(tmp_path / "a.png", False, 1)
    assert found is not None
    assert found.found == "0 (46%), 1 (4%), 7 (50%)"


def test_a_file_that_cannot_be_read_has_no_diagnosis(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<html>")
    assert diagnose(tmp_path / "a.png", False, 1) is None
