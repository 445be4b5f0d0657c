"""Sweeps: Hydra varies the overrides, every job is a process of its own, one table at the end.

A job that raises, exits, runs out of memory or is killed costs only itself. The same command with
the same hydra.sweep.dir runs only what is missing, because each job is a run that resumes.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig

from fundus_cli.compose import quoted
from fundus_cli.errors import ConfigError
from fundus_cli.run.files import write_csv, write_json
from fundus_cli.run.folder import read_summary
from fundus_cli.run.signals import StopRequest

JOB_FILE = "job.json"
REASON_LINES = 3
STOPPED_CODES = {128 + s: s for s in (signal.SIGINT, signal.SIGTERM)}


def run_sweep(
    program: str, overrides: Sequence[str], config_dir: Path | None, stop: StopRequest
) -> int:
    """Run every job of a sweep and write the leaderboard; returns how many jobs failed.

    Raises:
        Interrupted: a signal arrived; what is done is kept and listed.
        ConfigError: Hydra's sweeper refuses the overrides.
    """
    stop.defer()
    folders: list[Path] = []

    def job(config: DictConfig) -> float | None:
        if stop.signum is not None:
            return None
        runtime = HydraConfig.get()
        folder = Path(runtime.runtime.output_dir)
        folders.append(folder)
        return run_job(program, folder, list(runtime.overrides.task), config_dir, stop)

    directory = ["--config-dir", str(config_dir)] if config_dir else []
    arguments = [sys.argv[0], "--multirun", *directory, *overrides]
    before, sys.argv = sys.argv, arguments
    try:
        main = hydra.main(
            config_path="pkg://fundus_cli.configs", config_name=program, version_base="1.3"
        )
        main(job)()
    except HydraException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    finally:
        sys.argv = before
    if not folders:
        return 0
    rows = [leaderboard_row(folder) for folder in folders]
    sweep_dir = folders[0].parent
    write_csv(sweep_dir / "leaderboard.csv", rows)
    print(leaderboard_table(rows))
    print(f"sweep folder: {sweep_dir}")
    stop.raise_if_asked(
        "finished jobs are kept; the same command with "
        f"hydra.sweep.dir={sweep_dir} runs what is missing"
    )
    return sum(row["status"] != "done" for row in rows)


def run_job(
    program: str,
    folder: Path,
    overrides: list[str],
    config_dir: Path | None,
    stop: StopRequest,
) -> float | None:
    """One job in a process of its own; returns its score, or None when there is none."""
    kept = [line for line in overrides if line.partition("=")[0] not in ("output", "resume")]
    directory = ["--config-dir", str(config_dir)] if config_dir else []
    again = ["resume=auto"] if program == "train" else []
    command = [
        *(sys.executable, "-m", "fundus_cli", program),
        *(*directory, *kept, quoted("output", str(folder)), *again),
    ]
    started = time.monotonic()
    print(f"[{folder.name}] {' '.join(overrides) or '(defaults)'}", flush=True)
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    ) as child:
        last_words: list[str] = []
        assert child.stderr is not None
        listener = threading.Thread(target=_listen, args=(child.stderr, last_words), daemon=True)
        listener.start()
        code = _wait(child, stop)
        listener.join(timeout=5)
    summary = read_summary(folder) or {}
    # A child may leave with 0 and without having finished; only its own word counts.
    status = "done" if code == 0 and summary.get("status") == "done" else "failed"
    if code in STOPPED_CODES:
        status = "stopped"
    reason = "" if status == "done" else _reason(code, last_words)
    content = {
        "overrides": overrides,
        "status": status,
        "exit_code": code,
        "reason": reason,
        "duration_s": round(time.monotonic() - started, 1),
    }
    write_json(folder / JOB_FILE, content)
    score = summary.get("score")
    return float(score) if isinstance(score, int | float) else None


def _listen(stream: IO[str], last_words: list[str]) -> None:
    for line in stream:
        sys.stderr.write(line)
        if line.strip():
            last_words.append(line.strip())
            del last_words[:-REASON_LINES]


def _wait(child: subprocess.Popen[str], stop: StopRequest) -> int:
    """Wait for a job, passing on a stop that came to us alone."""
    told = False
    while True:
        try:
            return child.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            if stop.signum is not None and not told:
                told = True
                # The terminal sends Ctrl-C to both; a second one would end the job unsaved.
                if stop.signum != signal.SIGINT:
                    child.send_signal(stop.signum)


def _reason(code: int, last_words: list[str]) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    if code == 0:
        return "left without finishing"
    return last_words[-1] if last_words else f"exit code {code}"


def leaderboard_row(folder: Path) -> dict[str, Any]:
    """One job's line, from the files in its folder."""
    try:
        job = json.loads((folder / JOB_FILE).read_text())
    except (OSError, ValueError):
        job = {"overrides": [], "status": "not run", "reason": "", "duration_s": 0.0}
    summary = read_summary(folder) or {}
    best = summary.get("best") or summary.get("last") or {}
    pooled = summary.get("pooled") or {}
    assert isinstance(best, dict)
    assert isinstance(pooled, dict)
    row = {
        "job": folder.name,
        "overrides": " ".join(job["overrides"]),
        "status": job["status"],
        "best_epoch": summary.get("best_epoch"),
        "train_loss": best.get("train_loss"),
        "val_loss": best.get("val_loss"),
        "val_dice": best.get("val_dice"),
        "test_loss": best.get("test_loss"),
    }
    row |= {f"{summary.get('scored_split')}_dice_{s}": m["dice"] for s, m in pooled.items()}
    return {**row, "minutes": round(job["duration_s"] / 60, 2), "reason": job["reason"]}


def leaderboard_table(rows: Sequence[dict[str, Any]]) -> str:
    """The leaderboard for a terminal, the best validation Dice (else the lowest loss) first."""

    def rank(row: dict[str, Any]) -> tuple[bool, float]:
        if isinstance(row.get("val_dice"), float):
            return (row["status"] != "done", -row["val_dice"])
        loss = row.get("train_loss")
        return (row["status"] != "done", loss if isinstance(loss, float) else float("inf"))

    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns] + [[_shown(row.get(c)) for c in columns] for row in sorted(rows, key=rank)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
