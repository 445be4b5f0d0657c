"""The configuration reference: every key with its type, default, choices and meaning.

Defaults and comments come from the YAML files in configs/, types, ranges and missing comments from
the dataclasses in fundus_cli.config, so the page cannot go stale.
"""

import ast
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from importlib import resources
from itertools import groupby
from pathlib import Path

from fundus_cli.cli.programs import PROGRAMS
from fundus_cli.config import SCHEMAS
from fundus_cli.config.overrides import CONFIG_MODULE, GROUPS, choices

CONFIGS = Path(str(resources.files(CONFIG_MODULE)))
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w.]*):(?: (?P<value>.*))?$")
RANGE = re.compile(r"(null or )?(-?[\d.]+ |above |at least |a number above |between |null or auto)")
"""Allowed values that a reader understands without the other keys."""
NAMES = {str: "text", int: "integer", float: "number", bool: "true or false"}
INTRODUCTION = """# Configuration reference

Every key can be set on the command line as `key=value`; `fundus-train --help` and the other
programs print the same keys. This page is generated from the YAML files and the dataclasses of the
package.

- Defaults of `data` are those of `data=folder`, your own images. [Data sets](#group-data) has the
  values that the presets set.
  `fundus-eval` without `data=` takes all of them from the checkpoint.
- Defaults of the other groups are those of the choice that the program makes by default;
  [Groups](#groups) has the values of each choice.
- A number in a range includes its ends unless it says above, below or between.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A key of a program."""

    key: str
    kind: str
    default: str
    meaning: str


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
    tree = ast.parse(inspect.getsource(schema))
    # A check inside `for key in (...)` holds for each of the names.
    loops = [
        (node, [str(item.value) for item in node.iter.elts if isinstance(item, ast.Constant)])
        for node in ast.walk(tree)
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple)
    ]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", "")
        if name == "require_threshold" and isinstance(node.args[1], ast.Tuple):
            words = [f"`{item.value}`" for item in node.args[1].elts]  # type: ignore[attr-defined]
            found["threshold"] = ", or ".join(["number between 0 and 1", *words])
        if name != "require" or not isinstance(node.args[3], ast.Constant):
            continue
        key, allowed = node.args[1], str(node.args[3].value)
        if not RANGE.match(allowed):
            continue
        if isinstance(key, ast.Constant):
            found[str(key.value)] = allowed
        elif isinstance(key, ast.JoinedStr) and isinstance(key.values[0], ast.Constant):
            for loop, names in loops:
                if node in ast.walk(loop):
                    found |= {f"{key.values[0].value}{each}": allowed for each in names}
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
        return f"list of {type_text(arguments[0])}s"
    if origin is dict:
        return "mapping of structures to templates"
    return NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))  # type: ignore[call-overload]


def with_range(kind: str, allowed: str | None) -> str:
    """A type with its range; words replace the type where they say all."""
    if allowed is None:
        return kind
    if allowed == "null or auto":
        return "null or `auto`"
    if allowed.startswith("number between"):
        return allowed
    return f"{kind}, {allowed.removeprefix('null or ').removeprefix('a number ')}"


