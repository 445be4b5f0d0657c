"""Write a prediction to files: masks, probabilities, overlay, field of view."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_cli.data.samples import UnusableFile
from fundus_cli.run.files import inside, write_whole

IN_THE_WAY = "already exists with different content; set overwrite=true to replace it"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFiles:
    """The output files of one image."""

    masks: dict[str, Path]
    probabilities: dict[str, Path]
    overlay: Path | None
    fov: Path | None

    def paths(self) -> list[Path]:
        """Every file, the masks last: when they exist, all others exist too."""
        single = [path for path in (self.overlay, self.fov) if path is not None]
        return [*self.probabilities.values(), *single, *self.masks.values()]


def output_files(
    folder: Path,
    target: Path,
    structures: Sequence[str],
    *,
    probability: bool,
    overlay: bool,
    fov: bool,
) -> OutputFiles:
    """The output files of an image; with several structures, each has its own folder.

    Raises:
        DataError: a name leads out of `folder`.
    """
    several = len(structures) > 1

    def of_each(base: Path) -> dict[str, Path]:
        return {s: inside(base, *([s] if several else []), target) for s in structures}

    return OutputFiles(
        masks=of_each(folder),
        probabilities=of_each(folder / "probability") if probability else {},
        overlay=inside(folder / "overlays", target) if overlay else None,
        fov=inside(folder / "fov", target) if fov else None,
    )


def is_below(path: Path) -> bool:
    """Whether a relative path stays in the folder that it is relative to."""
    return not path.is_absolute() and ".." not in path.parts and path.suffix == ".png"


def mask_pixels(mask: np.ndarray) -> np.ndarray:
    """Convert (h, w) bool to uint8, 0 and 255."""
    return mask.astype(np.uint8) * np.uint8(255)


def probability_pixels(probability: np.ndarray) -> np.ndarray:
    """Convert (h, w) from 0 to 1 to uint16, 0 to 65535, rounded."""
    return np.rint(probability * np.float32(65535)).astype(np.uint16)


def write_png(path: Path, pixels: np.ndarray, overwrite: bool) -> None:
    """Write (h, w) uint8 or uint16, or (h, w, 3) uint8, atomically and without metadata.

    Raises:
        UnusableFile: another file has this name, and overwrite is False.
        MachineError: it cannot be written.
    """
    if path.exists() and not overwrite:
        if not _holds(path, pixels):
            raise UnusableFile(path, IN_THE_WAY)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    # 16-bit noise hardly compresses, even at high levels.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1 if pixels.itemsize > 1 else 6)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def _holds(path: Path, pixels: np.ndarray) -> bool:
    if not path.is_file():
        return False  # opening a pipe would wait for its other end
    try:
        with Image.open(path, formats=("PNG",)) as image:
            # The size is compared first, so that an unrelated file is not decoded.
            return image.size == pixels.shape[1::-1] and np.array_equal(np.asarray(image), pixels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
