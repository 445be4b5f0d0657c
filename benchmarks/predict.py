"""Prediction of CHASE_DB1, ours beside a plain loop, interleaved in one run; memory on HRF.

    python benchmarks/predict.py ../shared/data [--base-channels 16] [--repeats 3] [--images N]

Ours: fundus-predict's own pipeline (working resolution of the default recipe, channels_last,
reading and writing beside the network), the same weights with random values. Plain: decode, one
forward in float32 at the image's own size, sigmoid, threshold, save, one after the other.
`plain_scaled` is the same loop on images scaled as ours are, to tell what the resolution
alone gives. The same at HRF's own size (3504x2336), where ours works in tiles and the plain loop
takes the image as a whole. Prints seconds, images per second and ratios, then the peak memory
of a process that predicts HRF at working and at native resolution and the seconds until
fundus-predict has started, and all of it as JSON.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fundus_cli.commands.predict import predict
from fundus_cli.config.compose import compose_config
from fundus_cli.config.overrides import quoted
from fundus_cli.model.build import build_model
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Progress, Threshold
from fundus_cli.run.signals import StopRequest
from fundus_cli.run.terminal import Terminal

WORKING_PX = 560


def write_checkpoint(path: Path, base_channels: int, working_px: int | None) -> None:
    """Random weights of a default U-Net."""
    lines = (
        "data=chasedb1",
        f"model.base_channels={base_channels}",
        f"data.fov_diameter_px={working_px or 'null'}",
    )
    config = compose_config("train", lines)
    model = build_model(config)
    checkpoint.save(
        path,
        config=config,
        model=model,
        averaged=None,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        progress=Progress(),
        threshold=Threshold(0.5, "fixed"),
        manifest={},
    )


def ours(weights: Path, images: Path, output: Path) -> float:
    """Seconds of fundus-predict, reading the checkpoint included."""
    lines = [
        quoted(key, str(value))
        for key, value in (("checkpoint", weights), ("input", images), ("output", output))
    ]
    config = compose_config("predict", tuple(lines))
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), Terminal() as terminal:
        predict(config, StopRequest(), terminal)
    return time.perf_counter() - started


def plain(weights: Path, images: Path, output: Path, scale: float = 1.0) -> float:
    """Seconds of the loop that a tutorial shows."""
    started = time.perf_counter()
    saved = checkpoint.load(weights)
    model = build_model(saved.config).eval()
    model.load_state_dict(saved.weights)
    output.mkdir()
    for path in sorted(images.iterdir()):
        with Image.open(path) as file:
            photo = file.convert("RGB")
        size = photo.size
        if scale != 1.0:
            photo = photo.resize((round(size[0] * scale), round(size[1] * scale)))
        image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            probability = torch.sigmoid(model(image))[0, 0].numpy()
        mask = Image.fromarray((probability >= 0.5).astype(np.uint8) * np.uint8(255))
        mask.resize(size).save(output / f"{path.stem}.png")
    return time.perf_counter() - started


def child(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def peak_mb(images: Path, base_channels: int, working_px: int | None) -> float:
    """Peak memory of a process that predicts a folder."""
    given = [f"--memory-of={images}", f"--base-channels={base_channels}"]
    result = child([__file__, str(images), *given, f"--working-px={working_px or 0}"])
    return float(result.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of CHASE_DB1/ and HRF/")
    parser.add_argument("--base-channels", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=28)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--working-px", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.memory_of:
            write_checkpoint(folder / "net.pt", options.base_channels, options.working_px or None)
            ours(folder / "net.pt", options.memory_of, folder / "masks")
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        print(json.dumps(measure(folder, options)))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """All figures, printed as a table on the way."""
    hrf = chosen(options.data / "HRF" / "images", folder / "hrf", 3)
    # First: a process begins with the peak of the one that starts it.
    peaks = {
        f"hrf_{label}": peak_mb(hrf, options.base_channels, px)
        for label, px in (("working", WORKING_PX), ("native", None))
    }
    for label, peak in peaks.items():
        print(f"{label:13} {peak:8.0f} MB peak")
    images = chosen(options.data / "CHASE_DB1", folder / "chase", options.images)
    weights = folder / "net.pt"
    write_checkpoint(weights, options.base_channels, WORKING_PX)
    # The field of view of CHASE_DB1 is about 905 pixels wide.
    kinds = {
        "ours": lambda out: ours(weights, images, out),
        "plain": lambda out: plain(weights, images, out),
        "plain_scaled": lambda out: plain(weights, images, out, WORKING_PX / 905),
    }
    num = len(list(images.iterdir()))
    seconds = in_turns(kinds, folder, num, options.repeats)
    native = folder / "native.pt"
    write_checkpoint(native, options.base_channels, None)
    large = {
        "ours_tiled": lambda out: ours(native, hrf, out),
        "plain_hrf": lambda out: plain(native, hrf, out),
    }
    seconds |= in_turns(large, folder, len(list(hrf.iterdir())), options.repeats)
    median = {kind: statistics.median(times) for kind, times in seconds.items()}
    started = time.perf_counter()
    child(["-c", "import fundus_cli.commands.predict"])
    start_s = time.perf_counter() - started
    print(f"{'start-up':13} {start_s:8.2f} s")
    return {
        "images": num,
        "base_channels": options.base_channels,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "seconds": seconds,
        "ratio": {
            **{kind: median[kind] / median["ours"] for kind in kinds},
            **{kind: median[kind] / median["ours_tiled"] for kind in large},
        },
        "peak_mb": peaks,
        "start_up_s": start_s,
    }


def in_turns(
    kinds: dict[str, Callable[[Path], float]], folder: Path, num: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of each kind, printed beside those of the first one."""
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(repeats):
        for kind, run in kinds.items():
            seconds[kind].append(run(folder / f"{kind}{repeat}"))
            shutil.rmtree(folder / f"{kind}{repeat}")
    first, *_ = (statistics.median(times) for times in seconds.values())
    for kind, times in seconds.items():
        value = statistics.median(times)
        ratio = (
            f"{value / first:6.2f} x ours ({min(times) / first:.2f} to {max(times) / first:.2f})"
        )
        print(f"{kind:13} {value:8.2f} s {num / value:8.2f} images/s  {ratio}")
    return seconds


def chosen(source: Path, target: Path, num: int) -> Path:
    """A folder with links to the first images."""
    target.mkdir()
    for path in sorted(p for p in source.iterdir() if p.suffix.lower() == ".jpg")[:num]:
        (target / path.name).symlink_to(path.resolve())
    return target


if __name__ == "__main__":
    main()
