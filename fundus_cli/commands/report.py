"""fundus-report: write pages about runs.

Plotting libraries are imported when a page is written, so that training starts without them.
"""

import os
import traceback
from collections.abc import Sequence
from pathlib import Path

from fundus_cli.config import ReportConfig
from fundus_cli.errors import DataError, list_names
from fundus_cli.report.leaderboard import natural
from fundus_cli.report.leaderboard_text import leaderboard_table, shown
from fundus_cli.report.run_files import (
    LEADERBOARD_NAME,
    REPORT_NAME,
    Run,
    is_run,
    number,
    read_run,
)
from fundus_cli.run.context import Context
from fundus_cli.run.files import machine_error
from fundus_cli.run.folder import locked
from fundus_cli.run.terminal import Terminal


def run(config: ReportConfig, context: Context) -> None:
    """Write the page of a run, of a folder of runs, or of a list of runs.

    Raises:
        FundusError: as `report`.
    """
    with context.stop.unwinding():
        report(config, context.terminal)


def report(config: ReportConfig, terminal: Terminal) -> Path:
    """Write the page of a run, of a folder of runs, or of a list of runs; returns its path.

    Raises:
        DataError: a path holds no run.
        MachineError: the page cannot be written.
    """
    paths = [Path(name).expanduser() for name in config.paths]
    if len(paths) == 1 and is_run(paths[0]):
        return _one_run(paths[0], terminal)
    if len(paths) == 1:
        return _folder_of_runs(paths[0], terminal)
    return _list_of_runs(paths, Path(config.output), terminal)


def make_report(folder: Path, terminal: Terminal) -> None:
    """Write report.html at the end of a run and print its path.

    An error here is a warning: a complete run does not fail because its page could not be written.
    """
    try:
        from fundus_cli.report.run_page import write_report

        terminal.print_line(f"report: {write_report(folder)}")
    except Exception as error:
        terminal.record(traceback.format_exc())
        terminal.print_line(
            f"warning: {REPORT_NAME} could not be written ({type(error).__name__}: {error}); "
            f"fundus-report path={folder} tries again"
        )


def make_missing_report(output: str, terminal: Terminal) -> None:
    """Write the page of a complete run that was killed before its page was written.

    Raises:
        RunFolderError: another process has locked the folder.
    """
    with locked(output) as folder:
        if not (folder / REPORT_NAME).exists():
            make_report(folder, terminal)


def _one_run(folder: Path, terminal: Terminal) -> Path:
    from fundus_cli.report.run_page import write_report

    page = write_report(folder)
    run = read_run(folder)
    for line in run_lines(run):
        terminal.print_line(line)
    terminal.print_line(f"report: {page}")
    return page


def run_lines(run: Run) -> list[str]:
    """Summarise a run in a few lines: its facts and its scores."""
    from fundus_cli.report.run_page import facts

    lines = [f"{name + ':':14}{value}" for name, value in facts(run)]
    columns = ("dice", "sensitivity", "specificity", "precision", "auc_roc", "auc_pr")
    if run.structures:
        lines.append(f"{'':24}" + "".join(f"{name:>13}" for name in columns))
    for structure in run.structures:
        cells = "".join(f"{shown(number(run.pooled(structure).get(c))):>13}" for c in columns)
        lines.append(f"{structure + ', fov':24}{cells}")
    if run.structures:
        lines.append(run.protocol("fov"))
    return lines


def _folder_of_runs(folder: Path, terminal: Terminal) -> Path:
    runs = _runs_below(folder)
    return _compare(folder, runs, [run.folder.name for run in runs], terminal)


def _runs_below(folder: Path) -> list[Run]:
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"path={folder}: {state}; name a run folder or a folder of runs")
    folders = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: natural(p.name))
    runs = [read_run(path) for path in folders if is_run(path)]
    if not runs:
        raise DataError(
            f"path={folder}: holds no run (no config.json, log.csv, metrics.json or summary.json), "
            "and no folder in it does"
        )
    return runs


def _list_of_runs(paths: Sequence[Path], output: Path, terminal: Terminal) -> Path:
    empty = [str(path) for path in paths if not is_run(path)]
    if empty:
        raise DataError(f"path: no run in {list_names(empty)}")
    if len({path.resolve() for path in paths}) < len(paths):
        raise DataError("path: a folder is given twice; keep one of the two")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise machine_error(output, error) from error
    return _compare(output, [read_run(path) for path in paths], _names(paths), terminal)


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest path endings that are all different."""
    whole = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(names):
            return names
    return [os.fspath(path) for path in paths]


def _compare(folder: Path, runs: Sequence[Run], names: Sequence[str], terminal: Terminal) -> Path:
    from fundus_cli.report.run_page import write_report
    from fundus_cli.report.sweep_page import write_leaderboard

    for run in runs:
        if not (run.folder / REPORT_NAME).exists():
            write_report(run.folder)
        terminal.making_page(len(runs))
    terminal.close_bar()
    board = write_leaderboard(folder, runs, names)
    page = folder / LEADERBOARD_NAME
    for line in leaderboard_table(board).splitlines():
        terminal.print_line(line)
    terminal.print_line(f"leaderboard: {page}")
    return page
