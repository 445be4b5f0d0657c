"""Images on a drive that no longer answers end every program in a line."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkpoints import random_checkpoint
from reliability.forks import Forked
from reliability.kit import complaint, run, train
from reliability.mounts import hung_drive

LIMIT_S = 1.0


def arguments_of(program: str, data: Path) -> list[str]:
    """A call of a program that is given the data set `data`."""
    own = {
        "train": [*train(data, "out"), f"data.timeout_s={LIMIT_S}"],
        "eval": ["eval", "checkpoint=net.pt", f"data.root={data}", f"data.timeout_s={LIMIT_S}"],
        "check": ["check", f"data.root={data}", f"data.timeout_s={LIMIT_S}"],
        "predict": [
            *("predict", "checkpoint=net.pt"),
            *(f"input={data}/train_images", f"timeout_s={LIMIT_S}"),
        ],
    }
    return own[program] if program == "train" else [*own[program], "output=out"]


@pytest.mark.parametrize(
    ("program", "place"),
    [
        # The whole data set hangs when it is looked for, a folder in it when it is listed.
        ("train", "."),
        ("train", "train_masks"),
        ("eval", "test_images"),
        ("check", "."),
        ("predict", "train_images"),
    ],
)
def test_a_drive_that_does_not_answer_ends_the_program_in_a_line(
    tmp_path: Path, tiny_set: Path, program: str, place: str
) -> None:
    random_checkpoint(tmp_path / "net.pt")
    with hung_drive(tiny_set / place):
        started = time.monotonic()
        result = Forked(tmp_path, *arguments_of(program, tiny_set)).result(seconds=30)
        took_s = time.monotonic() - started
    words = "finding the images" if program == "predict" else "data.root="
    key = "timeout_s" if program == "predict" else "data.timeout_s"
    complaint(result, 5, words, f"more than 1 s; does the drive still respond? {key} waits longer")
    assert LIMIT_S <= took_s < LIMIT_S + 10
    assert not list(tmp_path.glob("out/*.*"))


def test_the_command_itself_leaves_threads_that_hang_behind(tmp_path: Path, tiny_set: Path) -> None:
    """In a process of its own, whose end Python's own exit hooks have a say in."""
    with hung_drive(tiny_set / "train_masks"):
        result = run(tmp_path, *arguments_of("check", tiny_set), timeout=60)
    complaint(result, 5, "listing its files has taken more than 1 s")


BACK_TO_LIFE = """
import sys, threading, torch
from fundus_cli.cli import main as cli
from fundus_cli.cli import command_line as command
from fundus_cli.runtime.timeouts import TimeoutPool, Timeout
from fundus_cli.errors import MachineError

def work():
    while True:
        begun.set()
        [torch.ones(8) for _ in range(1000)]

def run(name, arguments, stop):
    with TimeoutPool(1, Timeout(limit_s=60)) as pool:
        pool.give(work)
        begun.wait()
    print("not yet written", end="")
    raise MachineError("the drive is gone")

begun = threading.Event()
command.run = run
sys.exit(cli.main("predict"))
"""


def test_a_thread_that_comes_back_while_the_program_ends_costs_no_exit_code(
    tmp_path: Path,
) -> None:
    """Torch aborts a process whose interpreter ends while another thread makes tensors."""
    result = subprocess.run(
        [sys.executable, "-c", BACK_TO_LIFE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 5, result.stderr
    assert result.stderr == "fundus-predict: the drive is gone\n"
    assert result.stdout == "not yet written"


def test_a_image_that_goes_away_during_the_run_costs_only_its_picture(
    tmp_path: Path, tiny_set: Path
) -> None:
    """Images are in memory while training; pages draw on the files at the end."""
    images = tiny_set / "test_images"

    def gone_after_reading() -> None:
        from fundus_cli.training.loop import Trainer

        plain = Trainer.fit

        def fit(*arguments: object, **named: object) -> object:
            for path in images.glob("*.png"):
                path.unlink()
            return plain(*arguments, **named)  # type: ignore[arg-type]

        Trainer.fit = fit  # type: ignore[method-assign, assignment]

    others = {path: path.read_bytes() for path in images.glob("*.png")}
    arguments = train(tiny_set, "run", "epochs=1")
    result = Forked(tmp_path, *arguments, prepare=gone_after_reading).result()
    complaint(result, 3, "now it cannot be opened", "restore the file")
    assert (tmp_path / "run" / "metrics.json").exists()
    for path, content in others.items():
        path.write_bytes(content)
    again = Forked(tmp_path, *arguments, "resume=auto")
    assert again.wait() == 0, again.said("stderr")
    assert list((tmp_path / "run" / "overlays").iterdir())
