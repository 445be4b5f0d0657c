"""A full disk, little memory, nobody who reads, another machine."""

import contextlib
import json
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from reliability.forks import Forked
from reliability.kit import LONG, complaint, environment, result_of, run, train, tree
from reliability.mounts import small_drive


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    """The command that continues has two threads, which has to be reported."""
    plain = (*LONG, "scheduler=constant")
    assert Forked(tmp_path, *train(shared_tiny_set, "whole", *plain)).wait() == 0
    short = train(shared_tiny_set, "run", *plain[1:], "epochs=1")
    assert Forked(tmp_path, *short).wait() == 0
    folder = tmp_path / "run"
    before = {name: (folder / name).read_bytes() for name in ("last.pt", "best.pt", "log.csv")}
    again = train(shared_tiny_set, "run", *plain, "resume=auto")
    most = len(before["last.pt"]) - 1

    small_files_only = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    full = Forked(tmp_path, *again, prepare=small_files_only).result()
    complaint(full, 5, "last.pt: cannot be written (File too large)", "MB free", "resume=auto")
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert not list(folder.glob(".*.tmp"))
    assert json.loads((folder / "summary.json").read_text())["exit_code"] == 5

    finished = Forked(tmp_path, *again, prepare=partial(torch.set_num_threads, 2)).result()
    assert finished.returncode == 0, finished.stderr
    assert (
        "warning: threads was 1 and is 2; from here on the last bits may differ" in finished.stdout
    )
    own, other = result_of(folder), result_of(tmp_path / "whole")
    assert set(own) == set(other)


def test_a_file_system_that_is_full_keeps_the_last_checkpoint(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    """On a real full disk; once there is room again the run ends as if nothing had happened."""
    plain = (*LONG, "scheduler=constant")
    assert Forked(tmp_path, *train(shared_tiny_set, "whole", *plain)).wait() == 0
    drive = tmp_path / "drive"
    drive.mkdir()
    with small_drive(drive, megabytes=16):
        first = train(shared_tiny_set, "drive/run", *plain[1:], "epochs=1")
        assert Forked(tmp_path, *first).wait() == 0
        folder, filler = drive / "run", drive / "filler"
        before = {name: (folder / name).read_bytes() for name in ("last.pt", "best.pt", "log.csv")}
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        os.truncate(filler, filler.stat().st_size - len(before["last.pt"]) // 2)

        again = train(shared_tiny_set, "drive/run", *plain, "resume=auto")
        full = Forked(tmp_path, *again).result()
        told = complaint(full, 5, "last.pt: cannot be written (No space left on device)")
        assert "0.1 MB free; make room and run the same command with resume=auto" in told
        assert {name: (folder / name).read_bytes() for name in before} == before
        assert not list(folder.glob(".*.tmp"))

        filler.unlink()
        finished = Forked(tmp_path, *again).result()
        assert finished.returncode == 0, finished.stderr
        assert result_of(folder) == result_of(tmp_path / "whole")


def test_nobody_reads_and_the_log_cannot_be_written(tmp_path: Path, shared_tiny_set: Path) -> None:
    """A full standard output, and train.log on a full disk."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").symlink_to("/dev/full")

    def full_output() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    result = Forked(tmp_path, *train(shared_tiny_set, "run"), prepare=full_output).result()
    assert (result.returncode, result.stderr) == (0, "")
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 3


def test_a_pipe_that_is_closed_does_not_stop_training(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    """`fundus-train | head -1`."""
    words = " ".join(f"'{word}'" for word in train(shared_tiny_set, "run"))
    shell = f"{sys.executable} -m fundus_cli {words} | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", shell],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1
    log = (tmp_path / "run" / "train.log").read_text()
    assert "Epoch: 2/2" in log
    assert "run folder: run" in log
    assert "\r" not in log


def test_closed_streams_do_not_stop_training(tmp_path: Path, shared_tiny_set: Path) -> None:
    """`fundus-train >&- 2>&-`; no file of the run takes the place of a stream."""

    def close() -> None:
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.close(descriptor)
            setattr(sys, name, None)

    silent = Forked(tmp_path, *train(shared_tiny_set, "run", "epochs=1"), prepare=close)
    assert silent.wait() == 0
    assert "report: run/report.html" in (tmp_path / "run" / "train.log").read_text()


def test_too_little_memory_names_the_batch_and_what_to_lower(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    """Out of memory ends the command in one line with advice."""

    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    big = (
        "data.patch_px=512",
        "batch_size=64",
        "model.base_channels=64",
        "data.patches_per_image=32",
    )
    result = run(tmp_path, *train(shared_tiny_set, "run", *big), preexec_fn=little_memory)
    complaint(
        result, 5, "out of memory: batch_size=64, patches of 512 px", "lower", "model.base_channels"
    )


@pytest.mark.parametrize(
    "more",
    [
        ("model=unet", "loss=bce", "augment=standard"),
        ("model=wnet", "loss=bce_dice", "optimizer=muon", "tta=true"),
    ],
)
def test_every_operation_has_a_deterministic_form(
    tmp_path: Path, shared_tiny_set: Path, more: tuple[str, ...]
) -> None:
    """torch refuses nondeterministic operations, for training and for scoring."""
    strict = partial(torch.use_deterministic_algorithms, True)
    arguments = train(shared_tiny_set, "run", "epochs=1", "data.fov_diameter_px=48", *more)
    result = Forked(tmp_path, *arguments, prepare=strict).result()
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_other_threads_give_nearly_the_same(tmp_path: Path, shared_tiny_set: Path) -> None:
    """One and two threads end within 1e-3 of each other's loss."""
    losses = []
    for threads in ("1", "2"):
        env = environment(tmp_path, OMP_NUM_THREADS=threads)
        result = run(tmp_path, *train(shared_tiny_set, threads), env=env)
        assert result.returncode == 0, result.stderr
        lines = (tmp_path / threads / "log.csv").read_text().splitlines()
        losses.append(float(lines[-1].split(",")[1]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_the_data_set_is_only_read(tmp_path: Path, tiny_set: Path) -> None:
    """A data set that cannot be written trains, and stays as it was."""
    before = tree(tiny_set)
    for path in [*tiny_set.rglob("*"), tiny_set]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        result = Forked(tmp_path, *train(tiny_set, "run", "epochs=1")).result()
        assert result.returncode == 0, result.stderr
        assert tree(tiny_set) == before
    finally:
        for path in [tiny_set, *tiny_set.rglob("*")]:
            path.chmod(0o755)
