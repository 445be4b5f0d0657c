"""Documents hold what they say: YAML parses, commands compose, the site is complete and local."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from fundus_cli import __version__
from fundus_cli.cli.command_line import _read_arguments
from fundus_cli.cli.programs import PROGRAMS
from fundus_cli.config import SCHEMAS
from fundus_cli.config.compose import compose_config
from fundus_cli.config.keys import all_keys
from fundus_cli.config.overrides import check_overrides, parse_overrides

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(PROJECT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(PROJECT.glob("docs/**/*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(fundus-[^`]+)`")
(OWN_LAYOUT,) = [
    block
    for language, block in BLOCK.findall((PROJECT / "docs" / "data-layouts.md").read_text())
    if language == "yaml"
]
sys.path.insert(0, str(PROJECT / "docs" / "_site"))


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def commands(path: Path) -> Iterator[str]:
    """Every command of one of the programs in a document, in blocks, tables and text."""
    text = path.read_text()
    for language, block in BLOCK.findall(text):
        if language in ("", "bash", "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                yield from re.findall(r"(?:^|&& )(fundus-[^&#]+)", line)
    for line in INLINE.findall(BLOCK.sub("", text)):
        if " " in line:
            yield line.replace("\\|", "|")


# Fragments in running text, without the keys that are required.
FRAGMENTS = ("fundus-eval data=chasedb1", "fundus-predict fov_mask=true")
FRAGMENTS += ("fundus-predict precision=float32",)
EVERY_COMMAND = [(name_of(path), line) for path in DOCUMENTS for line in commands(path)]


def test_there_are_commands_to_check() -> None:
    assert len(EVERY_COMMAND) > 60
    assert {line.split()[0].removeprefix("fundus-") for _, line in EVERY_COMMAND} == set(PROGRAMS)


@pytest.mark.parametrize(("document", "line"), EVERY_COMMAND)
def test_a_command_is_accepted(document: str, line: str, tmp_path: Path) -> None:
    """Keys, choices, quotes and values are right; nothing runs and no file is looked for."""
    words = shlex.split(line.replace("...", "x").replace("…", "x"))
    program = words[0].removeprefix("fundus-")
    if words[1:] in (["x"], []):
        return
    arguments = _read_arguments(words[1:])
    overrides = parse_overrides(arguments.overrides)
    # Configs of one's own are not there; their name is all that a document can show.
    (tmp_path / "data").mkdir()
    for own in ("clinic", "repaired"):
        (tmp_path / "data" / f"{own}.yaml").write_text(OWN_LAYOUT.replace("clinic", own))
    words = list(arguments.overrides)
    if line in FRAGMENTS:
        given = {override.key_or_group for override in overrides}
        words += [f"{key}=x" for key in ("checkpoint", "input") if key not in given]
        words = words if program == "predict" else [w for w in words if w != "input=x"]
    if arguments.multirun:
        check_overrides(overrides, SCHEMAS[program], tmp_path, multirun=True)
    else:
        compose_config(program, words, tmp_path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_yaml_and_python_blocks_parse(path: Path) -> None:
    for language, block in BLOCK.findall(path.read_text()):
        if language == "yaml":
            assert isinstance(yaml.safe_load(block), dict)
        if language == "python":
            compile(block, path.name, "exec")


def test_a_layout_of_ones_own_is_read(tmp_path: Path) -> None:
    """The example in the documentation, with its name and its keys."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clinic.yaml").write_text(OWN_LAYOUT)
    data = compose_config("train", ["data=clinic", "data.root=x"], tmp_path).data
    assert (data.name, data.fov_angle_deg, data.structures) == ("clinic", 30, ["vessel"])


def test_links_between_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        text = BLOCK.sub("", path.read_text())
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{name_of(path)}: {target}"


def test_files_of_the_project_that_documents_name_exist() -> None:
    """In code marks: paths from the root, and in the table of reliability, paths in tests/."""
    for path in DOCUMENTS:
        if path.name == "experiments.md":  # It names files as they were called then.
            continue
        text = path.read_text()
        named = re.findall(r"`((?:fundus_cli|configs|tests|docs|benchmarks)/[\w./]+)`", text)
        for name in set(named) - {"configs/data/repaired.yaml"}:  # fundus-check writes it
            assert (PROJECT / name).exists(), f"{name_of(path)}: {name}"
    table = (PROJECT / "docs" / "reliability.md").read_text().partition("## What is tested")[2]
    for name, test in re.findall(r"([\w/]*test_\w+\.py)(?:::(\w+))?", table):
        folders = (PROJECT / "tests" / "reliability", PROJECT / "tests", PROJECT)
        found = [folder / name for folder in folders if (folder / name).exists()]
        assert found, name
        assert not test or f"def {test}(" in found[0].read_text(), test


def test_the_map_of_the_package_has_the_order_of_its_imports() -> None:
    sys.path.insert(0, str(PROJECT / "tests"))
    from test_structure import ROOMS

    text = (PROJECT / "CONTRIBUTING.md").read_text().partition("## The package")[2]
    rows = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", text, re.M)
    assert rows == [name for name in ROOMS if name != "__main__"]


def test_the_front_page_is_short() -> None:
    lines = (PROJECT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    assert max(map(len, lines)) < 220


def test_the_reference_has_every_key() -> None:
    from reference import configuration_page

    page = configuration_page().partition("\n## Groups")[0]
    sections = re.split(r"^## fundus-", page, flags=re.M)[1:]
    assert [section.split()[0] for section in sections] == list(PROGRAMS)
    for section in sections:
        rows = dict(re.findall(r"^\| `([\w.]+)` (.*)$", section, re.M))
        for key in all_keys(SCHEMAS[section.split()[0]]):
            assert key in rows, key
        for key, row in rows.items():
            assert len(row.rsplit(" | ", 1)[1].strip(" |")) >= 8, key


def test_the_reference_has_defaults_and_ranges() -> None:
    from reference import configuration_page

    page = configuration_page()
    for row in (
        "| `epochs` | `10` | integer, 1 or more |",
        "| `optimizer.lr` | `1.0e-2` | number, above 0 |",
        "| `augment.noise` | `0` | number, 0 to 1 |",
        "| `data.train.targets` | `vessel: train_masks/{id}.*` |",
        "| `checkpoint` | required |",
        "| `data.fov_angle_deg` | `30` | `30` | `30` |",
        "| `vessels_fine` | what `vessels` sets, and `epochs=30`",
    ):
        assert row in page, row


def test_the_citation_file_is_valid() -> None:
    """The required fields of the Citation File Format 1.2.0, and the version of the package."""
    content = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert content["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(content)
    assert all("name" in a or {"family-names", "given-names"} & set(a) for a in content["authors"])
    known = {"abstract", "authors", "cff-version", "contact", "date-released", "doi", "keywords"}
    known |= {"license", "message", "references", "repository-code", "title", "type", "url"}
    assert set(content) <= {*known, "version", "identifiers", "preferred-citation"}
    assert content["type"] == "software" and content["license"] == "MIT"
    assert content["version"] == __version__


class Loads(HTMLParser):
    """Addresses that a browser loads without a click."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.found.append(values.get("href") or "")


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    done = subprocess.run(
        [*command, str(tmp_path / "site")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        parser = Loads()
        parser.feed(page.read_text())
        outside = [url for url in parser.found if re.match(r"(https?:)?//", url)]
        assert not outside, f"{page.name}: {outside}"
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\((['\"]?)(https?:)?//", style.read_text()), style.name
