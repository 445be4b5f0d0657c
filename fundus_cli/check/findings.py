"""Findings: where a problem is, what was found, what it likely means, what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Severity(Enum):
    """error: training would stop; warning: it would continue with a worse result; note: for
    information."""

    error = "error"
    warning = "warning"
    note = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of finding.

    Attributes:
        code: its short name in report.json.
        what: what is wrong, as a headline.
        means: what it likely means.
        todo: what to do about it.
    """

    code: str
    severity: Severity
    what: str
    means: str
    todo: str


def error(code: str, what: str, means: str, todo: str) -> Kind:
    """A kind of finding that stops training."""
    return Kind(code=code, severity=Severity.error, what=what, means=means, todo=todo)


def warning(code: str, what: str, means: str, todo: str) -> Kind:
    """A kind of finding that does not stop training, but makes its result worse or meaningless."""
    return Kind(code=code, severity=Severity.warning, what=what, means=means, todo=todo)


def note(code: str, what: str, means: str, todo: str) -> Kind:
    """A kind of finding for information."""
    return Kind(code=code, severity=Severity.note, what=what, means=means, todo=todo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An occurrence of a kind of finding, at certain files.

    Attributes:
        severity: that of the kind unless the config changes it (data.on_bad=skip).
        split: the split of the files, or "".
        files: paths below the data set's folder.
        found: the values found in these files.
        means: that of the kind, or what the values suggest.
        todo: that of the kind, or the exact override.
    """

    kind: Kind
    severity: Severity
    files: tuple[str, ...]
    split: str = ""
    found: str = ""
    means: str = ""
    todo: str = ""

    def plain(self) -> dict[str, object]:
        """Plain values for report.json."""
        return {
            "severity": self.severity.value,
            "code": self.kind.code,
            "what": self.kind.what,
            "split": self.split,
            "files": list(self.files),
            "found": self.found,
            "means": self.means,
            "todo": self.todo,
        }


def finding(
    kind: Kind,
    files: Iterable[str],
    found: str = "",
    *,
    split: str = "",
    severity: Severity | None = None,
    means: str = "",
    todo: str = "",
) -> Finding:
    """A finding whose empty texts are filled with those of its kind."""
    return Finding(
        kind=kind,
        severity=severity or kind.severity,
        files=tuple(files),
        split=split,
        found=printable(found),
        means=means or kind.means,
        todo=todo or kind.todo,
    )


def below(path: Path, root: Path) -> str:
    """A file's path below the data set's folder, safe to print and to write as UTF-8."""
    try:
        relative = path.relative_to(root)
    except ValueError:
        relative = path
    return printable(relative.as_posix())


def printable(text: str) -> str:
    """The text on one line, with control characters and bytes that are not UTF-8 escaped."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)


@dataclass(slots=True)
class Group:
    """Findings that are reported in one block: the same kind, meaning and advice."""

    kind: Kind
    severity: Severity
    means: str
    todo: str
    findings: list[Finding] = field(default_factory=list)


def grouped(findings: Sequence[Finding]) -> list[Group]:
    """Blocks from errors to notes, otherwise in the order of their first finding."""
    groups: dict[tuple[str, ...], Group] = {}
    for one in findings:
        key = (one.kind.code, one.severity.value, one.means, one.todo)
        group = groups.setdefault(
            key, Group(kind=one.kind, severity=one.severity, means=one.means, todo=one.todo)
        )
        group.findings.append(one)
    order = list(Severity)
    return sorted(groups.values(), key=lambda group: order.index(group.severity))


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """{severity: number of findings}."""
    return {s.value: sum(one.severity is s for one in findings) for s in Severity}


def summed(findings: Sequence[Finding]) -> str:
    """`3 errors, 1 warning`; notes are left out."""
    number = counts(findings)
    parts = [
        f"{number[name]} {name}{'s' * (number[name] != 1)}"
        for name in ("error", "warning")
        if number[name]
    ]
    return ", ".join(parts) or "nothing wrong"
