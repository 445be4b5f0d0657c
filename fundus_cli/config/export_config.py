"""Keys of fundus-export."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from fundus_cli.config.base import checkpoint_names, require


class ExportFormat(Enum):
    onnx = "onnx"
    torchscript = "torchscript"
    safetensors = "safetensors"


@dataclass(kw_only=True, slots=True)
class ExportConfig:
    """The config of fundus-export."""

    checkpoint: Any
    """One file or run folder, or a list of them."""
    format: ExportFormat
    file: str | None
    """The file to write; null: the checkpoint's name with the extension of the format."""
    overwrite: bool
    tta: bool | None
    """Average over four flips inside the graph; null: as in training."""

    def __post_init__(self) -> None:
        names = checkpoint_names(self.checkpoint)
        require(self.file is None or bool(self.file.strip()), "file", self.file, "a file's name")
        require(
            len(names) == 1 or self.format is not ExportFormat.safetensors,
            "format",
            self.format.value,
            "onnx or torchscript for several checkpoints; safetensors holds the weights of one",
        )

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoints' names."""
        return checkpoint_names(self.checkpoint)
