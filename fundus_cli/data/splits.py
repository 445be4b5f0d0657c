"""Split off validation images by a hash of the person, so that both eyes stay together."""

import hashlib
import math
import os
import re
from collections.abc import Sequence

from fundus_cli.errors import DataError, list_names


def person_of(identifier: str, pattern: str | None) -> str:
    """The person in an image's id: the group of the regular expression `data.person`.

    Returns:
        The id itself without a pattern, or where it does not match.
    """
    match = re.search(pattern, identifier) if pattern is not None else None
    # A group that takes no part in the match names nobody.
    return (match[1] or identifier) if match else identifier


def check_persons(ids: Sequence[str], pattern: str | None) -> list[str]:
    """Warnings about ids in which the expression `data.person` finds nobody.

    Raises:
        DataError: it finds nobody in any of them, so that it keeps no two images together.
    """
    strangers = [i for i in ids if pattern is not None and not re.search(pattern, i)]
    if strangers and len(strangers) == len(ids):
        raise DataError(
            f"data.person={pattern}: matches none of the ids ({list_names(strangers[:3])}, ...); "
            "correct it, or set data.person=null where no two images are of one person"
        )
    if strangers:
        return [
            f"warning: data.person={pattern} matches {len(ids) - len(strangers)} of {len(ids)} ids;"
            f" each of the others counts as a person of its own: {list_names(strangers)}"
        ]
    return []


def hash_share(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:6], "big") / 2**48


def hold_out(
    ids: Sequence[str], *, person: str | None, val_fraction: float, folds: int | None, fold: int
) -> set[str]:
    """The training ids that are held out for validation.

    With a share, the persons with the smallest hashes are held out: `val_fraction` of all persons,
    rounded, at least one, and at least one stays in train. When images are added, almost all
    persons stay where they are, because their order does not change. With folds, persons in the
    order of their hash are assigned to the folds in rotation, so that sizes differ by at most one
    person.

    Raises:
        DataError: there are fewer persons than folds, or only one person to split.
    """
    if folds is None and val_fraction == 0:
        return set()
    person_by_id = {identifier: person_of(identifier, person) for identifier in ids}
    persons = sorted(set(person_by_id.values()), key=lambda name: (hash_share(name), name))
    if folds is not None:
        if len(persons) < folds:
            raise DataError(f"data.folds={folds}: train has only {len(persons)} persons; lower it")
        held_out = set(persons[fold::folds])
    else:
        if len(persons) < 2:
            raise DataError(
                f"data.val_fraction={val_fraction}: train has {len(persons)} image(s) or "
                "persons, too few to hold one out; add images or set data.val_fraction=0"
            )
        share = math.floor(val_fraction * len(persons) + 0.5)
        held_out = set(persons[: min(max(share, 1), len(persons) - 1)])
    return {identifier for identifier, name in person_by_id.items() if name in held_out}
