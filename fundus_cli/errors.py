"""Errors that the user can fix: each is one line or two of text with an exit code.

| code | meaning                                              |
|------|------------------------------------------------------|
| 0    | done                                                 |
| 1    | a bug in fundus-cli: traceback                       |
| 2    | command or config                                    |
| 3    | data, or a checkpoint that cannot be trusted         |
| 4    | training diverged (a value that is not finite)       |
| 5    | machine: disk full, read-only, memory                |
| 6    | run folder busy or already used                      |
| 7    | sweep finished, some jobs failed                     |
| 129, 130, 143 | stopped by HUP, INT, TERM at a step boundary |
"""

from collections.abc import Iterable, Sequence


class FundusError(Exception):
    """Base class for errors the user can fix. The message is printed without a traceback."""

    exit_code = 1


class ConfigError(FundusError):
    """The command line or the config asks for something that does not exist or is out of range."""

    exit_code = 2


class DataError(FundusError):
    """An image, a mask or a checkpoint is missing, damaged or not what it should be."""

    exit_code = 3


class DivergedError(FundusError):
    """A loss, gradient, weight or prediction is not finite; nothing of it is saved."""

    exit_code = 4


class MachineError(FundusError):
    """The machine ran out of disk or memory, or a folder cannot be written."""

    exit_code = 5


class RunFolderError(FundusError):
    """The run folder is in use by another process or holds an earlier run."""

    exit_code = 6


class SweepError(FundusError):
    """The sweep is over and at least one of its jobs failed."""

    exit_code = 7


class Interrupted(BaseException):
    """A signal asked to stop; everything up to the last optimizer step is saved.

    Not a subclass of Exception: it may be raised between any two instructions, and an
    `except Exception` in a library must not swallow it.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


MAX_NAMES_SHOWN = 100
"""Maximum number of names listed per kind of problem; the rest is only counted."""


def printable(text: str, keep: str = "") -> str:
    r"""Escape control and formatting characters, as in `\\x1b[2J`.

    Names of files and texts in a stranger's files could otherwise clear a terminal, reverse the
    direction of writing or add lines that look like the program's own.

    Args:
        text: any text. Bytes of a name that are not UTF-8 (surrogates) stay: streams escape them.
        keep: characters to leave as they are, such as the line breaks of a message.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep or "\ud800" <= c <= "\udfff" else _escaped(c)
        for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def list_names(names: Iterable[str]) -> str:
    """Sorted names separated by commas; when there are too many, the rest is counted."""
    ordered = sorted(map(printable, names))
    shown = ", ".join(ordered[:MAX_NAMES_SHOWN])
    rest = len(ordered) - MAX_NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


class Problems:
    """Problems of a data set, collected by kind so that all are reported at once.

    A kind is the sentence that explains the problem and says what to do. It is printed as one line,
    followed by every file or id concerned.
    """

    def __init__(self) -> None:
        self._offenders_by_kind: dict[str, list[str]] = {}

    def add(self, kind: str, offender: str) -> None:
        """Record that `offender` (a file or id, with the value found) has this problem."""
        self._offenders_by_kind.setdefault(kind, []).append(offender)

    def __bool__(self) -> bool:
        return bool(self._offenders_by_kind)

    def items(self) -> Sequence[tuple[str, list[str]]]:
        """(kind, offenders) in the order of first appearance."""
        return list(self._offenders_by_kind.items())

    def lines(self) -> list[str]:
        """One line per kind, followed by the offenders."""
        return [
            f"{kind} ({len(offenders)}): {list_names(offenders)}"
            for kind, offenders in self._offenders_by_kind.items()
        ]

    def raise_if_any(self, headline: str) -> None:
        """Raise one DataError with every problem collected so far."""
        if self:
            raise DataError("\n".join([headline, *self.lines()]))
