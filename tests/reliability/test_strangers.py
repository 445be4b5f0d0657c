"""What comes from elsewhere runs nothing, reads nothing."""

import io
import os
import resource
import struct
import subprocess
import sys
import zipfile
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ONE_THREAD
from PIL import Image
from reliability.forks import Forked
from reliability.kit import complaint, train

from fundus_cli.config import SCHEMAS


class Touch:
    """A pickle that makes a folder where it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("MARK",)


TAKES_CHECKPOINT = [
    name
    for name, schema in SCHEMAS.items()
    if any(field.name == "checkpoint" for field in fields(schema))
]


def flip_a_bit(source: Path, copy: Path) -> None:
    """Copy a checkpoint with one bit of one weight changed."""
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        entry = next(e for e in archive.infolist() if "/data/" in e.filename and e.file_size > 200)
    content[entry.header_offset + 250] ^= 1
    copy.write_bytes(content)


@pytest.mark.parametrize("program", TAKES_CHECKPOINT)
def test_a_hostile_checkpoint_is_refused_at_every_door(
    tmp_path: Path, shared_tiny_set: Path, program: str
) -> None:
    """Every program that is given a checkpoint."""
    torch.save({"format": 2, "model": Touch()}, tmp_path / "bad.pt")
    more = [f"input={shared_tiny_set}/test_images"] if program == "predict" else []
    result = Forked(tmp_path, program, "checkpoint=bad.pt", *more).result()
    complaint(result, 3, "bad.pt: cannot be read safely as a checkpoint")
    assert not (tmp_path / "MARK").exists()
    assert result.stdout == ""


def test_resume_refuses_hostile_and_damaged_checkpoints_and_starts_nothing(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]]
) -> None:
    """`last.pt` would run code, a bit of previous.pt is flipped."""
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save({"format": 2, "model": Touch()}, folder / "last.pt")
    flip_a_bit(whole[0] / "last.pt", folder / "previous.pt")
    result = Forked(tmp_path, *train(shared_tiny_set, "run"), "resume=auto").result()
    complaint(result, 5, "last.pt", "previous.pt", "checksum", "nothing to resume from")
    assert not (tmp_path / "MARK").exists()
    assert not (folder / "log.csv").exists()


@pytest.mark.parametrize("program", TAKES_CHECKPOINT)
def test_a_flipped_bit_is_found_at_every_door(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]], program: str
) -> None:
    """No number is printed and no file is made from it."""
    flip_a_bit(whole[0] / "best.pt", tmp_path / "flipped.pt")
    more = [f"input={shared_tiny_set}/test_images"] if program == "predict" else []
    result = Forked(tmp_path, program, "checkpoint=flipped.pt", *more).result()
    complaint(result, 3, "flipped.pt: checksum")
    assert result.stdout == ""
    left = {path.name for path in tmp_path.iterdir()} - {"stdout", "stderr", "sitecustomize.py"}
    assert left == {"flipped.pt"}


EVIL = {
    "callback": "hydra: {callbacks: {x: {_target_: builtins.open, file: MARK, mode: w}}}",
    "logging": "hydra: {job_logging: {handlers: {x: {(): builtins.open, file: MARK, mode: w}}}}",
    "environment": "hydra: {job: {env_set: {PYTHONPATH: elsewhere}}}",
    "launcher": "hydra: {launcher: {_target_: builtins.open}}",
    "secret": 'output: "x${ oc.env:FUNDUS_TOKEN }"',
    "nested": 'output: "x${${data.name}:FUNDUS_TOKEN}"\ndata: {name: oc.env}',
    "object": 'output: !!python/object/apply:os.mkdir ["MARK"]',
    "target": "model: {_target_: builtins.open}",
}


@pytest.mark.parametrize("name", EVIL)
def test_a_config_folder_chooses_values_only(tmp_path: Path, name: str) -> None:
    """Configs that would run code or read secrets are refused."""
    (tmp_path / "evil" / "experiment").mkdir(parents=True)
    (tmp_path / "evil" / "experiment" / f"{name}.yaml").write_text(
        f"# @package _global_\n{EVIL[name]}\n"
    )
    arguments = ("train", "--config-dir", "evil", f"experiment={name}", "-m", "seed=1,2")
    secret = partial(os.environ.update, {"FUNDUS_TOKEN": "s3cret"})
    result = Forked(tmp_path, *arguments, prepare=secret).result()
    complaint(result, 2)
    assert "s3cret" not in result.stderr + result.stdout
    assert not (tmp_path / "MARK").exists()
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--experimental-rerun", "x.pickle"),
        ("hydra/job_logging=evil",),
        ("+hydra.callbacks.x._target_=builtins.open", "+hydra.callbacks.x.file=MARK"),
        ("hydra.launcher._target_=builtins.open",),
        ("hydra.job.env_set.PYTHONPATH=x",),
        ("+model._target_=builtins.open",),
    ],
)
def test_hydras_own_doors_are_closed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Keys of Hydra that could run code are refused."""
    complaint(Forked(tmp_path, "train", *arguments).result(), 2)
    assert {path.name for path in tmp_path.iterdir()} == {"stdout", "stderr", "sitecustomize.py"}


