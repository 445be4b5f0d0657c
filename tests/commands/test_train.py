"""Whole runs: the files they leave, equal numbers from fundus-eval, resuming to the bit."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ONE_THREAD, RunCommand, small
from PIL import Image


def fingerprint(path: Path) -> str:
    """sha256 over every tensor of model and optimizer, batch-norm counters included."""
    content = torch.load(path, weights_only=True)
    digest = hashlib.sha256()
    tensors = dict(content["model"])
    for number, state in content["optimizer"]["state"].items():
        tensors |= {f"{number}.{name}": t for name, t in state.items()}
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def same(one: Path, other: Path) -> bool:
    logs = [(run / "log.csv").read_bytes() for run in (one, other)]
    prints = [fingerprint(run / "last.pt") for run in (one, other)]
    return logs[0] == logs[1] and prints[0] == prints[1]


def train_arguments(data: Path, output: str, *more: str) -> list[str]:
    return [f"data.root={data}", f"output={output}", *small(*more)]


def test_a_run_leaves_everything_and_eval_prints_the_same_numbers(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    result = command("train", *train_arguments(shared_tiny_set, "run"))
    assert result.returncode == 0, result.stderr
    run = tmp_path / "run"
    assert "Epoch: 2/2, Train Loss: " in result.stdout
    assert result.stderr == ""
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        for key in ("train_loss", "test_loss", "val_loss", "val_dice", "threshold", "lr"):
            assert float(row[key]) >= 0
    with (run / "timing.csv").open() as file:
        timings = list(csv.DictReader(file))
    assert [row["epoch"] for row in timings] == ["1", "2"]
    for row in timings:
        # 4 or 5 train images of 2 patches each, by seconds, is the rate that is written.
        rate = float(row["images_per_s"]) * float(row["train_s"])
        assert 6 <= rate <= 12
    assert json.loads((run / "summary.json").read_text())["status"] == "done"
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"]
    for picture in [run / "curves.png", *(run / "overlays").iterdir()]:
        with Image.open(picture) as image:
            image.load()
    assert len(list((run / "overlays").iterdir())) == 1
    assert not list(run.glob(".*.tmp"))

    evaluated = command("eval", "checkpoint=run/best.pt", "output=scores")
    assert evaluated.returncode == 0, evaluated.stderr
    for name in ("metrics.json", "metrics.csv", "curves.json"):
        assert (tmp_path / "scores" / name).read_bytes() == (run / name).read_bytes()
    table = result.stdout[result.stdout.index("  dice ") : result.stdout.index("run folder")]
    assert table in evaluated.stdout

    val = command("eval", "checkpoint=run", "split=val", "output=val")
    assert val.returncode == 0, val.stderr
    content = json.loads((tmp_path / "val" / "metrics.json").read_text())
    best = max(rows, key=lambda row: float(row["val_dice"]))
    own = content["protocols"][0]["structures"]["vessel"]["pooled"]["dice"]
    assert own == float(best["val_dice"])
    assert content["threshold"] == float(best["threshold"])
    assert content["threshold_origin"] == "val"

    again = command("train", *train_arguments(shared_tiny_set, "run"))
    assert again.returncode == 6
    complete = command("train", *train_arguments(shared_tiny_set, "run"), "resume=auto")
    assert complete.returncode == 0
    assert "already complete" in complete.stdout
    # Killed while its page was made, the same command makes it.
    page = run / "report.html"
    page.unlink()
    (run / ".report.html.123.fundus.tmp").write_text("half a page")
    complete = command("train", *train_arguments(shared_tiny_set, "run"), "resume=auto")
    assert (complete.returncode, page.is_file()) == (0, True)
    assert not list(run.glob(".*.tmp"))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    for output, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = command("train", *train_arguments(shared_tiny_set, output, f"seed={seed}"))
        assert result.returncode == 0, result.stderr
    assert same(tmp_path / "a", tmp_path / "b")
    assert fingerprint(tmp_path / "a" / "last.pt") != fingerprint(tmp_path / "c" / "last.pt")


def start(folder: Path, arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fundus_cli", "train", *arguments],
        cwd=folder,
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


LONG = ("epochs=6", "batch_size=1", "data.patches_per_image=4")


@pytest.fixture(scope="module")
def whole_run(shared_tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run to compare with."""
    folder = tmp_path_factory.mktemp("whole")
    with start(folder, train_arguments(shared_tiny_set, "whole", *LONG)) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return folder / "whole"


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_stopped_in_the_middle_and_resumed_is_the_same_to_the_bit(
    command: RunCommand,
    tmp_path: Path,
    shared_tiny_set: Path,
    whole_run: Path,
    signum: int,
    code: int,
) -> None:
    arguments = train_arguments(shared_tiny_set, "cut", *LONG, "resume=auto")
    cut = tmp_path / "cut"
    with start(tmp_path, arguments) as process:
        wait_for(cut / "last.pt", process)
        time.sleep(0.05)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    if signum != signal.SIGKILL:
        assert "resume=auto" in errors
        assert len(errors.strip().splitlines()) == 1
        summary = json.loads((cut / "summary.json").read_text())
        assert (summary["status"], summary["exit_code"]) == ("stopped", code)
    result = command("train", *arguments)
    assert result.returncode == 0, result.stderr
    assert "resume: from epoch" in result.stdout
    assert (cut / "log.csv").read_text() == (whole_run / "log.csv").read_text()
    assert fingerprint(cut / "last.pt") == fingerprint(whole_run / "last.pt")
    assert (cut / "metrics.json").read_bytes() == (whole_run / "metrics.json").read_bytes()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(3000):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path.name} never came")


