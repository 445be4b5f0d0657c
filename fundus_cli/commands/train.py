"""fundus-train: train a network and write checkpoints, logs and scores into the run folder.

Slow imports (torch, matplotlib) happen after the config and the files are checked.
"""

import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_cli.commands.report import make_missing_report, make_report
from fundus_cli.config import TrainConfig, to_plain
from fundus_cli.data.dataset import Dataset, load_dataset
from fundus_cli.errors import FundusError, Interrupted
from fundus_cli.report.tracker import check_tracker, tracked
from fundus_cli.run.context import Context
from fundus_cli.run.environment import changes, describe
from fundus_cli.run.files import read_json, write_json
from fundus_cli.run.folder import check_unused, check_writable, holds_run, locked, write_status
from fundus_cli.run.machine_errors import trouble
from fundus_cli.run.resume import (
    check_config,
    check_init_from,
    check_manifest,
    finished,
    held_out_before,
    newest_checkpoint,
    will_resume,
)
from fundus_cli.run.terminal import Terminal
from fundus_cli.runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    from fundus_cli.run.checkpoint import Checkpoint
    from fundus_cli.training.custom import CustomParts
    from fundus_cli.training.loop import Trainer


def run(config: TrainConfig, context: Context, custom: "CustomParts | None" = None) -> None:
    """Check the config and the files, train, and score.

    Args:
        config: the run's.
        context: terminal and signals.
        custom: network, loss or optimizer that were given from Python.

    Raises:
        FundusError: with nothing lost but the steps since the last checkpoint.
    """
    check_unused(config)
    check_writable(config.output)
    keep_freed_memory()
    terminal = context.terminal
    if finished(config):
        terminal.print_line(
            f"output={config.output}: already complete; a larger epochs continues it"
        )
        with context.stop.unwinding():
            make_missing_report(config.output, terminal)
        return
    check_init_from(config)
    check_tracker(config)
    with context.stop.unwinding():
        dataset = load_dataset(
            config.data,
            progress=terminal.reading,
            generating=terminal.generating,
            held_out=held_out_before(config),
        )
    terminal.close_bar()
    train(config, dataset, context, custom)


def train(
    config: TrainConfig,
    dataset: Dataset,
    context: Context,
    custom: "CustomParts | None" = None,
) -> dict[str, Any]:
    """Train on checked images and score; returns the content of summary.json.

    Raises:
        FundusError: with nothing lost but the steps since the last checkpoint.
    """
    from fundus_cli.training.custom import CustomParts
    from fundus_cli.training.finetuning import load_pretrained

    context.stop.defer()
    terminal = context.terminal
    # Loaded first: the initial weights may be those of the run that is about to be moved.
    pretrained = None if will_resume(config) else load_pretrained(config)
    with locked(config.output, config.overwrite) as folder:
        check_unused(config)
        terminal.log_to(folder / "train.log")
        try:
            return _train_in(folder, config, dataset, pretrained, context, custom or CustomParts())
        except BaseException as error:
            _record_failure(folder, error, terminal)
            raise


def _record_failure(folder: Path, error: BaseException, terminal: Terminal) -> None:
    terminal.record(traceback.format_exc())
    if not holds_run(folder):
        return
    status = "stopped" if isinstance(error, Interrupted) else "failed"
    known = error if isinstance(error, FundusError | Interrupted) else trouble(error)
    code = known.exit_code if known else 1
    reason = str(known or error) or type(error).__name__
    try:
        write_status(folder, status, exit_code=code, reason=reason)
    except FundusError:
        terminal.record("the failure could not be recorded in summary.json")


def _train_in(
    folder: Path,
    config: TrainConfig,
    dataset: Dataset,
    pretrained: "Checkpoint | None",
    context: Context,
    custom: "CustomParts",
) -> dict[str, Any]:
    from fundus_cli.training.loop import Console, Trainer

    started = time.monotonic()
    stop, terminal = context.stop, context.terminal
    saved = None
    if config.resume:
        saved = newest_checkpoint(folder, terminal.print_line, custom.model)
    notes = _checked_resume(saved, config, dataset) if saved else []
    trainer = Trainer(
        config, dataset, folder, stop, Console(terminal.print_line, terminal.step), custom
    )
    if saved:
        trainer.restore(saved)
    elif pretrained:
        notes += trainer.load_initial_weights(pretrained)
    write_json(folder / "config.json", to_plain(config))
    environment = describe(
        trainer.device, str(trainer.learner.dtype).removeprefix("torch."), context.arguments
    )
    if saved:
        notes += changes(read_json(folder / "environment.json"), environment)
    write_json(folder / "environment.json", environment)
    write_json(folder / "splits.json", split_ids(dataset))
    write_status(folder, "running")
    for line in (*opening_lines(config, dataset, trainer), *dataset.warnings, *notes):
        terminal.print_line(line)
    name = f"{config.data.name}, {model_name(config, custom.names())}"

    def draw() -> None:
        # Imported after the first epoch, so that the first step does not wait for matplotlib.
        from fundus_cli.report.loss_curves import plot_curves

        plot_curves(trainer.progress.rows, folder / "curves.png", name)

    if trainer.progress.rows:
        draw()
    with tracked(config, folder, dataset, trainer.progress.epoch) as track:

        def after_epoch() -> None:
            draw()
            row = trainer.progress.rows[-1]
            track(row, trainer.predictor, trainer.threshold.value)

        trainer.fit(after_epoch)
    terminal.close_bar()
    summary = _finish(folder, config, dataset, trainer, context, custom)
    summary["duration_s"] = round(time.monotonic() - started, 1)
    summary["warnings"] = terminal.warnings
    write_status(folder, "done", **summary)
    terminal.repeat_warnings()
    terminal.print_line(f"run folder: {folder}")
    stop.leave_at_once(f"the run is complete except for its page: fundus-report path={folder}")
    make_report(folder, terminal)
    return summary


