"""Fixtures that several test folders share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]

RunCommand = Callable[..., subprocess.CompletedProcess[str]]

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Two threads that wait for each other crawl when the machine is busy with something else."""
os.environ.update(ONE_THREAD)

SMALL = (
    "model.base_channels=4",
    "model.depth=2",
    "data.fov_diameter_px=null",
    "data.patch_px=32",
    "data.patches_per_image=2",
    "epochs=2",
    "overlays=1",
)
"""Overrides that make a run last a second or two."""


def small(*overrides: str) -> list[str]:
    """SMALL with some keys changed or added."""
    keys = {line.partition("=")[0] for line in overrides}
    return [*(line for line in SMALL if line.partition("=")[0] not in keys), *overrides]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with CHASE_DB1 and HRF: ../shared/data or FUNDUS_DATA; skips without."""
    folder = Path(os.environ.get("FUNDUS_DATA", PROJECT.parent / "shared" / "data"))
    if not (folder / "CHASE_DB1").is_dir():
        pytest.skip(f"no real images at {folder.name}; set FUNDUS_DATA")
    return folder


def tiny_image(seed: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A disc with two dark curves on black (size, size, 3) uint8, and the curves (size, size)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    fov = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (0.46 * size) ** 2
    phase, slope = random.uniform(0, 6), random.uniform(-0.4, 0.4)
    wave = size / 2 + 8 * np.sin(x / 9 + phase) + slope * (x - size / 2)
    vessel = fov & ((np.abs(y - wave) < 2) | (np.abs(x - wave.T) < 1.5))
    colour = np.array([180, 90, 50]) - 45 * vessel[..., None] + random.normal(0, 5, (size, size, 3))
    return (colour.clip(0, 255) * fov[..., None]).astype(np.uint8), vessel


def write_tiny_set(root: Path, train: int = 6, test: int = 2, size: int = 64) -> Path:
    """train_images/ train_masks/ test_images/ test_masks/ with small images."""
    for split, numbers in (("train", range(train)), ("test", range(train, train + test))):
        for folder in ("images", "masks"):
            (root / f"{split}_{folder}").mkdir(parents=True, exist_ok=True)
        for number in numbers:
            image, vessel = tiny_image(number, size)
            Image.fromarray(image).save(root / f"{split}_images" / f"p{number}.png")
            mask = Image.fromarray(vessel.astype(np.uint8) * 255)
            mask.save(root / f"{split}_masks" / f"p{number}.png")
    return root


@pytest.fixture
def tiny_set(tmp_path: Path) -> Path:
    """A data set of its own for one test: 6 train and 2 test images of 64 pixels."""
    return write_tiny_set(tmp_path / "data")


@pytest.fixture(scope="session")
def shared_tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data set for tests that only read it."""
    return write_tiny_set(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def command(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunCommand:
    """Run `fundus-<program>` in a process of its own, in the test's folder.

    With environment variables (`LC_ALL="POSIX"`) it is a new interpreter; without, a fork of this
    one, which saves the four seconds of importing torch.
    """
    scratch = tmp_path_factory.mktemp("output")

    def run(
        program: str, *arguments: str, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        if not environment:
            from forked import run_command

            return run_command(tmp_path, program, *arguments, scratch=scratch, timeout=timeout)
        return subprocess.run(
            [sys.executable, "-m", "fundus_cli", program, *arguments],
            cwd=tmp_path,
            env={**os.environ, **ONE_THREAD, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
