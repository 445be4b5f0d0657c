"""List the dotted keys of a config, and suggest the nearest one for an unknown key."""

import difflib
import typing
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass

from fundus_cli.errors import ConfigError


def check_key(key: str, schema: type) -> None:
    """Raise ConfigError with the nearest existing key unless `key` exists in the schema."""
    if leads_somewhere(key.split("."), schema):
        return
    every_key = list(all_keys(schema))
    leaf = key.rpartition(".")[2]
    same_leaf = [known for known in every_key if known.rpartition(".")[2] == leaf]
    by_leaf = difflib.get_close_matches(leaf, [k.rpartition(".")[2] for k in every_key], n=1)
    near = difflib.get_close_matches(key, every_key, n=1, cutoff=0.6)
    guess = same_leaf[:1] or near
    guess = guess or [k for k in every_key if by_leaf and k.rpartition(".")[2] == by_leaf[0]][:1]
    hint = f"did you mean {guess[0]}?" if guess else "--help lists the keys"
    raise ConfigError(f"{key}: no such key; {hint}")


def _dataclass_in(annotation: object) -> type | None:
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and is_dataclass(part):
            return part
    return None


def _is_dict(annotation: object) -> bool:
    return any(typing.get_origin(p) is dict for p in (annotation, *typing.get_args(annotation)))


def leads_somewhere(parts: Sequence[str], schema: type) -> bool:
    """Whether a dotted key, split at the dots, names a field or an entry of a mapping field."""
    hints = typing.get_type_hints(schema)
    annotation = hints.get(parts[0])
    if annotation is None:
        return False
    if len(parts) == 1 or _is_dict(annotation):
        return True
    nested = _dataclass_in(annotation)
    return nested is not None and leads_somewhere(parts[1:], nested)


def list_keys(schema: type) -> Iterator[str]:
    """Every dotted key of a dataclass that takes a list."""
    for key in all_keys(schema):
        *above, last = key.split(".")
        owner: type | None = schema
        for name in above:
            owner = _dataclass_in(typing.get_type_hints(owner)[name])
        if typing.get_origin(typing.get_type_hints(owner)[last]) is list:
            yield key


def all_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a dataclass, in order."""
    hints = typing.get_type_hints(schema)
    for f in fields(schema):
        nested = _dataclass_in(hints[f.name])
        if nested is None:
            yield prefix + f.name
        else:
            yield from all_keys(nested, f"{prefix}{f.name}.")
