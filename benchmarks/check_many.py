"""fundus-check on many small files, beside the check that fundus-train makes.

    python benchmarks/check_many.py [--images 10000] [--size 64]

Writes the images and masks into a temporary folder, then checks them three times, each time in
a process of its own: as fundus-train does, fundus-check without and with the contact sheet. Prints
wall seconds, processor seconds (of worker processes, too), images per second, the peak memory
of the process and of its largest worker, and JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_cli.check.inspect_dataset import survey
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset

WAYS = ("as fundus-train", "fundus-check, no sheet", "fundus-check, with sheet")


def drawn(number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A disc with two dark waves on it (size, size, 3), and the waves (size, size)."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size] / size - 0.5
    fov = x**2 + y**2 < 0.46**2
    phase, slope, pace = random.uniform(0, 6, 2), random.uniform(-0.6, 0.6, 2), random.uniform(5, 9)
    across = y - 0.1 * np.sin(pace * x + phase[0]) - slope[0] * x
    along = x - 0.1 * np.sin(pace * y + phase[1]) - slope[1] * y
    vessel = fov & ((np.abs(across) < 0.03) | (np.abs(along) < 0.025))
    colour = np.array([180, 90, 50]) - 45 * vessel[..., None]
    noisy = colour + random.normal(0, 5, (size, size, 3))
    return (noisy.clip(0, 255) * fov[..., None]).astype(np.uint8), vessel


def write_set(root: Path, num_images: int, size: int) -> None:
    """Drawings that all differ, four fifths of them train."""
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            (root / f"{split}_{kind}").mkdir(parents=True)
    for number in range(num_images):
        split = "train" if number < 0.8 * num_images else "test"
        image, vessel = drawn(number, size)
        Image.fromarray(image).save(root / f"{split}_images/{number}.png", compress_level=1)
        mask = Image.fromarray(vessel.astype(np.uint8) * np.uint8(255))
        mask.save(root / f"{split}_masks/{number}.png", compress_level=1)


def measure(root: Path, way: str) -> dict[str, float]:
    """Check the set in this process."""
    overrides = ("data=folder", f"data.root={root}", "data.fov_diameter_px=null")
    config = compose_config("train", overrides).data
    wall = time.perf_counter()
    before = processor_s()
    if way == WAYS[0]:
        load_dataset(config)
    else:
        sheet = root.parent if way == WAYS[2] else None
        survey(config, root, sheet, lambda total: None)
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": processor_s() - before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "worker_peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def processor_s() -> float:
    """Of this process and of those that it has waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(Path(arguments.measure[0]), arguments.measure[1])))
        return
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        write_set(root, arguments.images, arguments.size)
        for way in WAYS:
            words = [sys.executable, __file__, "--measure", str(root), way]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            rows[way] = json.loads(done.stdout)
            per_s = arguments.images / rows[way]["wall_s"]
            figures = "  ".join(f"{key} {value:8.1f}" for key, value in rows[way].items())
            print(f"{way:26} {figures}  images/s {per_s:7.0f}")
    print(json.dumps({"images": arguments.images, "size": arguments.size, **rows}))


if __name__ == "__main__":
    main()
