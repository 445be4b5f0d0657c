"""fundus-train: train a network and write checkpoints, logs and scores into the run folder.

Slow imports (torch, matplotlib) happen after the config and the files are checked.
"""

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_cli.commands.output_guard import check_output
from fundus_cli.commands.report import make_missing_report, make_report
from fundus_cli.config import TrainConfig
from fundus_cli.data.dataset import Dataset, load_dataset
from fundus_cli.errors import FundusError, Interrupted
from fundus_cli.report.tracker import check_tracker, tracked
from fundus_cli.run.context import Context
from fundus_cli.run.folder import check_unused, holds_run, locked, write_status
from fundus_cli.run.machine_errors import trouble
from fundus_cli.run.resume import (
    check_init_from,
    finished,
    held_out_before,
    unused_changes,
    will_resume,
)
from fundus_cli.run.terminal import Terminal
from fundus_cli.runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    from fundus_cli.commands.train_start import Start
    from fundus_cli.training.custom import CustomParts


def run(config: TrainConfig, context: Context, custom: "CustomParts | None" = None) -> None:
    """Check the config and the files, train, and score.

    Args:
        config: the run's.
        context: terminal and signals.
        custom: network, loss or optimizer that were given from Python.

    Raises:
        FundusError: with nothing lost but the steps since the last checkpoint.
    """
    check_output(config.output, data_root=config.data.root)
    check_unused(config)
    keep_freed_memory()
    terminal = context.terminal
    if finished(config):
        unused = unused_changes(config)
        terminal.print_line(
            f"output={config.output}: already complete; a larger epochs continues it"
            + f" (without effect now: {'; '.join(unused)})" * bool(unused)
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
    from fundus_cli.commands.train_start import prepare
    from fundus_cli.training.custom import CustomParts
    from fundus_cli.training.finetuning import load_pretrained

    context.stop.defer()
    terminal = context.terminal
    # Loaded first: the initial weights may be those of the run that is about to be moved.
    pretrained = None if will_resume(config) else load_pretrained(config)
    with locked(config.output, config.overwrite) as folder:
        check_unused(config)
        # What is refused up to here has not changed anything in the folder.
        start = prepare(folder, config, dataset, pretrained, context, custom or CustomParts())
        terminal.log_to(folder / "train.log")
        try:
            return _train_in(folder, config, dataset, start, context)
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
    folder: Path, config: TrainConfig, dataset: Dataset, start: "Start", context: Context
) -> dict[str, Any]:
    from fundus_cli.commands.train_start import begin, model_name

    started = time.monotonic()
    stop, terminal, trainer = context.stop, context.terminal, start.trainer
    begin(start, folder, config, dataset, context)
    name = f"{config.data.name}, {model_name(config, start.custom.names())}"

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
    summary = _finish(folder, config, dataset, start, context)
    summary["duration_s"] = round(time.monotonic() - started, 1)
    summary["warnings"] = terminal.warnings
    write_status(folder, "done", **summary)
    terminal.repeat_warnings()
    terminal.print_line(f"run folder: {folder}")
    stop.leave_at_once(f"the run is complete except for its page: fundus-report path={folder}")
    make_report(folder, terminal)
    return summary


def _finish(
    folder: Path,
    config: TrainConfig,
    dataset: Dataset,
    start: "Start",
    context: Context,
) -> dict[str, Any]:
    """Score best.pt exactly as fundus-eval does; returns the summary."""
    from fundus_cli.evaluation.scoring import score
    from fundus_cli.inference.ensembles import Member
    from fundus_cli.inference.loading import predictor_of
    from fundus_cli.report.score_files import print_scores, write_scores
    from fundus_cli.run import checkpoint

    stop, terminal, trainer = context.stop, context.terminal, start.trainer
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
    saved = checkpoint.load(best if best.exists() else folder / "last.pt", start.custom.model)
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
