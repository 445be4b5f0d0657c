"""Bounds on templates and regular expressions, so that matching a file name is always quick.

Both are matched by backtracking, which cannot be interrupted: with enough wildcards, one name of
200 characters takes hours.
"""

import re

MAX_FREEDOM = 2
"""A name of n characters is matched in about n to the power of this + 1 steps."""

ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escaped character, or a class of characters as in [a-z]: one character each, in a name."""

QUICK_EXPRESSION = "a regular expression with one group, at most three of * + {, and none after )"


def is_quick_template(template: str) -> bool:
    """Whether a template leaves few ways to divide a name among its wildcards.

    One wildcard between two slashes is determined by the text around it; every further one can
    begin at any character.
    """
    wildcards = (part.count("*") + part.count("{id}") for part in template.split("/"))
    return sum(max(0, number - 1) for number in wildcards) <= MAX_FREEDOM


def is_quick_expression(pattern: str) -> bool:
    """Whether a regular expression is valid, with one group, and never backtracks for long.

    Repetitions of groups are refused, because they are nested; each of the others adds a factor of
    the name's length.
    """
    try:
        if re.compile(pattern).groups != 1:
            return False
    except (re.error, RecursionError, OverflowError):
        return False
    bare = ESCAPE_OR_CLASS.sub("_", pattern)
    return (
        re.search(r"\)[*+{]", bare) is None and len(re.findall(r"[*+{]", bare)) <= MAX_FREEDOM + 1
    )
