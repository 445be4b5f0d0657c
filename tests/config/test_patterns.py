"""Templates and expressions that would match for hours are refused before anything is matched."""

import re
import time

import pytest
from conftest import RunCommand

from fundus_cli.config.compose import compose_config
from fundus_cli.config.patterns import is_quick_expression, is_quick_template
from fundus_cli.data.templates import template_pattern
from fundus_cli.errors import ConfigError


@pytest.mark.parametrize(
    "template", ["{id}.*", "a/*/{id}_*.png", "*_{id}_*.tif", "{id}/GT/{id}_*.png"]
)
def test_quick_templates_match_in_milliseconds(template: str) -> None:
    assert is_quick_template(template)
    pattern = re.compile(template_pattern(template))
    started = time.perf_counter()
    assert pattern.fullmatch("a" * 255) is None
    assert pattern.fullmatch("a/" + "_" * 250) is None
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("template", ["*a*a*a*a{id}*b.*", "x/*a*a*/*a*{id}*.png"])
def test_templates_with_many_stars_are_refused(command: RunCommand, template: str) -> None:
    assert not is_quick_template(template)
    started = time.monotonic()
    result = command("check", "data.root=.", f'data.train.image="{template}"')
    assert result.returncode == 2, result.stderr
    assert "data.<split>.image" in result.stderr
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "pattern",
    [r"(\d+)[LR]", r"(\d+)_(?:left|right)", r"^([a-z]+)-[+*]+_\(x\)", r"(.*?)_.*", r"\w+-(\d{3})"],
)
def test_expressions_that_people_use_are_taken(pattern: str) -> None:
    assert is_quick_expression(pattern)
    started = time.perf_counter()
    re.search(pattern, "a" * 255)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"((?:a|aa)*)b", r"(.*.*.*.*)x", "(", r"\d+", r"(a)(b)", r"(?:a{1,9}){1,9}(b)"],
)
def test_other_expressions_are_refused(pattern: str) -> None:
    assert not is_quick_expression(pattern)
    with pytest.raises(ConfigError, match=r"data\.person=.*one group"):
        compose_config("train", [f"data.person='{pattern}'"])