def test_a_longer_run_continues_and_a_damaged_checkpoint_falls_back(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    arguments = train_arguments(shared_tiny_set, "run", "scheduler=constant")
    assert command("train", *arguments).returncode == 0
    run = tmp_path / "run"
    content = (run / "last.pt").read_bytes()
    (run / "last.pt").unlink()
    (run / "last.pt").write_bytes(content[: len(content) // 2])
    longer = train_arguments(shared_tiny_set, "run", "scheduler=constant", "epochs=3")
    result = command("train", *longer, "resume=auto")
    assert result.returncode == 0, result.stderr
    assert "last.damaged-1.pt" in result.stdout
    assert "resume: epochs 2 -> 3" in result.stdout
    assert (run / "last.damaged-1.pt").read_bytes() == content[: len(content) // 2]
    straight = train_arguments(shared_tiny_set, "straight", "scheduler=constant", "epochs=3")
    assert command("train", *straight).returncode == 0
    assert same(run, tmp_path / "straight")

    refused = command("train", *longer, "resume=auto", "batch_size=3")
    assert refused.returncode == 2
    assert "batch_size: 8 -> 3: cannot change during a run" in refused.stderr
    for name in ("last.pt", "previous.pt", "best.pt"):
        (run / name).unlink()
        (run / name).write_bytes(b"")
    longest = train_arguments(shared_tiny_set, "run", "scheduler=constant", "epochs=5")
    lost = command("train", *longest, "resume=auto")
    assert lost.returncode == 5, lost.stderr
    assert "last.pt: " in lost.stderr and "nothing to resume from" in lost.stderr


def test_changed_data_is_noticed_on_resume(
    command: RunCommand, tmp_path: Path, tiny_set: Path
) -> None:
    assert command("train", *train_arguments(tiny_set, "run")).returncode == 0
    path = tiny_set / "train_masks" / "p1.png"
    with Image.open(path) as mask:
        pixels = mask.copy()
    pixels.putpixel((3, 3), 255)
    pixels.save(path)
    more = train_arguments(tiny_set, "run", "epochs=3")
    result = command("train", *more, "resume=auto")
    assert result.returncode == 3
    assert "train_masks/p1.png changed" in result.stderr
    allowed = command("train", *more, "resume=auto", "data.allow_change=true")
    assert allowed.returncode == 0, allowed.stderr


def test_divergence_stops_before_the_update(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    more = ("optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant", "batch_size=2", "epochs=4")
    result = command("train", *train_arguments(shared_tiny_set, "run", *more))
    assert result.returncode == 4
    for word in ("epoch 1", "step", "images p", "optimizer.lr"):
        assert word in result.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["exit_code"]) == ("failed", 4)


def test_a_sweep_survives_its_worst_job_and_runs_only_what_is_missing(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    arguments = [
        "-m",
        f"data.root={shared_tiny_set}",
        *small("epochs=1", "optimizer=sgd", "scheduler=constant", "batch_size=2"),
        "optimizer.lr=0.1,1e30,0.01",
        "hydra.sweep.dir=sweep",
    ]
    result = command("train", *arguments)
    assert result.returncode == 7, result.stderr
    with (tmp_path / "sweep" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["overrides"].endswith(" optimizer.lr=1e+30")
    assert "gradient norm" in rows[1]["reason"]
    assert float(rows[0]["val_dice"]) >= 0
    before = {n: (tmp_path / "sweep" / str(n) / "last.pt").stat().st_mtime_ns for n in (0, 2)}
    again = command("train", *arguments)
    assert again.returncode == 7
    after = {n: (tmp_path / "sweep" / str(n) / "last.pt").stat().st_mtime_ns for n in (0, 2)}
    assert before == after
    assert again.stdout.count("already complete") == 2
    alone = train_arguments(
        shared_tiny_set,
        *("alone", "epochs=1", "optimizer=sgd", "scheduler=constant", "batch_size=2"),
        "optimizer.lr=0.1",
    )
    assert command("train", *alone).returncode == 0
    assert same(tmp_path / "alone", tmp_path / "sweep" / "0")


def test_eval_says_when_images_were_trained_on(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    assert command("train", *train_arguments(shared_tiny_set, "run")).returncode == 0
    result = command("eval", "checkpoint=run", "split=train", "output=on_train")
    assert result.returncode == 0, result.stderr
    assert "were trained on" in result.stdout
    moved = command(
        "eval", "checkpoint=run", f"data.root={shared_tiny_set}", "threshold=0.25", "output=given"
    )
    assert moved.returncode == 0, moved.stderr
    content = json.loads((tmp_path / "given" / "metrics.json").read_text())
    assert (content["threshold"], content["threshold_origin"]) == (0.25, "given")
    hostile = tmp_path / "hostile.pt"
    hostile.write_text("<html>")
    refused = command("eval", "checkpoint=hostile.pt", "output=none")
    assert refused.returncode == 3
    assert not (tmp_path / "none").exists()
    assert command("eval", "checkpoint=nowhere.pt").returncode == 2