def schema_rows(schema: type, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(dotted key, type, default in the dataclass, description) of every key of a schema."""
    hints, docs = typing.get_type_hints(schema), attribute_docs(schema)
    allowed = allowed_values(schema)
    for field in fields(schema):
        annotation = hints[field.name]
        parts = (annotation, *typing.get_args(annotation))
        nested = [part for part in parts if isinstance(part, type) and is_dataclass(part)]
        key = prefix + field.name
        if nested:
            yield from schema_rows(nested[0], f"{key}.")
            continue
        default = "" if field.default is MISSING else json.dumps(field.default)
        kind = with_range(type_text(annotation), allowed.get(key))
        yield key, kind, default, docs.get(field.name, "")


def defaults_list(path: Path) -> dict[str, str]:
    """{group: choice} of the defaults list of a YAML file."""
    text = path.read_text(encoding="utf-8")
    return dict(re.findall(r"^  - (?:override /)?(\w+): (\w+)$", text, re.M))


def known_keys(program: str) -> dict[str, tuple[str, str]]:
    """{key: (default, comment)} of a program, with the files of its default groups."""
    path = CONFIGS / f"{program}.yaml"
    found = yaml_keys(path)
    for group, choice in defaults_list(path).items():
        if group != "data" and choice != "null":
            of_group = yaml_keys(CONFIGS / group / f"{choice}.yaml")
            found |= {f"{group}.{key}": value for key, value in of_group.items()}
    if "data" in {field.name for field in fields(SCHEMAS[program])}:
        for name, only in (("demo", "demo."), ("_base", ""), ("folder", "")):
            for key, (value, comment) in yaml_keys(CONFIGS / "data" / f"{name}.yaml").items():
                if key.startswith(only) and key != "demo":
                    earlier = found.get(f"data.{key}", ("", ""))[1]
                    found[f"data.{key}"] = (value, comment or earlier)
    return found


def rows(program: str) -> Iterator[Row]:
    """Every key of a program."""
    known, chosen = known_keys(program), defaults_list(CONFIGS / f"{program}.yaml")
    for key, kind, default, description in schema_rows(SCHEMAS[program]):
        value, comment = known.get(key, (default, ""))
        children = {k: v for k, (v, _) in known.items() if k.startswith(f"{key}.")}
        if children:
            value = ", ".join(f"{k.removeprefix(f'{key}.')}: {v}" for k, v in children.items())
        group = key.removesuffix(".name")
        if group in GROUPS:
            value = {"_as_trained": "as trained"}.get(chosen.get(group, ""), chosen.get(group, ""))
            comment = f"The choice of the group: `{group}=...`."
        value = re.sub(r"\$\{now:[^}]*\}", "<time>", value)
        shown = "required" if value == "???" else f"`{value}`" if value else ""
        yield Row(key=key, kind=kind, default=shown, meaning=comment or description)


def group_of(key: str) -> str:
    """The group of a key; keys of the run itself have none."""
    return key.partition(".")[0] if "." in key else ""


def program_section(program: str) -> Iterator[str]:
    """The section about one program: a table of keys per group."""
    yield from (f"## fundus-{program}", "")
    every = sorted(rows(program), key=lambda row: ["", *GROUPS].index(group_of(row.key)))
    for group, keys in groupby(every, key=lambda row: group_of(row.key)):
        if group:
            yield from (f"### fundus-{program}: {group}", "")
        yield from ("| key | default | values | meaning |", "|---|---|---|---|")
        for row in keys:
            cells = (f"`{row.key}`", row.default, row.kind, row.meaning)
            yield f"| {' | '.join(cell(text) for text in cells)} |"
        yield ""


def parent_of(path: Path) -> str:
    """The preset that a preset starts from, or an empty text."""
    found = re.findall(r"^  - (?!_)(\w+)$", path.read_text(encoding="utf-8"), re.M)
    return found[0] if found else ""


def group_values(group: str, name: str) -> dict[str, str]:
    """{key: value} of a choice, with those of the preset that it starts from."""
    path = CONFIGS / group / f"{name}.yaml"
    parent = parent_of(path)
    inherited = group_values(group, parent) if parent else {}
    return inherited | {key: value for key, (value, _) in yaml_keys(path).items()}


def group_section(group: str) -> Iterator[str]:
    """The values that each choice of a group sets."""
    title = "Data sets" if group == "data" else group
    yield from (f"### {title} {{ #group-{group} }}", "")
    names = choices(group)
    values = {name: group_values(group, name) for name in names}
    keys = list(dict.fromkeys(key for of_name in values.values() for key in of_name))
    if group == "data":
        keys = [k for k in keys if "." not in k and k not in ("root", "train", "test", "demo")]
    keys = [key for key in keys if key not in ("name", "defaults")]
    yield f"| `{group}=` | " + " | ".join(f"`{name}`" for name in names) + " |"
    yield "|---|" + "---|" * len(names)
    for key in keys:
        cells = [cell(f"`{value}`" if (value := values[name].get(key)) else "") for name in names]
        yield f"| `{group}.{key}` | {' | '.join(cells)} |"
    yield ""


def experiment_section() -> Iterator[str]:
    """The keys that each experiment sets."""
    yield from ("### Experiments { #group-experiment }", "")
    yield from ("| `experiment=` | sets |", "|---|---|")
    for name in choices("experiment"):
        path = CONFIGS / "experiment" / f"{name}.yaml"
        chosen = {k: v for k, v in defaults_list(path).items() if k in GROUPS}
        parents = {key.rpartition(".")[0] for key in yaml_keys(path)} | {"defaults"}
        keys = {k: v for k, (v, _) in yaml_keys(path).items() if k not in parents}
        start = f"what `{parent}` sets, and " if (parent := parent_of(path)) else ""
        yield f"| `{name}` | {start}{' '.join(f'`{k}={v}`' for k, v in (chosen | keys).items())} |"
    yield ""


def configuration_page() -> str:
    """The page as Markdown."""
    lines = [INTRODUCTION]
    for program in PROGRAMS:
        lines += program_section(program)
    lines += ["## Groups", ""]
    for group in GROUPS:
        lines += experiment_section() if group == "experiment" else group_section(group)
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text that fits into a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
