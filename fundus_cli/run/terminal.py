"""Print lines and progress bars, and append the lines to the run's log file."""

import contextlib
import sys
import time
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from fundus_cli.errors import printable

WARNING = "warning:"
"""The beginning of every warning."""


class Terminal:
    """Prints lines above progress bars; continues silently when the output is closed.

    Args:
        quiet: print nothing; lines still go to the log.

    Attributes:
        warnings: the printed lines that begin with `warning:`, each once.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.warnings: list[str] = []
        self._log: Path | None = None
        self._bar: tqdm | None = None
        self._bar_name = ""
        self._broken = quiet
        self._bars_are_broken = quiet

    def log_to(self, path: Path) -> None:
        """Append every line from now on, with its time, to a file."""
        # A pipe without a reader would wait for one.
        self._log = None if path.is_fifo() else path
        with contextlib.suppress(OSError):
            if path.is_file() and not path.read_bytes().endswith(b"\n"):
                # A full disk or a kill has truncated the last line.
                with path.open("a") as file:
                    file.write("\n")

    def print_line(self, line: str) -> None:
        """Print a line on standard output and append it to the log."""
        line = printable(line, keep="\n")
        if line.startswith(WARNING) and line not in self.warnings:
            self.warnings.append(line)
        self.record(line)
        if self._broken:
            return
        try:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
        except OSError:
            # The output is closed (as by `| head`); training continues.
            self._broken = True
            with contextlib.suppress(OSError):
                sys.stdout = Path("/dev/null").open("w")  # noqa: SIM115

    def repeat_warnings(self) -> None:
        """Print the warnings again, below the results, for a reader who begins there."""
        for line in list(self.warnings):
            self.print_line(line)

    def record(self, text: str) -> None:
        """Append a line to the log alone."""
        if self._log is not None:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {printable(text, keep=chr(10))}\n")

    def reading(self, total: int) -> None:
        """One more image of `total` is read."""
        self._advance("reading images", total, "image")

    def generating(self, total: int) -> None:
        """One more synthetic image of `total` is generated."""
        self._advance("generating images", total, "image")

    def making_page(self, total: int) -> None:
        """One more page of `total` is written."""
        self._advance("writing pages", total, "page")

    def repairing(self, total: int) -> None:
        """One more image of `total` is in the repaired copy."""
        self._advance("writing the repaired copy", total, "image")

    def scoring(self, total: int) -> None:
        """One more image of `total` is scored."""
        self._advance("scoring", total, "image")

    def predicting(self, total: int) -> None:
        """The prediction of one more image of `total` is written."""
        self._advance("predicting", total, "image")

    def step(self, epoch: int, done: int, total: int) -> None:
        """Step `done` of `total` of an epoch is over."""
        self._advance(f"epoch {epoch}", total, "step", done)

    def close_bar(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()
            self._bar = None

    def _advance(self, name: str, total: int, unit: str, done: int | None = None) -> None:
        if self._bars_are_broken:
            return
        try:
            if self._bar is None or self._bar_name != name:
                self.close_bar()
                self._bar_name = name
                # disable=None: no bar unless standard error is a terminal.
                self._bar = tqdm(total=total, desc=name, unit=unit, leave=False, disable=None)
            self._bar.update(done - self._bar.n if done is not None else 1)
            if self._bar.n >= total:
                self.close_bar()
        except OSError:
            # The terminal is closed; training continues without bars.
            self._bars_are_broken, self._bar = True, None

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_bar()
