"""Describe files that do not match: a record per mismatch, with its error message."""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class MismatchKind(Enum):
    """Ways in which the files of a split do not match its templates."""

    no_image = "no_image"
    not_listed = "not_listed"
    doubled = "doubled"
    missing = "missing"
    left_over = "left_over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One image or mask without a counterpart under the templates of a split.

    Attributes:
        role: `image`, `<structure> mask`, `field-of-view mask` or `second observer`.
        structure: the structure of a mask, otherwise "".
        template: where the missing file is expected; of a left-over mask, where its image is.
        files: those at fault; of a missing mask, its image.
        near: a left-over file whose name differs only in case or leading zeros.
        hint: what lies there instead of an image, beginning with a semicolon; or "".
    """

    kind: MismatchKind
    split: str
    role: str
    template: str
    identifier: str = ""
    structure: str = ""
    files: tuple[Path, ...] = ()
    near: Path | None = None
    hint: str = ""

    def problem(self) -> tuple[str, str]:
        """(kind, offender) for `Problems`."""
        what = f"{self.split} {self.role}"
        match self.kind:
            case MismatchKind.no_image:
                return f"{self.split}: no image found; expected", self.template + self.hint
            case MismatchKind.not_listed:
                kind = f"{self.split}: listed in data.{self.split}.ids but not found"
                return kind, self.identifier
            case MismatchKind.doubled:
                names = " and ".join(sorted(path.name for path in self.files))
                return f"{what}: more than one file for one id; keep one", names
            case MismatchKind.missing:
                hint = (
                    f" (found {self.near.name}, which is spelled differently)" if self.near else ""
                )
                kind = f"{what} missing, expected {self.template}, for"
                return kind, self.files[0].name + hint
            case MismatchKind.left_over:
                return f"{what} without an image {self.template}", self.files[0].name


def plain_id(identifier: str) -> str:
    """The id in lower case and without leading zeros, which are easily mistyped."""
    return re.sub(r"0+(?=\d)", "", identifier.casefold())
