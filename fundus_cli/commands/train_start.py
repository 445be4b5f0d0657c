"""The start of fundus-train: prepare a run or refuse it, then write its first files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fundus_cli.check.quick_look import misfit_warnings
from fundus_cli.config import TrainConfig, to_plain
from fundus_cli.data.dataset import Dataset
from fundus_cli.run.checkpoint import BEFORE, Checkpoint
from fundus_cli.run.context import Context
from fundus_cli.run.environment import changes, describe
from fundus_cli.run.files import read_json, write_json
from fundus_cli.run.folder import write_status
from fundus_cli.run.resume import Found, check_config, check_manifest, newest_checkpoint
from fundus_cli.training.custom import CustomParts
from fundus_cli.training.epoch_files import write_followers
from fundus_cli.training.loop import Console, Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run that is ready for its next step.

    Attributes:
        trainer: with the weights and the progress to start from.
        custom: the parts that came from Python.
        found: the checkpoint that it continues from; None for a new run.
        notes: lines about what changes.
    """

    trainer: Trainer
    custom: CustomParts
    found: Found | None
    notes: list[str]


def prepare(
    folder: Path,
    config: TrainConfig,
    dataset: Dataset,
    pretrained: Checkpoint | None,
    context: Context,
    custom: CustomParts,
) -> Start:
    """Build the trainer and load what the run continues from; changes nothing in the folder.

    Raises:
        FundusError: the run cannot continue with this config, these images or these files.
    """
    terminal = context.terminal
    found = newest_checkpoint(folder, custom.model) if config.resume else None
    notes = _checked_resume(found.saved, config, dataset) if found else []
    console = Console(terminal.print_line, terminal.step)
    trainer = Trainer(config, dataset, folder, context.stop, console, custom)
    if found:
        trainer.restore(found.saved)
    elif pretrained:
        notes += trainer.load_initial_weights(pretrained)
    return Start(trainer=trainer, custom=custom, found=found, notes=notes)


def begin(
    start: Start, folder: Path, config: TrainConfig, dataset: Dataset, context: Context
) -> None:
    """Write the files that a run starts with, and print its first lines."""
    trainer, found, notes = start.trainer, start.found, start.notes
    environment = describe(
        trainer.device, str(trainer.learner.dtype).removeprefix("torch."), context.arguments
    )
    if found:
        notes = [*found.make_newest(), *notes, *_finish_last_epoch(start, found, folder)]
        notes += changes(read_json(folder / "environment.json"), environment)
    write_json(folder / "config.json", to_plain(config))
    write_json(folder / "environment.json", environment)
    write_json(folder / "splits.json", split_ids(dataset))
    write_status(folder, "running")
    misfits = _misfits(config, dataset, context) if config.check_masks and not found else []
    opening = opening_lines(config, dataset, trainer)
    for line in (*opening, *dataset.warnings, *misfits, *notes):
        context.terminal.print_line(line)


def _misfits(config: TrainConfig, dataset: Dataset, context: Context) -> list[str]:
    words = [word for word in context.words if word.startswith("data")]
    command = " ".join(["fundus-check", *words])
    return misfit_warnings(dataset.samples, dataset.structures, command)


def _finish_last_epoch(start: Start, found: Found, folder: Path) -> list[str]:
    """Write what follows from the checkpoint, in case the run was killed before it did."""
    progress = start.trainer.progress
    if not progress.rows:
        return []
    write_followers(folder, progress, found.saved.path)
    if progress.best_epoch is None or (folder / "best.pt").exists():
        return []
    return [
        f"warning: best.pt of epoch {progress.best_epoch} is missing; unless a later epoch is "
        "better, the weights of the last one are scored"
    ]


def _checked_resume(saved: Checkpoint, config: TrainConfig, dataset: Dataset) -> list[str]:
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


def opening_lines(config: TrainConfig, dataset: Dataset, trainer: Trainer) -> list[str]:
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
