"""Write report.html, an offline page about one run folder, from its files alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fundus_cli.report.changes import changed_keys, reproducing_command
from fundus_cli.report.pages import write_page
from fundus_cli.report.pictures import KINDS, read_pictures
from fundus_cli.report.published import compare_with_published
from fundus_cli.report.run_figures import learning_figures, score_figures
from fundus_cli.report.run_files import REPORT_NAME, Run, as_mapping, read_run
from fundus_cli.report.run_tables import image_table, score_table
from fundus_cli.run.files import read_json


def write_report(folder: Path) -> Path:
    """Make report.html of a run folder, finished or not; returns its path.

    Raises:
        MachineError: it cannot be written.
    """
    run = read_run(folder)
    path = folder / REPORT_NAME
    write_page(path, "report.html.j2", content_of(run))
    return path


def content_of(run: Run) -> dict[str, Any]:
    """The values for the template."""
    return {
        "title": f"{run.data_name or 'run'}, {run.folder.absolute().name}",
        "run": run,
        "facts": facts(run),
        "scores": [score_table(run, name) for name in run.structures],
        "protocols": [p for p in (run.protocol("fov"), run.protocol("whole")) if p],
        "published": compare_with_published(run),
        "learning": learning_figures(run),
        "figures": score_figures(run),
        "images": image_table(run),
        "pictures": read_pictures(run),
        "kinds": KINDS,
        "changes": changed_keys(run),
        "environment": _environment(run.environment),
        "command": reproducing_command(run),
        "files": sorted(
            path.name
            for path in run.folder.iterdir()
            if path.is_file() and path.name[0] != "." and path.name != REPORT_NAME
        ),
    }


def facts(run: Run) -> list[tuple[str, str]]:
    """The lines on top: data set, split sizes, structure, model size and beginning, minutes."""
    sizes = [
        f"{len(run.splits[split])} {split}"
        for split in ("train", "val", "test")
        if isinstance(run.splits.get(split), list)
    ]
    if not sizes and run.metrics:
        sizes = [f"{run.metrics.get('num_images')} {run.split}"]
    minutes, parameters = run.minutes(), _num_parameters(run)
    checkpoints = run.config.get("checkpoint") or ""
    several = isinstance(checkpoints, list)
    name = str(as_mapping(run.config.get("model")).get("name") or "")
    size = f"{parameters:,} parameters".replace(",", "\u202f") if parameters else ""
    lines = [
        ("Status", f"{run.status}{': ' if run.reason else ''}{run.reason}"),
        ("Data set", run.data_name),
        ("Images", ", ".join(sizes)),
        ("Structures", ", ".join(run.structures or _configured_structures(run))),
        ("Network", ", ".join(part for part in (name, size) if part)),
        ("Begins with", str(run.config.get("init_from") or "")),
        ("Epochs", _epochs(run)),
        ("Time", f"{minutes:.1f} minutes on {_where(run)}" if minutes is not None else ""),
        ("Checkpoint", ", ".join(map(str, checkpoints if several else [checkpoints]))),
    ]
    return [(name, value) for name, value in lines if value]


def _configured_structures(run: Run) -> list[str]:
    train = as_mapping(as_mapping(run.config.get("data")).get("train"))
    return list(as_mapping(train.get("targets")))


def _num_parameters(run: Run) -> int | None:
    found = run.summary.get("num_parameters")
    if found is None and run.config.get("checkpoint"):
        path = Path(str(run.config["checkpoint"]))
        folder = path if path.is_dir() else path.parent
        found = read_json(folder / "summary.json").get("num_parameters")
    return found if isinstance(found, int) else None


def _epochs(run: Run) -> str:
    wanted = run.config.get("epochs")
    if not wanted:
        return ""
    best = run.summary.get("best_epoch")
    return f"{len(run.log)} of {wanted}" + (f", best {best}" if best else "")


def _where(run: Run) -> str:
    gpu = run.environment.get("gpu")
    threads = run.environment.get("threads")
    processor = run.environment.get("processor") or "an unknown machine"
    threads_text = "1 thread" if threads == 1 else f"{threads} threads"
    return str(gpu) if gpu else f"{threads_text} of {processor}"


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for key, value in environment.items():
        if key == "arguments" or value is None:
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {version}" for name, version in value.items() if version)
        lines.append((key.replace("_", " "), str(value)))
    return lines
