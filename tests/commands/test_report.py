"""fundus-report in a process of its own: pages of folders as the real commands leave them."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ONE_THREAD, RunCommand, small

from fundus_cli.commands.report import make_report
from fundus_cli.run.terminal import Terminal


@pytest.fixture(scope="module")
def trained(shared_tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run to copy."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = [f"data.root={shared_tiny_set}", "output=run", *small("epochs=1")]
    subprocess.run(
        [sys.executable, "-m", "fundus_cli", "train", *arguments],
        cwd=folder,
        env={**os.environ, **ONE_THREAD},
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder / "run"


def test_a_run_ends_with_its_report_and_the_command_makes_it_again(
    command: RunCommand, tmp_path: Path, trained: Path
) -> None:
    log = (trained / "train.log").read_text()
    assert re.search(r"report: run/report\.html\n$", log)
    # A bar would leave carriage returns.
    assert "\r" not in log
    shutil.copytree(trained, tmp_path / "run")
    first = (tmp_path / "run" / "report.html").read_bytes()
    result = command("report", "path=run")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert (tmp_path / "run" / "report.html").read_bytes() == first
    dice = json.loads((tmp_path / "run" / "metrics.json").read_text())["protocols"][0]
    assert f"{dice['structures']['vessel']['pooled']['dice']:.4f}" in result.stdout
    assert "pixels inside the field of view only" in result.stdout
    assert result.stdout.splitlines()[-1] == "report: run/report.html"


def test_runs_made_at_different_times_are_compared(
    command: RunCommand, tmp_path: Path, trained: Path
) -> None:
    for name in ("a", "b"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    config = json.loads((trained / "config.json").read_text())
    rate, config["optimizer"]["lr"] = config["optimizer"]["lr"], 0.125
    (tmp_path / "runs" / "b" / "config.json").write_text(json.dumps(config))
    result = command("report", "path=[runs/a,runs/b]", "output=both")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "leaderboard: both/leaderboard.html"
    assert re.search(r"^job +optimizer\.lr +status +val_dice", result.stdout)
    page = (tmp_path / "both" / "leaderboard.html").read_text(encoding="utf-8")
    assert 'href="../runs/a/report.html"' in page
    assert "paired bootstrap over images" in page
    assert "+0.0000" in page

    (tmp_path / "runs" / "a" / "report.html").unlink()
    folder = command("report", "path=runs")
    assert folder.returncode == 0, folder.stderr
    assert (tmp_path / "runs" / "a" / "report.html").exists()
    with (tmp_path / "runs" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["job"], row["optimizer.lr"]) for row in rows] == [("a", str(rate)), ("b", "0.125")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "path: not given"),
        (["path=[]"], 2, "path=[]: must be a folder, or a list"),
        (["path={a:1}"], 2, "must be a folder, or a list"),
        (["path=nowhere"], 3, "path=nowhere: does not exist"),
        (["path=file"], 3, "path=file: is a file"),
        (["path=empty"], 3, "path=empty: holds no run"),
        (["path=[empty,nowhere]"], 3, "path: no run in empty, nowhere"),
        (["pth=a"], 2, "did you mean path?"),
    ],
)
def test_mistakes_are_one_line(
    command: RunCommand, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    result = command("report", *arguments)
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_a_page_that_cannot_be_made_does_not_fail_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> Path:
        raise RuntimeError("no ink")

    monkeypatch.setattr("fundus_cli.report.run_page.write_report", fail)
    with Terminal() as terminal:
        terminal.log_to(tmp_path / "train.log")
        make_report(tmp_path, terminal)
    said = capsys.readouterr().out
    assert "warning: report.html could not be written (RuntimeError: no ink)" in said
    assert f"fundus-report path={tmp_path} tries again" in said
    assert "Traceback" in (tmp_path / "train.log").read_text()
    assert "Traceback" not in said
