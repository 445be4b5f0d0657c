"""A flipped bit anywhere in a checkpoint: the content that was saved is loaded, or nothing."""

import random
import struct
from pathlib import Path

import pytest
import torch
from checkpoints import random_checkpoint
from golden.reading import HERE

from fundus_cli.config import to_plain
from fundus_cli.errors import DataError
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint_file import SHA256, sha256_of

NUM_RANDOM_BITS = 200
RECORD = 46
"""Bytes of a record of the zip file's central directory before its names."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A checkpoint's bytes and the sha256 of its content."""
    path = tmp_path_factory.mktemp("good") / "best.pt"
    random_checkpoint(path, "model.depth=1")
    return path.read_bytes(), content_of(checkpoint.load(path))


def content_of(saved: checkpoint.Checkpoint) -> str:
    """The sha256 of all that was loaded."""
    plain = [to_plain(part) for part in (saved.config, saved.progress, saved.threshold)]
    return sha256_of([*plain, saved.model, saved.averaged, saved.optimizer, saved.manifest])


def records(content: bytes) -> list[int]:
    """Where the records of the central directory start."""
    end = content.rindex(b"PK\5\6")
    (number,) = struct.unpack_from("<H", content, end + 10)
    (start,) = struct.unpack_from("<I", content, end + 16)
    places = []
    for _ in range(number):
        places.append(start)
        start += RECORD + sum(struct.unpack_from("<HHH", content, start + 28))
    assert start <= end
    return places


def loads_the_same_or_refuses(content: bytes, expected: str, path: Path) -> bool:
    """Whether it was refused; fails where something else is loaded or another error raised."""
    path.write_bytes(content)
    try:
        saved = checkpoint.load(path)
    except DataError as error:
        assert len(str(error).splitlines()) == 1
        return True
    assert content_of(saved) == expected, "other content was loaded"
    return False


def flipped(content: bytes, byte: int, mask: int) -> bytes:
    changed = bytearray(content)
    changed[byte] ^= mask
    return bytes(changed)


def test_a_bit_of_every_record_of_the_directory(good: tuple[bytes, str], tmp_path: Path) -> None:
    """The bit that makes torch take a file of the archive for a folder, and read no bytes of it."""
    content, expected = good
    refused = [
        loads_the_same_or_refuses(flipped(content, place + 38, 0x10), expected, tmp_path / "a.pt")
        for place in records(content)
    ]
    assert len(refused) > 30 and sum(refused) > len(refused) // 2


def test_bits_anywhere(good: tuple[bytes, str], tmp_path: Path) -> None:
    content, expected = good
    dice = random.Random(0)
    refused = [
        loads_the_same_or_refuses(
            flipped(content, dice.randrange(len(content)), 1 << dice.randrange(8)),
            expected,
            tmp_path / "a.pt",
        )
        for _ in range(NUM_RANDOM_BITS)
    ]
    assert sum(refused) > NUM_RANDOM_BITS // 4


def test_the_checksum_covers_all_that_is_loaded(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "a.pt", "model.depth=1")
    whole = torch.load(tmp_path / "a.pt", weights_only=True)
    plain = {key: value for key, value in whole.items() if key != SHA256}
    assert set(plain) == {
        *("format", "version", "config", "model", "averaged"),
        *("optimizer", "progress", "threshold", "manifest"),
    }
    assert whole[SHA256] == sha256_of(plain)


def test_the_checksum_stays_what_it_is() -> None:
    """With another one, every checkpoint written before would be refused."""
    content = {
        "model": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(7)},
        "half": torch.ones(2, dtype=torch.bfloat16),
        "plain": [1, 0.1, True, None, "é", (2, {"deep": -0.0})],
    }
    assert sha256_of(content) == (
        "b1caec0ec1f4ded6771eae4387dd5bb5fa5e1a5cba88b84b4e469aa9971e7020"
    )
    strided = {**content, "half": torch.ones(4, dtype=torch.bfloat16)[::2]}
    assert sha256_of(strided) == sha256_of(content)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("1", 1),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([["a"], "b"], [["a", "b"]]),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(()), torch.zeros(1)),
        (torch.tensor(0.0), torch.tensor(-0.0)),
    ],
)
def test_what_differs_has_another_checksum(one: object, other: object) -> None:
    assert sha256_of(one) != sha256_of(other)


def test_older_checkpoints_have_no_checksum_and_are_read() -> None:
    path = HERE / "format_2_adamw" / "best.pt"
    assert SHA256 not in torch.load(path, weights_only=True)
    assert checkpoint.load(path).model
