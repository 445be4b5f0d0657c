"""fundus-predict: write a mask for every image, and one table."""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fundus_cli import __version__
from fundus_cli.commands.output_guard import PREDICT_FILES, check_output
from fundus_cli.commands.predict_files import is_below
from fundus_cli.commands.predict_images import ImagePipeline, Row
from fundus_cli.commands.predict_inputs import Job, find_jobs, unread_warning
from fundus_cli.config import PredictConfig
from fundus_cli.data.file_names import plain_name
from fundus_cli.data.samples import UnusableFile, file_sha256
from fundus_cli.errors import ConfigError, Problems, RunFolderError
from fundus_cli.evaluation.scoring import trained_on
from fundus_cli.inference.network import SegmentationNetwork
from fundus_cli.run.context import Context
from fundus_cli.run.files import (
    from_cell,
    read_json,
    read_text,
    remove_stale_temporaries,
    write_csv,
    write_json,
)
from fundus_cli.run.folder import locked
from fundus_cli.run.signals import StopRequest
from fundus_cli.run.terminal import Terminal
from fundus_cli.runtime.memory import keep_freed_memory
from fundus_cli.runtime.pipeline import pipelined
from fundus_cli.runtime.timeouts import Timeout, in_order, in_time

TABLE = "predictions.csv"
SETTINGS = "predict.json"
TABLE_EVERY_S = 2.0
"""Seconds between writes of the table; after a kill, masks without a row are predicted again."""


def run(config: PredictConfig, context: Context) -> None:
    """Write a mask for every image.

    Raises:
        FundusError: as `predict`.
    """
    check_output(config.output, PREDICT_FILES)
    keep_freed_memory()
    predict(config, context.stop, context.terminal)


def predict(config: PredictConfig, stop: StopRequest, terminal: Terminal) -> list[Row]:
    """Write a mask for every image; returns the table's rows.

    Raises:
        FundusError: a checkpoint cannot be used; a drive does not respond within timeout_s; or,
            after all other images are done, some images could not be read or some output files
            already exist with other content.
    """
    looking = f"input={config.input}: finding the images"
    jobs = in_time(lambda: find_jobs(config.input, config.fov), _timeout(config), looking)
    if unread := in_time(lambda: unread_warning(config.input), _timeout(config), looking):
        terminal.print_line(unread)
    given = None if isinstance(config.threshold, str) else float(config.threshold)
    network = SegmentationNetwork.load(
        config.checkpoints,
        device=config.device,
        precision=config.precision,
        threshold=given,
        tta=config.tta,
    ).seeing(fov_angle_deg=config.fov_angle_deg, max_megapixels=config.max_megapixels)
    if all(trained_on(saved) == "demo" for saved in network.members):
        terminal.print_line(
            "note: this network was trained on synthetic images alone; experiment=vessels_demo is "
            "made for use on real ones, and your own annotated images are better still"
        )
    with locked(config.output) as folder:
        prediction = ImagePipeline(config, network, folder)
        in_time(lambda: _check_places(jobs, prediction), _timeout(config), looking)
        settings = _settings(config, network)
        _check_settings(folder, settings, config)
        return _predict_all(jobs, prediction, stop, terminal)


def _check_places(jobs: Sequence[Job], prediction: ImagePipeline) -> None:
    """Refuse to overwrite an input image, or to write two files under one name."""
    inputs = {job.path.resolve() for job in jobs if job.path.is_file()}
    taken: set[Path] = set()
    for job in jobs:
        for path in prediction.files(job).paths():
            if path.resolve() in inputs:
                raise ConfigError(
                    f"output={prediction.config.output}: {plain_name(str(path))} is one of the "
                    "input images; choose another folder"
                )
            if path in taken:
                raise ConfigError(
                    f"input={prediction.config.input}: two output files would be named "
                    f"{plain_name(str(path))}; predict those folders one by one"
                )
            taken.add(path)
    for parent in {path.parent for path in taken if path.parent.is_dir()}:
        remove_stale_temporaries(parent)


def _settings(config: PredictConfig, network: SegmentationNetwork) -> dict[str, Any]:
    """All that the masks depend on besides the images."""
    paths = [saved.path for saved in network.members]
    return {
        "fundus_cli": __version__,
        "checkpoints": {plain_name(str(path)): file_sha256(path) for path in paths},
        "structures": list(network.structures),
        "threshold": network.threshold.value,
        "threshold_origin": network.threshold.origin,
        "tta": network.predictor.tta,
        "precision": str(network.predictor.dtype).removeprefix("torch."),
        "fov": config.fov,
        "fov_angle_deg": network.data.angle_deg,
    }


def _check_settings(folder: Path, settings: dict[str, Any], config: PredictConfig) -> None:
    """Refuse to mix masks of different checkpoints or settings in one folder."""
    before = read_json(folder / SETTINGS)
    decisive = {key: settings[key] for key in ("threshold", "tta", "fov", "fov_angle_deg")}
    decisive["checkpoints"] = sorted(settings["checkpoints"].values())
    if before and not config.overwrite:
        hashes = before.get("checkpoints")
        hashes = sorted(map(str, hashes.values())) if isinstance(hashes, dict) else None
        earlier = {**before, "checkpoints": hashes}
        changed = [key for key, value in decisive.items() if earlier.get(key) != value]
        if changed:
            raise RunFolderError(
                f"output={config.output}: holds masks of another {', '.join(changed)}; choose "
                "another folder, or predict all again with overwrite=true"
            )
    write_json(folder / SETTINGS, settings)


