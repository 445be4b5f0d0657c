"""Templates to pages: everything is escaped but the figures, which are drawn here."""

import math
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fundus_cli import __version__
from fundus_cli.report.run_files import plain
from fundus_cli.run.files import write_whole


def write_page(path: Path, template: str, content: dict[str, Any]) -> None:
    """Fill a template and write the page whole.

    Raises:
        MachineError: it cannot be written.
    """
    page = _environment().get_template(template).render(**content).encode()
    write_whole(path, lambda file: file.write(page))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fundus_cli.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = resources.files("fundus_cli.report") / "templates"
    environment.globals |= {
        "style": Markup((folder / "page.css").read_text(encoding="utf-8")),
        "script": Markup((folder / "page.js").read_text(encoding="utf-8")),
        "version": __version__,
    }
    environment.filters |= {"score": score, "drawn": Markup, "plain": plain}
    return environment


def score(value: object, digits: int = 4) -> str:
    """A number with its digits, a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"
