"""Keys of fundus-check."""

from dataclasses import dataclass

from fundus_cli.config.base import require
from fundus_cli.config.data_config import DataConfig


@dataclass(kw_only=True, slots=True)
class CheckConfig:
    """The config of fundus-check."""

    data: DataConfig
    fix: bool
    """Write a repaired copy into `output`."""
    contact_sheet: bool
    """Write pages that show every image with the outlines of its masks."""
    output: str

    def __post_init__(self) -> None:
        require(bool(self.output.strip()), "output", self.output, "a folder's name")
