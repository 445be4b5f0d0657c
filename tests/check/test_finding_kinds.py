"""Every refusal of a file has a kind of finding, and every kind is documented."""

from pathlib import Path

from fundus_cli.check.file_findings import FILES, PAIRING
from fundus_cli.check.finding_kinds import ALL_KINDS, MASK_EMPTY, SIXTEEN_BIT
from fundus_cli.check.findings import Severity, below, finding, grouped, printable, summed
from fundus_cli.data import decoding, images, masks
from fundus_cli.data.mismatches import MismatchKind

DOCS = Path(__file__).resolve().parents[2] / "docs" / "check.md"


def test_every_refusal_of_a_file_has_a_kind() -> None:
    refusals = {
        value
        for module in (decoding, images, masks)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    assert set(FILES) == refusals
    assert set(PAIRING) == set(MismatchKind)


def test_kinds_have_unique_codes_and_are_documented() -> None:
    codes = [kind.code for kind in ALL_KINDS]
    assert len(codes) == len(set(codes))
    text = DOCS.read_text()
    assert [code for code in codes if f"`{code}`" not in text] == []
    assert all(kind.what and kind.means and kind.todo for kind in ALL_KINDS)


def test_findings_of_one_kind_and_meaning_are_one_group_errors_first() -> None:
    found = [
        finding(SIXTEEN_BIT, ["n"]),
        finding(MASK_EMPTY, ["a"]),
        finding(MASK_EMPTY, ["b"], means="other"),
        finding(MASK_EMPTY, ["c"], severity=Severity.error),
        finding(MASK_EMPTY, ["d"]),
    ]
    files = [[one.files[0] for one in group.findings] for group in grouped(found)]
    assert files == [["c"], ["a", "d"], ["b"], ["n"]]
    assert summed(found) == "1 error, 3 warnings"
    assert summed(found[:1]) == "nothing wrong"


def test_all_names_become_printable() -> None:
    assert printable("a\nb\x1b[0m") == "a\\nb\\x1b[0m"
    assert printable(b"x\xff".decode("utf-8", "surrogateescape")) == "x\\xff"
    assert below(Path("/d/日本 é.png"), Path("/d")) == "日本 é.png"
    assert below(Path("/e/a.png"), Path("/d")) == "/e/a.png"
