"""Long series of kills, for the figures of docs/reliability.md.

    pytest -n 0 -m slow -s tests/reliability/test_kill_series.py

prints them; FUNDUS_INTERRUPTIONS says how many random ones there shall be.
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from reliability.forks import Forked
from reliability.kit import descendants, result_of, train, tree

from fundus_cli.run import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

NUM_INTERRUPTIONS = int(os.environ.get("FUNDUS_INTERRUPTIONS", "120"))
KINDS = ("KILL", "KILL", "TERM", "TERM group", "INT", "HUP")
SHORT = ("epochs=3", "batch_size=2", "data.patches_per_image=2", "data.val_fraction=0.4")
LONG = ("epochs=8", "batch_size=1", "data.patches_per_image=6", "data.val_fraction=0.4")


def finish(folder: Path, data: Path, keys: tuple[str, ...]) -> dict[str, str]:
    resumed = Forked(folder, *train(data, "run", *keys, "resume=auto"))
    assert resumed.wait() == 0, resumed.said("stderr")
    assert not list((folder / "run").glob(".*.tmp"))
    return result_of(folder / "run")


def test_killed_before_every_sync_link_and_rename(tmp_path: Path, shared_tiny_set: Path) -> None:
    """At every instant a checkpoint can be loaded."""
    data_before = tree(shared_tiny_set)
    whole = Forked(tmp_path, *train(shared_tiny_set, "run", *SHORT), journal=tmp_path / "journal")
    assert whole.wait() == 0, whole.said("stderr")
    expected = result_of(tmp_path / "run")
    operations = (tmp_path / "journal").read_text().splitlines()
    different = []
    # Every eighth, then their neighbours: a series that is cut short has seen all of a run.
    numbered = sorted(enumerate(operations, start=1), key=lambda pair: pair[0] % 8)
    for tried, (number, operation) in enumerate(numbered, start=1):
        folder = tmp_path / str(number)
        folder.mkdir()
        arguments = train(shared_tiny_set, "run", *SHORT)
        killed = Forked(folder, *arguments, faults=[{"at": number, "do": "SIGKILL"}])
        assert killed.wait() == -signal.SIGKILL, (number, operation)
        if "replace last.pt" in operations[: number - 1]:
            checkpoint.load(folder / "run" / "last.pt")
        if finish(folder, shared_tiny_set, SHORT) != expected:
            different.append((number, operation))
        print(
            f"{tried} of {len(operations)} boundaries, the last {number} before {operation}, "
            f"different: {different}",
            flush=True,
        )
    assert different == []
    assert tree(shared_tiny_set) == data_before


def test_interrupted_at_random(tmp_path: Path, shared_tiny_set: Path) -> None:
    """One header, every epoch once, whatever came between."""
    chance = random.Random(0)
    started = time.monotonic()
    whole = Forked(tmp_path, *train(shared_tiny_set, "run", *LONG))
    assert whole.wait() == 0, whole.said("stderr")
    seconds = time.monotonic() - started
    data_before, expected = tree(shared_tiny_set), result_of(tmp_path / "run")
    kinds: Counter[str] = Counter()
    slowest = 0.0
    runs = 0
    while sum(kinds.values()) < NUM_INTERRUPTIONS:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        for _ in range(6):
            kind = chance.choice(KINDS)
            took = interrupt(folder, shared_tiny_set, kind, chance.uniform(0, seconds / 2))
            if took is not None:
                kinds[kind] += 1
                slowest = max(slowest, took)
        same = finish(folder, shared_tiny_set, LONG) == expected
        lines = (folder / "run" / "log.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(1, 9))]
        print(
            f"{sum(kinds.values())} interruptions {dict(kinds)}, {runs} runs, the last "
            f"{'identical' if same else 'DIFFERENT'}; slowest stop {slowest:.1f} s",
            flush=True,
        )
        assert same
    assert tree(shared_tiny_set) == data_before


def interrupt(folder: Path, data: Path, kind: str, after_s: float) -> float | None:
    """Start or resume and interrupt; seconds until it was gone, None when it was over before."""
    process = Forked(folder, *train(data, "run", *LONG, "resume=auto"))
    end = time.monotonic() + after_s
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    if process.poll() is not None:
        return None
    signum = getattr(signal, f"SIG{kind.split()[0]}")
    children = descendants(process.pid)
    (os.killpg if "group" in kind else os.kill)(process.pid, signum)
    sent = time.monotonic()
    code = process.wait()
    assert code in (0, -signum, 128 + signum), (code, process.said("stderr"))
    if code == 128 + signum:
        assert len(process.said("stderr").strip().splitlines()) == 1
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    return time.monotonic() - sent
