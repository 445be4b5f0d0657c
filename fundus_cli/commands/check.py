"""fundus-check: check a data set, write a report and, on request, a repaired copy."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from fundus_cli.check.findings import summed
from fundus_cli.check.inspect_dataset import survey
from fundus_cli.check.repair import finish_copy, refuse_place, repair
from fundus_cli.check.text_report import MAX_FILES_SHOWN, plain, repair_lines, text_lines
from fundus_cli.commands.output_guard import CHECK_FILES, check_output
from fundus_cli.config import CheckConfig
from fundus_cli.data.dataset import resolve_root
from fundus_cli.errors import DataError, RunFolderError
from fundus_cli.run.context import Context
from fundus_cli.run.files import write_csv, write_json, write_whole
from fundus_cli.run.folder import locked
from fundus_cli.run.terminal import Terminal

REPORT = "report.json"


def run(config: CheckConfig, context: Context) -> None:
    """Check a data set, write the report, and with fix=true a repaired copy.

    Raises:
        FundusError: as `check`.
    """
    check_output(config.output, CHECK_FILES, config.data.root)
    with context.stop.unwinding():
        check(config, context.words, context.terminal)


def check(config: CheckConfig, overrides: Sequence[str], terminal: Terminal) -> None:
    """Check a data set, write the report, and with fix=true a repaired copy.

    Raises:
        DataError: something is wrong and was not repaired; the report lists it.
        FundusError: the folders cannot be used.
    """
    root = resolve_root(config.data)
    folder = Path(config.output)
    if (folder / REPORT).exists():
        raise RunFolderError(
            f"output={config.output}: already holds a report; choose another folder"
        )
    if config.fix:
        refuse_place(folder, root)
    with locked(config.output) as folder:
        sheet_folder = folder if config.contact_sheet else None
        result = survey(config.data, root, sheet_folder, terminal.reading)
        terminal.close_bar()
        for line in text_lines(result, MAX_FILES_SHOWN):
            terminal.print_line(line)
        lines, content = text_lines(result, None), plain(result)
        left, lost = result.wrong, 0
        if config.fix:
            repaired = repair(result, folder, terminal.repairing)
            terminal.close_bar()
            left = repaired.after.wrong
            lost = sum(change.is_lost for change in repaired.changes)
            said = repair_lines(repaired, result, folder)
            for line in said:
                terminal.print_line(line)
            lines += said
            content["repair"] = repaired.plain()
            write_csv(folder / "changes.csv", [change.plain() for change in repaired.changes])
        elif left:
            lines += ["", f"a repaired copy: {_fix_command(config, overrides)}"]
            terminal.print_line("\n".join(lines[-2:]))
        text = "\n".join(lines) + "\n"
        write_whole(folder / "report.txt", lambda file: file.write(text.encode()))
        write_json(folder / REPORT, content)
        if config.fix:
            finish_copy(folder)
        terminal.print_line(f"\nreport: {folder / 'report.txt'}, {folder / REPORT}")
        if result.pages:
            more = f" to {result.pages[-1].name}" if len(result.pages) > 1 else ""
            terminal.print_line(f"contact sheet: {result.pages[0]}{more}")
    if left or lost:
        parts = [f"{lost} images left out of the repaired copy"] if lost else []
        parts += [summed(left) + " still in it" * config.fix] if left else []
        raise DataError(f"{', '.join(parts)}; {folder / 'report.txt'} lists them")


def _fix_command(config: CheckConfig, overrides: Sequence[str]) -> str:
    """The same command with fix=true."""
    kept = [
        line for line in overrides if not line.startswith(("fix=", "output=", "contact_sheet="))
    ]
    words = ["fundus-check", *kept, "fix=true", f"output={config.data.name}_repaired"]
    return " ".join(shlex.quote(word) for word in words)
