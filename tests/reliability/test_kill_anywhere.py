"""Tests 1, 2, 38 and 65: killed anywhere and started again, a run ends as if nothing had happened.

The slow ones print the figures of docs/reliability.md (run them with -s).
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from reliability.kit import LONG, environment, result_of, run, started, train, tree

from fundus_cli.run import checkpoint

NUM_INTERRUPTIONS = int(os.environ.get("FUNDUS_INTERRUPTIONS", "120"))


@pytest.fixture(scope="module")
def whole(
    shared_tiny_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A run that nobody disturbs, and the journal of its renames and syncs."""
    folder = tmp_path_factory.mktemp("whole")
    env = environment(folder, FUNDUS_TEST_JOURNAL=str(folder / "journal"))
    result = run(folder, *train(shared_tiny_set, "run", *LONG), env=env)
    assert result.returncode == 0, result.stderr
    return folder / "run", (folder / "journal").read_text().splitlines()


LONGER = ("epochs=8", "batch_size=1", "data.patches_per_image=6", "data.val_fraction=0.4")


def resumed(folder: Path, data: Path, keys: tuple[str, ...] = LONG) -> str:
    result = run(folder, *train(data, "run", *keys, "resume=auto"))
    assert result.returncode == 0, result.stderr
    assert not list((folder / "run").glob(".*.tmp"))
    return result.stdout


@pytest.mark.parametrize(
    ("before", "nth"),
    [("link best", 2), ("replace log.csv", 3), ("replace metrics.json", 1)],
)
def test_killed_between_a_checkpoint_and_what_follows_from_it(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]], before: str, nth: int
) -> None:
    """Test 1, second form, at the three places where a checkpoint and other files disagree."""
    fault = {"before": before, "nth": min(nth, whole[1].count(before)), "do": "SIGKILL"}
    killed = run(
        tmp_path, *train(shared_tiny_set, "run", *LONG), env=environment(tmp_path, [fault])
    )
    assert killed.returncode == -signal.SIGKILL
    checkpoint.load(tmp_path / "run" / "last.pt")
    resumed(tmp_path, shared_tiny_set)
    assert result_of(tmp_path / "run") == result_of(whole[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_before_every_sync_link_and_rename(
    tmp_path: Path, shared_tiny_set: Path, whole: tuple[Path, list[str]]
) -> None:
    """Tests 1 (second form) and 65: one checkpoint can be loaded at every instant."""
    data_before = tree(shared_tiny_set)
    expected = result_of(whole[0])
    different = []
    for number, operation in enumerate(whole[1], start=1):
        folder = tmp_path / str(number)
        folder.mkdir()
        env = environment(folder, [{"at": number, "do": "SIGKILL"}])
        killed = run(folder, *train(shared_tiny_set, "run", *LONG), env=env)
        assert killed.returncode == -signal.SIGKILL, (number, operation)
        saved = folder / "run" / "last.pt"
        if "link previous" in whole[1][: number - 1]:
            checkpoint.load(saved)
        resumed(folder, shared_tiny_set)
        if result_of(folder / "run") != expected:
            different.append((number, operation))
    print(f"\nboundaries {len(whole[1])}, identical {len(whole[1]) - len(different)}")
    assert different == []
    assert tree(shared_tiny_set) == data_before


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_interrupted_at_random(tmp_path: Path, shared_tiny_set: Path) -> None:
    """Tests 1 and 38, first form: kill -9, TERM, TERM to the group, INT, HUP at random times."""
    chance = random.Random(0)
    assert run(tmp_path, *train(shared_tiny_set, "whole", *LONGER)).returncode == 0
    data_before, expected = tree(shared_tiny_set), result_of(tmp_path / "whole")
    kinds: Counter[str] = Counter()
    epochs_seen: Counter[int] = Counter()
    runs = identical = 0
    while sum(kinds.values()) < NUM_INTERRUPTIONS:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        for _ in range(5):
            kind = chance.choice(["KILL", "KILL", "TERM", "TERM group", "INT", "HUP"])
            if interrupt(folder, shared_tiny_set, kind, chance):
                kinds[kind] += 1
            if (folder / "run" / "last.pt").exists():
                epochs_seen[checkpoint.load(folder / "run" / "last.pt").progress.step] += 1
        resumed(folder, shared_tiny_set, LONGER)
        lines = (folder / "run" / "log.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(1, 9))]
        same = result_of(folder / "run") == expected
        identical += same
        print(
            f"{sum(kinds.values())} interruptions, {runs} runs, {identical} identical", flush=True
        )
    print(f"\n{dict(kinds)}; steps of the saved checkpoints {sorted(epochs_seen)}")
    assert identical == runs
    assert tree(shared_tiny_set) == data_before


def interrupt(folder: Path, data: Path, kind: str, chance: random.Random) -> bool:
    """Start or resume, interrupt at a random moment; False when the run was over before."""
    arguments = train(data, "run", *LONGER, "resume=auto")
    with started(folder, *arguments) as process:
        opened = folder / "run" / "summary.json"
        begun = opened.stat().st_mtime_ns if opened.exists() else None
        # Mostly soon after the run has begun, and at any time too: reading and importing.
        if chance.random() < 0.8:
            while process.poll() is None:
                if opened.exists() and opened.stat().st_mtime_ns != begun:
                    break
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 1.5))
        else:
            time.sleep(chance.uniform(0.05, 4))
        if process.poll() is not None:
            return False
        signum = getattr(signal, f"SIG{kind.split()[0]}")
        if "group" in kind:
            os.killpg(process.pid, signum)
        else:
            process.send_signal(signum)
        _, errors = process.communicate(timeout=30)
        allowed = {0, -signum, 128 + signum}
        assert process.returncode in allowed, (process.returncode, errors)
        if process.returncode == 128 + signum:
            assert len(errors.strip().splitlines()) == 1, errors
    return True
