"""Values that people type, and the one line that they get where a value cannot be taken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunCommand, small, write_tiny_set

from fundus_cli.config.compose import compose_config
from fundus_cli.config.overrides import parse_overrides
from fundus_cli.data.dataset import load_dataset, resolve_root
from fundus_cli.errors import ConfigError, DataError


def test_a_single_value_is_taken_for_a_list() -> None:
    data = compose_config("train", ["data.root=d", "data.mask_foreground=255"]).data
    assert data.mask_foreground == ["255"]


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("data.mask_foreground=[#ffffff]", 'data.mask_foreground=["#ffffff"]'),
        ("checkpoint=[a;b,c]", 'checkpoint=["a;b","c"]'),
        ("output=~/run", 'output="~/run"'),
    ],
)
def test_the_advice_for_quotes_can_be_typed(word: str, advice: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_overrides([word])
    assert str(error.value).endswith(f"write '{advice}'")
    (parsed,) = parse_overrides([advice])
    assert str(parsed.value()).strip("[]'").replace("', '", ",") == word.partition("=")[2].strip(
        "[]"
    )


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compose_config("train", ['output="~/run"']).output == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("program", "words", "line"),
    [
        ("predict", ["checkpoint=c", "input=[a,b]"], "input: must be one value, not a list"),
        ("train", ["data.root="], "data.root=: must be a folder (data.root=. is the working"),
        ("train", ["data.root=d", "data.fold=1"], "data.fold=1: must be 0 without data.folds; add"),
        (
            "train",
            ["data.root=d", "data.fold=5", "data.folds=5"],
            "must be 0 to 4 with data.folds=5",
        ),
    ],
)
def test_one_line_says_what_is_allowed(program: str, words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose_config(program, words)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_root_that_is_not_there_says_where_it_was_looked_for() -> None:
    with pytest.raises(DataError, match=f"does not exist .looked for it in {Path.cwd()}"):
        resolve_root(compose_config("train", ["data.root=nowhere"]).data)


def test_an_expression_that_finds_nobody_is_refused(tiny_set: Path) -> None:
    words = [f"data.root={tiny_set}", *small()]
    with pytest.raises(DataError, match=r"\(z\): matches none of the ids \(p0, p1, p2"):
        load_dataset(compose_config("train", [*words, "data.person='(z)'"]).data)
    config = compose_config("train", [*words, "data.person='p([0-5])'"]).data
    (line,) = load_dataset(config).warnings
    assert line.endswith(
        "matches 6 of 8 ids; each of the others counts as a person of its own: p6, p7"
    )


def test_a_folder_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/d_\xff"
    write_tiny_set(tmp_path / "d", train=2, test=1)
    os.rename(tmp_path / "d", odd)  # noqa: PTH104
    for word in (b'data.root="' + odd + b'"', b'output="' + odd + b'_run"'):
        result = subprocess.run(
            [sys.executable, "-m", "fundus_cli", "train", word],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert result.returncode == 2, result.stderr
        assert b"has bytes that are not UTF-8" in result.stderr
        assert b"d_\\xff" in result.stderr


def test_an_environment_variable_is_one_line(command: RunCommand) -> None:
    result = command("train", "data.root=${oc.env:HOME}")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "resolvers that read the environment are disabled" in result.stderr
