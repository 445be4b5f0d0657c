"""Damage and malice for files: flipped and missing bytes, odd values and tensors at odd places."""

import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import torch

DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]

LOOP: list[Any] = []
LOOP.append(LOOP)

ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 2**40, 2**63, 10**400, 0.5, 1e308, math.nan, math.inf),
    *("", "x", "../../x", "/abs/x", "${oc.env:HOME}", "a\nb", "\x00", "é" * 300, "1e999", "null"),
    *([], {}, [1], [None], {"a": {}}, {"a": 1}, [[1, 2], "b"], {1: 2}),
]
"""What JSON, YAML and checkpoints can all hold (JSON writes the keys as text)."""


def made(make: Callable[[], Any]) -> Any:
    """A tensor whose kind PyTorch warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


ODD_TENSORS: dict[str, Callable[[], Any]] = {
    "scalar": lambda: torch.zeros(()),
    "empty": lambda: torch.zeros(0),
    "bool": lambda: torch.zeros(2, dtype=torch.bool),
    "int": lambda: torch.zeros(3, dtype=torch.int64),
    "complex": lambda: torch.zeros(2, 2, dtype=torch.complex64),
    "float8": lambda: torch.zeros(4).to(torch.float8_e4m3fn),
    "bfloat16": lambda: torch.zeros(4, dtype=torch.bfloat16),
    "nan": lambda: torch.full((4,), math.nan),
    "negative": lambda: torch.full((), -1.0),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8),
    "meta": lambda: torch.zeros(4, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "huge": lambda: torch.zeros(1).expand(10**12),
    "parameter": lambda: torch.nn.Parameter(torch.zeros(4)),
    "strided": lambda: torch.zeros(16)[::4],
}
"""What only checkpoints can hold; a name for each, so that a test can say which."""

ONLY_IN_CHECKPOINTS: list[Any] = [1j, b"x", (1, 2), {3}, torch.float32, DEEP, LOOP]


def mutate_structure(content: Any, dice: random.Random, odd: list[Any]) -> str:
    """Change one value of nested mappings and lists in place; says what was done.

    The places are drawn level by level, so that the many weights do not take all the turns.
    """
    level: Any = content
    key: Any = None
    path = []
    while isinstance(level, dict | list) and level:
        key = dice.choice(list(level)) if isinstance(level, dict) else dice.randrange(len(level))
        path.append(str(key))
        parent, level = level, level[key]
        if dice.random() < 0.25:
            break
    where = ".".join(path)
    what = dice.randrange(8)
    if what == 0:
        del parent[key]
        return f"{where} is gone"
    if what == 1 and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
        return f"{where} is renamed"
    if what == 2 and isinstance(level, int | float) and not isinstance(level, bool):
        parent[key] = dice.choice((-level, level + 1, level * 1000, float(level), str(level)))
        return f"{where} = {parent[key]!r}"
    value = dice.choice(odd)
    parent[key] = value
    return f"{where} = {_shown(value)}"


def _shown(value: Any) -> str:
    if value is DEEP or value is LOOP:
        return "a list without end"
    if isinstance(value, torch.Tensor):
        return f"tensor {value.dtype} {value.layout} {value.device}"
    return repr(value)[:60]


def mutate_bytes(content: bytes, dice: random.Random) -> tuple[bytes, str]:
    """Flip a bit, cut, double or overwrite a stretch; says what was done."""
    changed = bytearray(content)
    at, length = dice.randrange(len(changed)), dice.randrange(1, 40)
    match dice.randrange(6):
        case 0 | 1:
            changed[at] ^= 1 << dice.randrange(8)
        case 2:
            del changed[at:]
        case 3:
            del changed[at : at + length]
        case 4:
            changed[at:at] = changed[at : at + length]
        case 5:
            changed[at : at + length] = dice.randbytes(length)
    return bytes(changed), f"bytes at {at} of {len(content)}"
