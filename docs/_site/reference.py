"""The configuration reference: every key with its type, default, choices and meaning.

Defaults and comments come from the YAML files in configs/, types and descriptions from the
dataclasses in fundus_cli.config, so the page cannot go stale.
"""

import ast
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from importlib import resources
from pathlib import Path

from fundus_cli.cli.programs import PROGRAMS
from fundus_cli.config import SCHEMAS
from fundus_cli.config.overrides import CONFIG_MODULE, GROUPS, choices

CONFIGS = Path(str(resources.files(CONFIG_MODULE)))
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w.]*):(?: (?P<value>.*))?$")


def yaml_keys(path: Path) -> dict[str, tuple[str, str]]:
    """{dotted key: (value as written, comment above it)} of one YAML file."""
    found: dict[str, tuple[str, str]] = {}
    comment: list[str] = []
    parents: list[tuple[int, str]] = []
    # The first line says what the file is about.
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        text = line.strip()
        if text.startswith("#"):
            comment.append(text[1:].strip())
            continue
        match = KEY.match(line)
        if match is None:
            comment = []
            continue
        indent = len(match["indent"])
        parents = [(depth, name) for depth, name in parents if depth < indent]
        key = ".".join([*(name for _, name in parents), match["key"]])
        parents.append((indent, match["key"]))
        found[key] = (match["value"] or "", " ".join(comment))
        comment = []
    return found


def attribute_docs(schema: type) -> dict[str, str]:
    """{field: the string below it} of a dataclass."""
    (tree,) = ast.parse(inspect.getsource(schema)).body
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for field, below in zip(tree.body, [*tree.body[1:], None], strict=True):
        is_doc = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_doc:
            docs[field.target.id] = " ".join(str(below.value.value).split())
    return docs


def allowed_values(schema: type) -> dict[str, str]:
    """{dotted key: allowed values} that the checks of a dataclass name."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(schema))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
            key, allowed = node.args[1], node.args[3]
            if isinstance(key, ast.Constant) and isinstance(allowed, ast.Constant):
                found[str(key.value)] = str(allowed.value)
    return found


def type_text(annotation: object) -> str:
    """A type as a reader of YAML knows it."""
    if annotation is typing.Any:
        return "text or list of texts"
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [type_text(part) for part in typing.get_args(annotation)]
        return " or ".join(dict.fromkeys(parts))
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return "mapping of names to texts"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))  # type: ignore[call-overload]


def rows(schema: type, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(dotted key, type, default in the dataclass, description) of every key of a schema."""
    hints, docs, allowed = (
        typing.get_type_hints(schema),
        attribute_docs(schema),
        allowed_values(schema),
    )
    for field in fields(schema):
        annotation = hints[field.name]
        nested = next(
            (
                part
                for part in (annotation, *typing.get_args(annotation))
                if isinstance(part, type) and is_dataclass(part)
            ),
            None,
        )
        if nested is not None:
            yield from rows(nested, f"{prefix}{field.name}.")
            continue
        default = "" if field.default is MISSING else json.dumps(field.default)
        key, kind = prefix + field.name, type_text(annotation)
        if key in allowed and re.match(r"[\d.-]|above|null or [\d.]|0", allowed[key]):
            kind += f"; {allowed[key]}"
        yield key, kind, default, docs.get(field.name, "")


def defaults(program: str) -> dict[str, tuple[str, str]]:
    """{key: (default, comment)} of a program, with the files of its default groups."""
    found = yaml_keys(CONFIGS / f"{program}.yaml")
    chosen = {"data": "_base", "model": "unet", "optimizer": "muon", "loss": "bce_dice"}
    chosen |= {"scheduler": "cosine", "augment": "standard"}
    for group in (*PROGRAMS[program].groups, *(("data",) if program == "eval" else ())):
        if group in chosen:
            of_group = yaml_keys(CONFIGS / group / f"{chosen[group]}.yaml")
            found |= {f"{group}.{key}": value for key, value in of_group.items()}
    folder = yaml_keys(CONFIGS / "data" / "folder.yaml")
    for key, (value, comment) in folder.items():
        found.setdefault(f"data.{key}", (value, comment))
    for key, (value, comment) in yaml_keys(CONFIGS / "data" / "demo.yaml").items():
        if key.startswith("demo."):
            found[f"data.{key}"] = (value, comment)
    return found


def chosen_by_default(program: str) -> dict[str, str]:
    """{group: choice} of the defaults list of a program's YAML file."""
    text = (CONFIGS / f"{program}.yaml").read_text(encoding="utf-8")
    return dict(re.findall(r"^  - (\w+): (\w+)$", text, re.M))


def configuration_page() -> str:
    """The page as Markdown."""
    lines = [
        "# Configuration reference",
        "",
        "Every key can be set on the command line as `key=value`. This page is generated from the "
        "YAML files and the dataclasses of the package. Keys of the group `data` show the defaults "
        "that all data sets share; a preset such as `data=hrf` sets its own.",
        "",
    ]
    for name, program in PROGRAMS.items():
        known = defaults(name)
        lines += [f"## fundus-{name}", ""]
        if program.groups:
            lines += ["| group | choices |", "|---|---|"]
            for group in GROUPS:
                if group in program.groups:
                    shown = ", ".join(f"`{choice}`" for choice in choices(group))
                    lines.append(f"| `{group}` | {shown} |")
            lines.append("")
        lines += ["| key | default | type | meaning |", "|---|---|---|---|"]
        for key, kind, default, description in rows(SCHEMAS[name]):
            value, comment = known.get(key, (default, ""))
            group = key.removesuffix(".name")
            if group in GROUPS:
                value = chosen_by_default(name).get(group, "")
                comment = f"Chosen as `{group}=...`."
            shown = f"`{value}`" if value and value != "???" else ("required" if value else "")
            lines.append(
                f"| `{key}` | {cell(shown)} | {cell(kind)} | {cell(comment or description)} |"
            )
        lines.append("")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text that fits into a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def published_page() -> str:
    """The figures that reports compare with, as Markdown."""
    text = (resources.files("fundus_cli.report") / "published.json").read_text(encoding="utf-8")
    content = json.loads(text)
    regions = {"fov": "field of view", "whole": "whole image", None: "not stated"}
    aggregations = {"pooled": "pixels pooled", "mean": "mean over images", None: "not stated"}
    lines = [
        "# Published figures",
        "",
        "Dice of vessels as others have published it. A report compares a run with these figures "
        "only where the data set and its split are the same, and then scores the run in the "
        "region and with the aggregation of each figure. The whole image instead of the field of "
        "view changes Dice by at most .0013, but AUC by +.002 to +.006; pooling pixels gives .003 "
        "to .005 more than the mean over images on HRF and STARE, and less than .001 more on "
        "CHASE_DB1.",
        "",
    ]
    for name, of_set in content["sets"].items():
        lines += [f"## {of_set['title']}", "", f"`data={name}`", ""]
        lines += [
            "| network | Dice | region | aggregation | threshold | source |",
            "|---|---|---|---|---|---|",
        ]
        for row in sorted(of_set["rows"], key=lambda row: -row["dice"]):
            lines.append(
                f"| {row['name']} | {row['dice']:.3f} | {regions[row['region']]} | "
                f"{aggregations[row['aggregation']]} | {row['threshold'] or 'not stated'} | "
                f"{row['source']} |"
            )
        lines.append("")
    return "\n".join(lines)
