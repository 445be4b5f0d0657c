"""Write the synthetic images of data=demo as ordinary files."""

import contextlib
import glob
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_cli.config import DemoConfig
from fundus_cli.errors import MachineError
from fundus_cli.runtime.locking import lock_folder
from fundus_cli.runtime.temporaries import TEMPORARY, sync
from fundus_cli.synthetic.render import SyntheticImage, render_image

JPEG_QUALITY = 90
GENERATOR_VERSION = 1
"""Incremented whenever the same seed gives other images, so that old ones are not reused."""


def write_demo(
    folder: Path, config: DemoConfig, progress: Callable[[int], None] = lambda total: None
) -> None:
    """Generate the images of both splits in `folder`, completely or not at all.

    Per split: `<split>_images/demo_000.jpg`, and black and white PNGs of the same name in
    `<split>_masks` (vessels), `_fov`, `_arteries`, `_veins` and `_discs`. The ids of test continue
    those of train; an image does not depend on their number. An existing folder is not changed,
    nor one that another process finishes first. `progress` is called once per image with the total
    number of images.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
    """
    if folder.exists():
        return
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}{TEMPORARY}")
    try:
        _remove_stale(folder)
        with _held(temporary):
            total = config.train + config.test
            for number in range(total):
                test = number >= config.train
                index = number - config.train if test else number
                image = render_image(config.seed, index, config.size_px, test=test)
                _write(temporary, "test" if test else "train", number, image)
                progress(total)
            # A power cut after the renaming must not leave a complete set of empty files.
            for path in (*temporary.rglob("*"), temporary):
                sync(path)
            temporary.rename(folder)
            sync(folder.parent)
    except OSError as error:
        if not folder.exists():
            raise MachineError(
                f"{folder}: cannot be written ({error.strerror or error}); "
                "make room or choose another folder with data.root=..."
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """A new folder, locked until the block ends."""
    while True:
        with contextlib.suppress(BlockingIOError):
            lock = lock_folder(temporary)
            break
        # Another process takes it for a stale one and is about to delete it.
        time.sleep(0.01)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _remove_stale(folder: Path) -> None:
    """Delete what killed processes have left of this set: folders that no process has locked."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.[0-9]*{TEMPORARY}"):
        with contextlib.suppress(BlockingIOError):
            lock = lock_folder(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _write(folder: Path, split: str, number: int, synthetic: SyntheticImage) -> None:
    masks = {
        "masks": synthetic.vessel,
        "fov": synthetic.fov,
        "arteries": synthetic.artery,
        "veins": synthetic.vein,
        "discs": synthetic.disc,
    }
    for kind in ("images", *masks):
        (folder / f"{split}_{kind}").mkdir(parents=True, exist_ok=True)
    name = f"demo_{number:03d}"
    image = Image.fromarray(synthetic.image)
    image.save(folder / f"{split}_images" / f"{name}.jpg", quality=JPEG_QUALITY)
    for kind, mask in masks.items():
        grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
        grey.save(folder / f"{split}_{kind}" / f"{name}.png")
