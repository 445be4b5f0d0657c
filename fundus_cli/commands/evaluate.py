"""fundus-eval: score checkpoints and write the result into a folder of its own."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fundus_cli.commands.output_guard import check_output
from fundus_cli.commands.report import make_report
from fundus_cli.config import DataConfig, EvalConfig, to_plain
from fundus_cli.config.typed import change_data
from fundus_cli.data.dataset import SPLITS, Dataset, load_dataset
from fundus_cli.errors import ConfigError, list_names
from fundus_cli.evaluation.evaluator import Evaluation
from fundus_cli.evaluation.members import member_rows, member_table
from fundus_cli.evaluation.own_images import (
    held_out_before,
    other_files,
    rooted,
    seen_in_training,
)
from fundus_cli.evaluation.scoring import samples_to_score, score, score_members
from fundus_cli.inference.ensembles import Ensemble, Member, check_agreement, member_names
from fundus_cli.inference.loading import predictor_of
from fundus_cli.inference.predictor import Predictor
from fundus_cli.report.score_files import print_scores, write_numbers, write_scores
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Checkpoint, Threshold, checkpoint_paths
from fundus_cli.run.context import Context
from fundus_cli.run.environment import describe
from fundus_cli.run.files import inside, write_csv, write_json
from fundus_cli.run.folder import locked, write_status
from fundus_cli.run.terminal import Terminal
from fundus_cli.runtime.device import choose_device
from fundus_cli.runtime.memory import keep_freed_memory

AS_TRAINED = "as_trained"
"""Name of the data preset that stands for the checkpoint's own data set."""


def data_config(config: EvalConfig, changes: Mapping[str, Any], saved: Checkpoint) -> DataConfig:
    """What to score: the checkpoint's own data set or another one.

    Working resolution and normalisation belong to the network and always come from the
    checkpoint; the camera's angle belongs to the images; how long to wait and how much memory to
    use belong to the command.
    """
    stored = saved.config.data
    if config.data.name == AS_TRAINED:
        own = config.data
        changed = change_data(stored, changes)
        if "root" not in changes:
            changed = rooted(changed, saved)
        return replace(changed, timeout_s=own.timeout_s, cache_gb=own.cache_gb)
    return replace(
        config.data,
        fov_diameter_px=stored.fov_diameter_px,
        normalisation=stored.normalisation,
    )


def run(config: EvalConfig, context: Context) -> None:
    """Score one or several checkpoints and write the result into a folder of its own.

    Raises:
        FundusError: a checkpoint or the images cannot be used.
    """
    check_output(config.output, data_root=config.data.root)
    keep_freed_memory()
    with context.stop.unwinding():
        evaluate(config, context)


def evaluate(config: EvalConfig, context: Context) -> Evaluation:
    """Score one or several checkpoints; returns the scores of the network or of the ensemble.

    Args:
        config: what to score, and where the result goes.
        context: terminal, signals, and the data keys that were typed.

    Raises:
        FundusError: a checkpoint or the images cannot be used.
    """
    started = time.monotonic()
    terminal, split = context.terminal, config.split.value
    saved = [checkpoint.load(path) for path in checkpoint_paths(config.checkpoints)]
    members, data, warnings = load_members(config, saved, context)
    first = members[0]
    with locked(config.output) as folder:
        terminal.log_to(folder / "eval.log")
        for line in warnings:
            terminal.print_line(line)
        scored = score_loaded(config, members, data.name, terminal)
        if scored.alone:
            _write_members(folder, scored, terminal)
        dtype = str(first.predictor.dtype).removeprefix("torch.")
        environment = describe(first.predictor.device, dtype, context.arguments)
        write_json(folder / "config.json", {**_plain(config), "data": to_plain(data)})
        write_json(folder / "environment.json", environment)
        evaluation, predictor = scored.evaluation, scored.predictor
        write_scores(folder, evaluation, predictor, first.samples, config.overlays, data)
        print_scores(evaluation, terminal.print_line)
        duration_s = round(time.monotonic() - started, 1)
        found = {"scored_split": split, "duration_s": duration_s, "warnings": terminal.warnings}
        write_status(folder, "done", **found)
        terminal.repeat_warnings()
        terminal.print_line(f"evaluation folder: {folder}")
        make_report(folder, terminal)
    return evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The scores of one network or of an ensemble.

    Attributes:
        evaluation: of the network, or of the ensemble.
        alone: {name: evaluation} of each member of an ensemble; empty for one network.
        predictor: the network, or the ensemble.
    """

    evaluation: Evaluation
    alone: Mapping[str, Evaluation]
    predictor: Predictor | Ensemble


def score_loaded(
    config: EvalConfig, members: Sequence[Member], data_name: str, terminal: Terminal
) -> Scored:
    """Score networks on their samples; writes nothing.

    Args:
        config: which split, threshold and metrics.
        members: the networks, from `load_members`.
        data_name: name of the data set, for the protocol.
        terminal: where the progress bar goes.
    """
    split = config.split.value
    options: dict[str, Any] = {
        "shape_metrics": config.shape_metrics,
        "progress": terminal.scoring,
    }
    predictor: Predictor | Ensemble = members[0].predictor
    alone: Mapping[str, Evaluation] = {}
    if len(members) == 1:
        evaluation = score(members[0], data_name, split, **options)
    else:
        predictor = Ensemble(members)
        given = _given_threshold(config)
        evaluation, alone = score_members(predictor, data_name, split, given, **options)
    terminal.close_bar()
    return Scored(evaluation=evaluation, alone=alone, predictor=predictor)


def _given_threshold(config: EvalConfig) -> Threshold | None:
    return None if isinstance(config.threshold, str) else Threshold(config.threshold, "given")


def _write_members(folder: Path, scored: Scored, terminal: Terminal) -> None:
    """Write the scores of an ensemble's members into members/ and members.csv."""
    for name, own in scored.alone.items():
        place = inside(folder / "members", name)
        place.mkdir(parents=True, exist_ok=True)
        write_numbers(place, own)
    write_csv(folder / "members.csv", member_rows(scored.evaluation))
    for line in member_table(scored.evaluation).splitlines():
        terminal.print_line(line)