def test_python_files_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    """Neither by a sweep nor by its jobs; -P stands for the console script's own path."""
    (tmp_path / "hydra_plugins").mkdir()
    for name in ("hydra_plugins/evil.py", "torch.py", "numpy.py", "yaml.py"):
        (tmp_path / name).write_text("import os\nos.mkdir('MARK')\n")
    result = subprocess.run(
        [sys.executable, "-P", "-m", "fundus_cli", "train", "-m", "data.root=nowhere", "seed=1"],
        cwd=tmp_path,
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 7, result.stderr
    assert "does not exist" in result.stdout + result.stderr
    assert not (tmp_path / "MARK").exists()


def test_a_run_keeps_no_secret_and_no_home(tmp_path: Path, shared_tiny_set: Path) -> None:
    """Offline, nothing of the environment is written down."""
    home = tmp_path / "somebody-9c1f"
    home.mkdir()
    data = os.path.relpath(shared_tiny_set, tmp_path)
    surroundings = {
        "FUNDUS_TOKEN": "s3cret-token",
        "HOME": str(home),
        "USER": home.name,
        "LOGNAME": home.name,
        "FUNDUS_TEST_NO_NETWORK": "1",
    }
    offline = partial(os.environ.update, surroundings)
    result = Forked(tmp_path, *train(data, "run", "epochs=1"), prepare=offline).result()
    assert result.returncode == 0, result.stderr
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"s3cret-token" not in content, path
            assert home.name.encode() not in content, path
    described = (tmp_path / "run" / "environment.json").read_text()
    for word in ('"torch"', '"threads": 1', '"arguments"', '"processor"', '"precision"'):
        assert word in described


def test_odd_files_are_all_named_before_training(tmp_path: Path, tiny_set: Path) -> None:
    """A pipe, a folder, links that lead nowhere, a NaN pixel, a loop."""
    images = tiny_set / "train_images"
    for number in range(4):
        (images / f"p{number}.png").unlink()
    os.mkfifo(images / "p0.png")
    (images / "p1.png").mkdir()
    (images / "p2.png").symlink_to("p2.png")
    (images / "p3.png").symlink_to("nowhere.png")
    (images / "p4.png").unlink()
    values = np.full((64, 64), 0.5, np.float32)
    values[5, 5] = np.nan
    Image.fromarray(values).save(images / "p4.tif")
    (tiny_set / "loop").symlink_to(tiny_set)
    result = Forked(tmp_path, *train(tiny_set, "run")).result(seconds=20)
    complaint(result, 3, *(f"p{number}." for number in range(5)), "not finite", "pipe")
    assert not (tmp_path / "run").exists()


def test_bombs_are_refused_in_little_memory(tmp_path: Path, tiny_set: Path) -> None:
    """182 megapixels in a few kilobytes, and 100,000 pages in a TIFF file."""
    images = tiny_set / "train_images"
    Image.new("1", (13_500, 13_500)).save(images / "p0.png")
    (images / "p1.png").unlink()
    (images / "p1.tif").write_bytes(many_pages(images / "p2.png", 100_000))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    most = used + 400_000_000
    little = partial(resource.setrlimit, resource.RLIMIT_AS, (most, most))
    result = Forked(tmp_path, *train(tiny_set, "run"), prepare=little).result(seconds=20)
    complaint(result, 3, "p0.png [more than 179 megapixels]", "p1.tif", "more than one frame")
    assert not (tmp_path / "run").exists()


def many_pages(fundus_image: Path, pages: int) -> bytes:
    """A TIFF file whose pages after the first are the first again."""
    buffer = io.BytesIO()
    Image.open(fundus_image).save(buffer, "TIFF")
    content = bytearray(buffer.getvalue())
    (offset,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, offset)
    end = offset + 2 + 12 * entries
    directory = bytes(content[offset:end])
    struct.pack_into("<I", content, end, len(content))
    for page in range(pages):
        following = 0 if page == pages - 1 else len(content) + len(directory) + 4
        content += directory + struct.pack("<I", following)
    return bytes(content)
