"""Write the files of an epoch besides its checkpoint: best.pt, log.csv and timing.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fundus_cli.errors import DataError
from fundus_cli.run.checkpoint import Checkpoint, Progress
from fundus_cli.run.files import link_whole, write_csv


def write_followers(folder: Path, progress: Progress, newest: Path) -> None:
    """Write best.pt, log.csv and timing.csv, which follow from the newest checkpoint.

    Args:
        folder: the run's.
        progress: as it stands in the checkpoint.
        newest: the checkpoint's file, which best.pt becomes a link to where its epoch is the best.
    """
    if progress.best_epoch == progress.epoch and progress.batch == 0:
        link_whole(newest, folder / "best.pt")
    write_csv(folder / "log.csv", progress.rows)
    write_csv(folder / "timing.csv", progress.timings)


def check_position(saved: Checkpoint) -> None:
    """Refuse a checkpoint whose counters and rows belong to no moment of a run.

    Raises:
        DataError: there are more or fewer rows than finished epochs, or batches without images.
    """
    at = saved.progress
    if len(at.rows) != at.epoch or (at.num_seen == 0) != (at.batch == 0):
        raise DataError(
            f"{saved.path}: {len(at.rows)} rows after {at.epoch} epochs, {at.num_seen} images "
            f"after {at.batch} batches: no run can be continued from there; start a new one with "
            "overwrite=true"
        )


def timing_row(progress: Progress, eval_seconds: float) -> dict[str, float]:
    """The row of timing.csv of the epoch that ends.

    Args:
        progress: with the epoch's seconds and images still in it.
        eval_seconds: of its test loss and validation.
    """
    return {
        "epoch": progress.epoch + 1,
        "train_s": round(progress.seconds, 3),
        "images_per_s": round(progress.num_seen / max(progress.seconds, 1e-9), 2),
        "eval_s": round(eval_seconds, 3),
    }


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """Format a row of log.csv as a line for the terminal."""
    line = f"Epoch: {row['epoch']}/{epochs}, Train Loss: {row['train_loss']:.4f}"
    line += f", Test Loss: {row['test_loss']:.4f}"
    if "val_dice" in row:
        line += f", Val Loss: {row['val_loss']:.4f}, Val Dice: {row['val_dice']:.4f}"
    return line
