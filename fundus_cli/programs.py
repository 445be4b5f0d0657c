"""The table of programs: what each console script checks, and what runs behind it.

Imports no torch, so that --help and every config error answer at once; what needs it is imported
when a program runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_cli.config import (
    CheckConfig,
    EvalConfig,
    ExportConfig,
    PredictConfig,
    ReportConfig,
    TrainConfig,
)
from fundus_cli.memory import keep_freed_memory
from fundus_cli.preloading import importing
from fundus_cli.run.folder import check_unused, check_writable
from fundus_cli.run.resume import check_init_from, finished
from fundus_cli.run.signals import StopRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line before Hydra reads it."""

    overrides: list[str]
    multirun: bool = False
    debug: bool = False
    config_dir: Path | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One console script.

    Attributes:
        name: `train` for fundus-train; its keys are in configs/<name>.yaml.
        schema: the dataclass of its config.
        groups: config groups that can be chosen as group=name.
        run: does the work once the config is known to be right.
    """

    name: str
    schema: type
    groups: tuple[str, ...]
    run: Callable[[Any, Arguments, StopRequest], None]


def _run_train(config: TrainConfig, arguments: Arguments, stop: StopRequest) -> None:
    from fundus_cli.terminal import Terminal

    check_unused(config)
    check_writable(config.output)
    keep_freed_memory()
    with Terminal() as terminal:
        if finished(config):
            terminal.say(f"output={config.output}: already complete; a larger epochs continues it")
            from fundus_cli.reporting import mend_report

            with stop.unwinding():
                mend_report(config.output, terminal)
            return
        check_init_from(config)
        from fundus_cli.tracking import check_tracker

        check_tracker(config)
        from fundus_cli.data.dataset import load_dataset

        with importing("torch") as begin, stop.unwinding():

            def reading(total: int) -> None:
                # From the first photograph on: that all files are there is told before.
                begin()
                terminal.reading(total)

            dataset = load_dataset(config.data, progress=reading, drawing=terminal.drawing)
        terminal.close_bar()
        from fundus_cli.train import train

        train(config, dataset, stop, terminal)


def _run_eval(config: EvalConfig, arguments: Arguments, stop: StopRequest) -> None:
    check_writable(config.output)
    keep_freed_memory()
    from fundus_cli.evaluate import evaluate
    from fundus_cli.terminal import Terminal

    with Terminal() as terminal, stop.unwinding():
        evaluate(config, arguments.overrides, terminal)


def _run_predict(config: PredictConfig, arguments: Arguments, stop: StopRequest) -> None:
    check_writable(config.output)
    keep_freed_memory()
    from fundus_cli.predict import predict
    from fundus_cli.terminal import Terminal

    with Terminal() as terminal:
        predict(config, stop, terminal)


def _run_export(config: ExportConfig, arguments: Arguments, stop: StopRequest) -> None:
    from fundus_cli.export import export

    with stop.unwinding():
        print(f"exported: {export(config, print)}")


def _run_report(config: ReportConfig, arguments: Arguments, stop: StopRequest) -> None:
    from fundus_cli.reporting import report
    from fundus_cli.terminal import Terminal

    with Terminal() as terminal, stop.unwinding():
        report(config, terminal)


def _run_check(config: CheckConfig, arguments: Arguments, stop: StopRequest) -> None:
    check_writable(config.output)
    from fundus_cli.check.command import check
    from fundus_cli.terminal import Terminal

    with Terminal() as terminal, stop.unwinding():
        check(config, arguments.overrides, terminal)


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            name="train",
            schema=TrainConfig,
            groups=("data", "model", "loss", "optimizer", "scheduler", "augment", "experiment"),
            run=_run_train,
        ),
        Program(name="eval", schema=EvalConfig, groups=("data",), run=_run_eval),
        Program(name="report", schema=ReportConfig, groups=(), run=_run_report),
        Program(name="check", schema=CheckConfig, groups=("data",), run=_run_check),
        Program(name="predict", schema=PredictConfig, groups=(), run=_run_predict),
        Program(name="export", schema=ExportConfig, groups=(), run=_run_export),
    )
}
