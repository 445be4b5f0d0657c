"""Makes the golden checkpoints of this version's format: `python tests/golden/make.py`.

Run once for every release and whenever checkpoint.FORMAT is raised, never to silence a test: an
older folder stays as it is, because users have files like it.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from conftest import ONE_THREAD, tiny_image
from golden.reading import HERE, IMAGES, KEPT, OPTIMIZERS, probability_of

from fundus_cli import __version__
from fundus_cli.run.checkpoint import FORMAT

SIZE_PX = 48
KEYS = (
    f"data.root={IMAGES.name}",
    "data.val_fraction=0.34",
    "data.fov_diameter_px=null",
    "data.patch_px=32",
    "data.patches_per_image=40",
    "model.base_channels=2",
    "model.depth=1",
    "precision=float32",
    "device=cpu",
    "optimizer.lr=0.02",
    "scheduler=constant",
    "epochs=2",
)


def draw() -> None:
    """The images, kept as files: a later Pillow may write other bytes."""
    for split, numbers in (("train", range(3)), ("test", range(3, 4))):
        for number in numbers:
            image, vessel = tiny_image(number, SIZE_PX)
            for kind, pixels in (("images", image), ("masks", vessel.astype(np.uint8) * 255)):
                folder = IMAGES / f"{split}_{kind}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"p{number}.png", optimize=True)


def main() -> None:
    """Train with the real command, keep what a user would keep, write down what it predicts."""
    if not IMAGES.exists():
        draw()
    for optimizer in OPTIMIZERS:
        train(HERE / f"format_{FORMAT}_{optimizer}", [*KEYS, f"optimizer={optimizer}"])


def train(folder: Path, keys: list[str]) -> None:
    command = [sys.executable, "-m", "fundus_cli", "train", *keys, f"output={folder.name}"]
    environment = {"PATH": "/usr/bin:/bin", **ONE_THREAD}
    subprocess.run(command, cwd=HERE, env=environment, check=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEPT:
            path.unlink()
    np.save(folder / "probability.npy", probability_of(folder / "best.pt"))
    made_with = {"fundus_cli": __version__, "torch": torch.__version__, "keys": keys}
    (folder / "made_with.json").write_text(json.dumps(made_with, indent=2) + "\n")


if __name__ == "__main__":
    main()