def _plain(config: EvalConfig) -> dict[str, object]:
    plain = to_plain(config)
    assert isinstance(plain, dict)
    return plain


def check_same_images(saved: Sequence[Checkpoint], data: Sequence[DataConfig]) -> None:
    """Raise ConfigError when the checkpoints were trained on different data sets and none is
    given."""
    places = [(own.name, own.root, own.train, own.test) for own in data]
    others = [i for i, place in enumerate(places) if place != places[0]]
    if others:
        named = list_names(f"{saved[i].path}: {data[i].name} {data[i].root}" for i in others)
        raise ConfigError(
            f"data: {saved[0].path} was trained on {data[0].name} {data[0].root}, but {named}; "
            "choose the images to score with data=... data.root=..."
        )


def load_members(
    config: EvalConfig, saved: Sequence[Checkpoint], context: Context
) -> tuple[list[Member], DataConfig, list[str]]:
    """Build the networks and read their samples; files are read once per working resolution.

    Which images are scored follows from the first checkpoint's data config.

    Args:
        config: what to score; `checkpoint` and `output` are not looked at.
        saved: the checkpoints.
        context: terminal, and the data keys to change in the checkpoints' own data config.

    Returns:
        The networks with their samples, the data config of these, and warnings to print.

    Raises:
        FundusError: the checkpoints do not agree, or the images cannot be used.
    """
    terminal = context.terminal
    check_agreement(saved, on=("structures",))
    prepared = [data_config(config, context.data_changes, own) for own in saved]
    is_own = config.data.name == AS_TRAINED
    if is_own:
        check_same_images(saved, prepared)
    held_out = held_out_before(saved[0], context.data_changes) if is_own else ()
    device = choose_device(config.device)
    split = config.split.value
    wanted = SPLITS if split == "all" else (split,)
    datasets: dict[int | None, Dataset] = {}
    given = _given_threshold(config)
    generating = None if is_own else terminal.generating
    members = []
    names = member_names([own.path for own in saved])
    for name, own, data in zip(names, saved, prepared, strict=True):
        predictor = predictor_of(own, device, config.precision, config.tta)
        size = data.fov_diameter_px
        if size not in datasets:
            same_files = replace(prepared[0], fov_diameter_px=size, allow_odd_masks=True)
            datasets[size] = load_dataset(
                same_files, wanted, terminal.reading, generating, held_out
            )
            terminal.close_bar()
        structures = own.config.data.structures
        members.append(
            Member(
                name=name,
                saved=own,
                predictor=predictor,
                samples=samples_to_score(datasets[size], prepared[0].name, split, structures),
                threshold=given or own.threshold,
            )
        )
    dataset = datasets[prepared[0].fov_diameter_px]
    others = other_files(saved[0], dataset, wanted, context.data_changes) if is_own else []
    return members, prepared[0], [*dataset.warnings, *others, *seen_in_training(members, split)]
