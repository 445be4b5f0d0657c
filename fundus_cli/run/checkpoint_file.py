"""Tensors and plain values in a file: written with their sha256, verified when they are read."""

import hashlib
import io
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from fundus_cli.errors import ConfigError, DataError
from fundus_cli.run.files import write_whole

SHA256 = "sha256"
"""The entry with the sha256 of all others. Files of earlier versions have none."""

PLAIN = (str, int, float, complex, bool, bytes, type(None), torch.dtype, torch.device)
MAX_VALUES = 5_000_000
MAX_DEPTH = 50
"""Limits on what a file may hold; a list that contains itself has no end."""


def write_content(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({**content, SHA256: sha256_of(content)}, buffer)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def read_content(path: Path) -> Any:
    """Read and verify a file of `write_content`; nothing in it can run code or name code.

    The checksums of the zip file alone would not do: a flipped bit in its directory can make
    torch read other bytes than those whose checksum was compared.

    Raises:
        ConfigError: there is no such file.
        DataError: it is no regular file, unsafe, damaged, or holds something else than tensors and
            plain values.
    """
    if not path.exists():
        raise ConfigError(f"checkpoint={path}: no such file")
    if not path.is_file():
        raise DataError(f"{path}: is a folder, pipe or device, not a checkpoint file")
    try:
        with path.open("rb") as file:
            content = _loaded(file, path)
            _check_values(content, path.stat().st_size)
            expected = content.pop(SHA256, None) if isinstance(content, dict) else None
            if expected is not None and sha256_of(content) != expected:
                raise DataError(f"{path}: checksum of the content is wrong; the file is damaged")
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(
            f"{path}: cannot be read safely as a checkpoint ({type(error).__name__}); "
            "it may be truncated, damaged, or written by another program"
        ) from error
    return content


def _loaded(file: IO[bytes], path: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise DataError(f"{path}: is compressed, which checkpoints of fundus-train never are")
        damaged = archive.testzip()
    if damaged is not None:
        raise DataError(f"{path}: checksum of {damaged} is wrong; the file is damaged")
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_values(content: object, file_bytes: int) -> None:
    """Raise ValueError for anything but plain values and tensors whose numbers are in the file."""
    waiting, num_values = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        num_values += 1
        if depth > MAX_DEPTH or num_values > MAX_VALUES:
            raise ValueError("too many values")
        if isinstance(value, Tensor):
            _check_tensor(value, file_bytes)
        elif isinstance(value, dict):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in value]
        elif not isinstance(value, PLAIN):
            raise ValueError(f"a {type(value).__name__}")


def _check_tensor(tensor: Tensor, file_bytes: int) -> None:
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
        raise ValueError("a sparse, nested or quantised tensor")
    # Such as a tensor of the device meta, or a single number that stands for a million.
    size, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if tensor.device.type != "cpu" or not size <= stored <= file_bytes:
        raise ValueError("a tensor without its numbers")


def sha256_of(content: object) -> str:
    """The sha256 of mappings and lists of tensors and plain values.

    It covers names, types, shapes, the bytes of tensors, and the order of everything. It must not
    change: files that were written before could no longer be read.
    """
    digest = hashlib.sha256()

    def add(text: str) -> None:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(encoded)}:".encode() + encoded)

    def add_value(value: object) -> None:
        if isinstance(value, Tensor):
            add(f"tensor {value.dtype} {list(value.shape)}")
            digest.update(_bytes_of(value))
        elif isinstance(value, dict):
            add(f"mapping {len(value)}")
            for name, own in value.items():
                add_value(name)
                add_value(own)
        elif isinstance(value, list | tuple):
            add(f"list {len(value)}")
            for own in value:
                add_value(own)
        elif isinstance(value, set | frozenset):
            add(f"set {sorted(map(repr, value))}")
        else:
            add(f"{type(value).__name__} {value!r}")

    add_value(content)
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