def _checked_resume(saved: "Checkpoint", config: TrainConfig, dataset: Dataset) -> list[str]:
    from fundus_cli.run.checkpoint import BEFORE

    notes = check_config(saved.config, config)
    manifest = {k: files for k, files in saved.manifest.items() if k != BEFORE}
    notes += check_manifest(manifest, dataset.manifest(), config.data.allow_change)
    progress = saved.progress
    return [*notes, f"resume: from epoch {progress.epoch + 1}, step {progress.step}"]


def split_ids(dataset: Dataset) -> dict[str, list[str]]:
    """The ids of each split."""
    ids = {split: [s.id for s in samples] for split, samples in dataset.samples.items()}
    return {**ids, "skipped": list(dataset.skipped)}


def model_name(config: TrainConfig, custom: Mapping[str, str]) -> str:
    """A short name of the network."""
    return custom.get("model", f"{config.model.name.value} {config.model.base_channels}")


def opening_lines(config: TrainConfig, dataset: Dataset, trainer: "Trainer") -> list[str]:
    """The first lines of a run: data set, network, and what is computed after each epoch."""
    sizes = ", ".join(f"{len(samples)} {split}" for split, samples in dataset.samples.items())
    weights = sum(p.numel() for p in trainer.learner.model.parameters())
    network = trainer.learner.custom.get("model", config.model.name.value)
    lines = [
        f"{config.data.name}: {sizes} images of {', '.join(dataset.structures)}",
        f"{network}, {weights:,} parameters, {trainer.num_batches} steps per epoch "
        f"on {trainer.device} in {str(trainer.learner.dtype).removeprefix('torch.')}",
    ]
    num_test, num_shown = len(dataset.samples.get("test", [])), len(trainer.test_samples)
    if num_shown < num_test:
        lines.append(f"test loss after each epoch: on {num_shown} of the {num_test} images")
    lines += [f"skipped: {name}" for name in dataset.skipped]
    return lines


def _finish(
    folder: Path,
    config: TrainConfig,
    dataset: Dataset,
    trainer: "Trainer",
    context: Context,
    custom: "CustomParts",
) -> dict[str, Any]:
    """Score best.pt exactly as fundus-eval does; returns the summary."""
    from fundus_cli.evaluation.scoring import score
    from fundus_cli.inference.ensembles import Member
    from fundus_cli.inference.loading import predictor_of
    from fundus_cli.report.score_files import print_scores, write_scores
    from fundus_cli.run import checkpoint

    stop, terminal = context.stop, context.terminal
    progress = trainer.progress
    summary: dict[str, Any] = {
        "epochs": config.epochs,
        "best_epoch": progress.best_epoch,
        "score": progress.best_score,
        "last": progress.rows[-1],
        "best": next((r for r in progress.rows if r["epoch"] == progress.best_epoch), None),
        "train_s": round(sum(row["train_s"] for row in progress.timings), 1),
        "num_parameters": sum(p.numel() for p in trainer.learner.model.parameters()),
    }
    best = folder / "best.pt"
    saved = checkpoint.load(best if best.exists() else folder / "last.pt", custom.model)
    split = next((s for s in ("test", "val") if dataset.samples.get(s)), None)
    if split is None:
        terminal.print_line("no test and no val images: nothing to score")
        return summary
    member = Member(
        name="",
        saved=saved,
        predictor=predictor_of(saved, trainer.device),
        samples=dataset.samples[split],
        threshold=saved.threshold,
    )

    def scored(total: int) -> None:
        terminal.scoring(total)
        stop.raise_if_asked(
            "training is complete; the same command with "
            f"output={config.output} and resume=auto scores it"
        )

    evaluation = score(member, config.data.name, split, progress=scored)
    terminal.close_bar()
    write_scores(folder, evaluation, member.predictor, member.samples, config.overlays, config.data)
    print_scores(evaluation, terminal.print_line)
    pooled = {name: evaluation.pooled(name) for name in dataset.structures}
    return {**summary, "scored_split": split, "pooled": pooled}
