"""Read the header of an image file: format, colour mode, size and orientation."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fundus_cli.data.decoding import opened, storage_of
from fundus_cli.data.images import ORIENTATION


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """An image file's header.

    Attributes:
        format: as Pillow names it, `JPEG`.
        mode: colour mode as stored, `RGB`.
        bits: per sample.
        width: pixels as stored, before any EXIF rotation; `height` likewise.
        orientation: of EXIF, 1 (upright) to 8.
    """

    format: str
    mode: str
    bits: int
    width: int
    height: int
    orientation: int

    @property
    def encoding(self) -> str:
        """`JPEG RGB`, `PNG grey 16-bit`."""
        modes = {"1": "1-bit", "L": "grey", "LA": "grey+alpha", "P": "palette", "F": "grey float"}
        mode = "grey" if self.mode.startswith("I") else modes.get(self.mode, self.mode)
        depth = f" {self.bits}-bit" if self.bits > 8 else ""
        return f"{self.format} {mode}{depth}"


def read_facts(path: Path, max_megapixels: float) -> FileFacts:
    """Read the header of a file whose pixels could be read.

    Raises:
        BadFile: it has changed since.
    """
    with opened(path, max_megapixels) as image:
        # Not image.getexif(): that of a PNG decodes all pixels when there is no EXIF before them.
        orientation = Image.Image.getexif(image).get(ORIENTATION, 1)
        return FileFacts(
            format=str(image.format),
            mode=image.mode,
            bits=storage_of(image).bits,
            width=image.size[0],
            height=image.size[1],
            orientation=orientation if orientation in range(1, 9) else 1,
        )


def is_jpeg(path: Path) -> bool:
    """Whether the content is JPEG, regardless of the file's name."""
    try:
        with path.open("rb") as file:
            return file.read(3) == b"\xff\xd8\xff"
    except OSError:
        return False
