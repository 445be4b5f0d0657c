"""pictures/: a few images with their hits and errors, small enough to be put into one page.

Each is a JPEG of the image and a palette PNG of the kinds of pixels, both at most
MAX_SIDE_PX, so that a page can be made of the folder alone, without data set or network.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fundus_cli.report.overlays import FN_COLOUR, FP_COLOUR, TP_COLOUR
from fundus_cli.report.run_files import Run, number
from fundus_cli.run.files import write_json, write_whole

FOLDER = "pictures"
MAX_SIDE_PX = 1600
JPEG_QUALITY = 82
KINDS = ("worst", "median", "best")
PALETTE = (0, 0, 0, *TP_COLOUR, *FN_COLOUR, *FP_COLOUR)
"""Index 0 is transparent; 1 to 3 are TP, FN and FP."""


def choose_cases(
    rows: Sequence[Mapping[str, Any]], num_worst: int
) -> list[tuple[str, Mapping[str, Any]]]:
    """Rows of metrics.csv to be drawn: the lowest Dice, half as many around the median and on top.

    Rows without a Dice (nothing there, nothing found) are not chosen; none is chosen twice.

    Args:
        rows: a row per image and structure.
        num_worst: how many of the worst; 0 chooses none.

    Returns:
        (`worst`, `median` or `best`, row), in this order.
    """
    ordered = sorted(
        (row for row in rows if number(row.get("dice")) is not None), key=lambda row: row["dice"]
    )
    worst, rest = ordered[:num_worst], ordered[num_worst:]
    half = -(-num_worst // 2)
    best = rest[max(len(rest) - half, 0) :][::-1]
    middle = rest[: len(rest) - len(best)]
    centre = len(ordered) / 2 - len(worst)
    nearest = sorted(range(len(middle)), key=lambda i: abs(i + 0.5 - centre))[:half]
    return [
        *(("worst", row) for row in worst),
        *(("median", middle[i]) for i in sorted(nearest)),
        *(("best", row) for row in best),
    ]


class PictureFolder:
    """Writes pictures/ file by file, and its index at the end."""

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder / FOLDER
        self._index: list[dict[str, Any]] = []

    def add(
        self,
        kind: str,
        row: Mapping[str, Any],
        image: np.ndarray,
        prediction: np.ndarray,
        target: np.ndarray,
        fov: np.ndarray,
    ) -> None:
        """Keep one image.

        Args:
            kind: `worst`, `median` or `best`.
            row: its row of metrics.csv.
            image: (H, W, 3) uint8.
            prediction: (H, W) bool.
            target: (H, W) bool.
            fov: (H, W) bool; pixels outside it are of no kind.

        Raises:
            MachineError: the folder cannot be written.
        """
        # Numbers, not ids, name the files: an id may hold anything.
        stem = f"{len(self._index) + 1:02d}"
        height, width = target.shape
        scale = min(1.0, MAX_SIDE_PX / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        classes = np.zeros((height, width), np.uint8)
        classes[fov & prediction & target] = 1
        classes[fov & ~prediction & target] = 2
        classes[fov & prediction & ~target] = 3
        layer = Image.fromarray(classes)
        layer = layer.resize(size, Image.Resampling.NEAREST)
        layer.putpalette(PALETTE)
        fundus_image = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
        self.folder.mkdir(exist_ok=True)
        _save(self.folder / f"{stem}.jpg", fundus_image, quality=JPEG_QUALITY, optimize=True)
        _save(self.folder / f"{stem}.png", layer, transparency=0, bits=2, optimize=True)
        self._index.append(
            {
                "kind": kind,
                "id": row["id"],
                "structure": row["structure"],
                "image": f"{stem}.jpg",
                "classes": f"{stem}.png",
                "native_px": [width, height],
                "shown_px": list(size),
            }
        )

    def close(self) -> None:
        """Write index.json.

        Raises:
            MachineError: the folder cannot be written.
        """
        if self._index:
            write_json(self.folder / "index.json", {"pictures": self._index})


def _save(path: Path, image: Image.Image, **options: Any) -> None:
    buffer = io.BytesIO()
    image.save(buffer, {".jpg": "JPEG", ".png": "PNG"}[path.suffix], **options)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image as a page shows it; the three layers are data: addresses of equal size."""

    kind: str
    id: str
    structure: str
    row: dict[str, Any]
    width: int
    height: int
    native_px: str
    image: str
    classes: str
    reference: str


def read_pictures(run: Run) -> list[Picture]:
    """Read the pictures of a run's folder, without those whose files are missing or damaged."""
    rows = {(row.get("id"), row.get("structure")): row for row in run.rows}
    pictures = []
    for entry in run.pictures:
        try:
            pictures.append(_read(run.folder / FOLDER, entry, rows))
        except (OSError, KeyError, TypeError, ValueError):
            continue
    return pictures


def _read(
    folder: Path, entry: Mapping[str, Any], rows: Mapping[tuple[Any, Any], dict[str, Any]]
) -> Picture:
    # The index is a file like any other: it may not lead out of its folder.
    # Up to version 0.1.0 the key was "photograph".
    names = (entry.get("image", entry.get("photograph")), entry["classes"])
    image, classes = (folder / Path(str(name)).name for name in names)
    if not (image.is_file() and classes.is_file()):
        raise FileNotFoundError(image)
    with Image.open(classes, formats=("PNG",)) as layer:
        present = np.isin(np.asarray(layer), (1, 2))
        width, height = layer.size
    buffer = io.BytesIO()
    Image.fromarray(present).save(buffer, "PNG", optimize=True)
    native = entry["native_px"]
    return Picture(
        kind=str(entry["kind"]),
        id=str(entry["id"]),
        structure=str(entry["structure"]),
        row=rows.get((entry["id"], entry["structure"]), {}),
        width=width,
        height=height,
        native_px=f"{native[0]} x {native[1]}",
        image=_address("image/jpeg", image.read_bytes()),
        classes=_address("image/png", classes.read_bytes()),
        reference=_address("image/png", buffer.getvalue()),
    )


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
