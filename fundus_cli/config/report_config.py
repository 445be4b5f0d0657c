"""Keys of fundus-report."""

from dataclasses import dataclass
from typing import Any

from fundus_cli.config.base import require


@dataclass(kw_only=True, slots=True)
class ReportConfig:
    """The config of fundus-report."""

    path: Any
    """A run folder, a folder of runs, or a list of run folders to compare."""
    output: str
    """The folder for a page that compares several runs; the page of a run goes into its folder."""

    def __post_init__(self) -> None:
        listed = self.path if isinstance(self.path, list) else [self.path]
        holds = bool(listed) and all(isinstance(p, str | int) and str(p).strip() for p in listed)
        require(holds, "path", self.path, "a folder, or a list of folders as in path=[a,b]")
        require(bool(self.output.strip()), "output", self.output, "a folder's name")

    @property
    def paths(self) -> list[str]:
        """The folders, one or several."""
        return [str(p) for p in (self.path if isinstance(self.path, list) else [self.path])]