def _predict_all(
    jobs: Sequence[Job], prediction: ImagePipeline, stop: StopRequest, terminal: Terminal
) -> list[Row]:
    table = prediction.folder / TABLE
    rows = _rows_before(table)
    timeout = _timeout(prediction.config)
    in_time(
        lambda: _rename_earlier(jobs, rows, prediction, terminal),
        timeout,
        f"output={prediction.config.output}: looking at earlier masks",
    )
    are_done = in_order(lambda job: _is_done(job, prediction, rows), jobs, timeout, _reading)
    wanted = [job for job, is_done in zip(jobs, are_done, strict=True) if not is_done]
    problems = Problems()
    started = written = time.monotonic()
    num_masks = 0
    stop.defer()
    try:
        stages = (prediction.read, prediction.compute, prediction.write)
        for job, result in pipelined(wanted, *stages, timeout, _reading):
            terminal.predicting(len(wanted))
            if isinstance(result, UnusableFile):
                found = f" [{result.found}]" if result.found else ""
                # fundus-predict has this key without its group.
                kind = result.kind.replace("data.max_megapixels", "max_megapixels")
                problems.add(kind, job.name + found)
            else:
                rows[job.name] = result
                num_masks += 1
                if result["warnings"]:
                    terminal.print_line(f"warning: {job.name}: {result['warnings']}")
            if time.monotonic() - written > TABLE_EVERY_S:
                write_csv(table, _in_order(rows, jobs))
                written = time.monotonic()
            stop.raise_if_asked(
                f"{num_masks} of {len(wanted)} images done; the same command continues"
            )
    finally:
        terminal.close_bar()
        write_csv(table, _in_order(rows, jobs))
    for line in prediction.fields_of_view.lines(prediction.network.data):
        terminal.print_line(line)
    seconds = time.monotonic() - started
    kept = f"; {len(jobs) - len(wanted)} already existed" if len(wanted) < len(jobs) else ""
    done = f"{num_masks} image{'s' * (num_masks != 1)} predicted"
    rate = f" ({num_masks / seconds:.2f} images/s)" if num_masks else ""
    terminal.print_line(
        f"{done} in {seconds:.1f} s{rate}{kept}\nmasks and {TABLE}: {prediction.folder}"
    )
    # Masks are often stored beside the images, and then many of them fail.
    hint = " (a pattern such as photos/*.jpg leaves files out)" if len(jobs) > 1 else ""
    problems.raise_if_any(f"input={prediction.config.input}: {done}, the others were not{hint}:")
    return _in_order(rows, jobs)


def _rename_earlier(
    jobs: Sequence[Job], rows: dict[str, Row], prediction: ImagePipeline, terminal: Terminal
) -> None:
    """Rename the files of earlier calls whose image now has a mask of another name.

    An image y.png beside y.jpg makes the masks y.png.png and y.jpg.png; the earlier y.png, the mask
    of y.jpg, would look like that of y.png.
    """
    taken = {job.target for job in jobs}
    for job in jobs:
        before = Path(str(rows.get(job.name, {}).get("mask", job.target)))
        if before == job.target or before in taken or not is_below(before):
            continue
        earlier, now = prediction.files(job, before).paths(), prediction.files(job).paths()
        moved = [
            old.rename(new)
            for old, new in zip(earlier, now, strict=True)
            if old.is_file() and not new.exists()
        ]
        if moved:
            rows[job.name]["mask"] = plain_name(job.target.as_posix())
            terminal.print_line(
                f"note: {plain_name(before.as_posix())}, an earlier mask of {job.name}, is renamed "
                f"{plain_name(job.target.as_posix())}, because another image has this name now"
            )


def _timeout(config: PredictConfig) -> Timeout:
    return Timeout(limit_s=config.timeout_s, key="timeout_s")


def _reading(job: Job) -> str:
    return f"reading {plain_name(str(job.path))}"


def _rows_before(table: Path) -> dict[str, Row]:
    """Rows of an earlier call by image; empty where the table cannot be read."""
    try:
        table_rows = csv.DictReader(io.StringIO(read_text(table), newline=""))
        rows = (dict(row) for row in table_rows if _is_text(row))
        # Up to version 0.1.0 the first column was called "photograph".
        named = ({"image": row.pop("photograph", ""), **row} for row in rows)
        return {row["image"]: row for row in map(_from_cells, named)}
    except (OSError, ValueError, KeyError, csv.Error):
        return {}


def _from_cells(row: Row) -> Row:
    return {key: from_cell(cell) for key, cell in row.items()}


def _is_text(row: Mapping[Any, Any]) -> bool:
    """Whether a row has exactly as many cells as the header."""
    return all(isinstance(part, str) for pair in row.items() for part in pair)


def _is_done(job: Job, prediction: ImagePipeline, rows: dict[str, Row]) -> bool:
    row = rows.get(job.name)
    if prediction.config.overwrite or row is None or not job.path.is_file():
        return False
    if not all(path.is_file() for path in prediction.files(job).paths()):
        return False
    try:
        return bool(row.get("sha256") == file_sha256(job.path))
    except OSError:
        return False


def _in_order(rows: dict[str, Row], jobs: Sequence[Job]) -> list[Row]:
    """Rows of this call's images in their order, then rows of earlier calls."""
    names = list(dict.fromkeys([*(job.name for job in jobs), *rows]))
    return [rows[name] for name in names if name in rows]
