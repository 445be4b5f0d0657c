"""Files that others read while a run writes them, and a run of many epochs."""

import csv
import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from reliability.forks import Forked
from reliability.kit import LONG, train

from fundus_cli.run import checkpoint


def test_a_reader_never_sees_half_a_file(tmp_path: Path, shared_tiny_set: Path) -> None:
    """A run that saves after every step, and a reader that never pauses."""
    run = tmp_path / "run"
    keys = (*LONG, "save_every_min=1e-9")
    writer = Forked(tmp_path, *train(shared_tiny_set, "run", *keys))
    reads: Counter[str] = Counter()
    steps: list[int] = []
    while writer.poll() is None:
        for name in ("last.pt", "best.pt", "log.csv", "summary.json"):
            path = run / name
            if not path.exists():
                assert not reads[name], f"{name} went away"
                continue
            reads[name] += 1
            if name == "summary.json":
                assert json.loads(path.read_text())["status"] in ("running", "done")
            elif name == "log.csv":
                rows = list(csv.DictReader(path.read_text().splitlines()))
                assert [row["epoch"] for row in rows] == [str(n + 1) for n in range(len(rows))]
            else:
                saved = checkpoint.load(path)
                if name == "last.pt":
                    steps.append(saved.progress.step)
    assert writer.wait() == 0, writer.said("stderr")
    assert all(before <= after for before, after in itertools.pairwise(steps))
    assert len(set(steps)) >= 3
    assert min(reads.values()) >= 3, reads


@pytest.mark.slow
def test_three_hundred_epochs_need_no_more_than_ten(tmp_path: Path, shared_tiny_set: Path) -> None:
    """Open files, threads, memory, and the files of the run."""
    epochs = 300
    keys = (f"epochs={epochs}", "data.patches_per_image=1", "data.val_fraction=0.4")
    process = Forked(tmp_path, *train(shared_tiny_set, "run", *keys))
    run = tmp_path / "run"
    seen: dict[int, dict[str, int]] = {}
    while process.poll() is None:
        log = run / "log.csv"
        epoch = len(log.read_text().splitlines()) - 1 if log.exists() else 0
        if epoch and epoch not in seen:
            # Temporary names come and go; what is counted has a name to stay.
            files = [path for path in run.iterdir() if not path.name.endswith(".tmp")]
            status = Path(f"/proc/{process.pid}/status").read_text()
            fields = dict(line.split(":", 1) for line in status.splitlines())
            if "VmRSS" in fields:
                seen[epoch] = {
                    "rss_kb": int(fields["VmRSS"].split()[0]),
                    "threads": int(fields["Threads"]),
                    "open files": len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
                    "files": len(files),
                    "last.pt": (run / "last.pt").stat().st_size,
                }
                if epoch % 20 == 0:
                    print(f"epoch {epoch}: {seen[epoch]}", flush=True)
    assert process.wait() == 0, process.said("stderr")
    early = [seen[epoch] for epoch in seen if 10 < epoch <= 30]
    late = [seen[epoch] for epoch in seen if epoch > epochs - 20]
    assert early and late
    print(f"after epoch 10: {early[0]}; near epoch {epochs}: {late[-1]}")
    for name in ("threads", "files"):
        assert {state[name] for state in early} == {state[name] for state in late}, name
    # A file that is being written is open while it is counted.
    assert max(s["open files"] for s in late) <= max(s["open files"] for s in early) + 2
    assert max(s["rss_kb"] for s in late) <= 1.05 * max(s["rss_kb"] for s in early)
    # last.pt holds the rows of log.csv and timing.csv, so it grows by a few hundred bytes an epoch.
    grown = late[-1]["last.pt"] - early[0]["last.pt"]
    assert grown < 500 * epochs
