"""The Python API: load a network, predict, evaluate, train.

The console scripts call the same functions, so the numbers are equal. What a script prints as an
error is raised here, as a class of `fundus_cli.errors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from fundus_cli.commands.evaluate import load_members, score_loaded
from fundus_cli.commands.train import run as run_training
from fundus_cli.config import Device, EvalConfig, Precision, TrainConfig
from fundus_cli.config.compose import compose_config, set_keys
from fundus_cli.config.idle_keys import without_effect
from fundus_cli.config.overrides import data_changes, parse_overrides, quoted
from fundus_cli.errors import ConfigError
from fundus_cli.evaluation.evaluator import Evaluation
from fundus_cli.inference.network import Prediction, SegmentationNetwork
from fundus_cli.run.context import Context
from fundus_cli.run.folder import read_summary
from fundus_cli.run.signals import StopRequest
from fundus_cli.run.terminal import Terminal
from fundus_cli.training.custom import CustomParts, OptimizerFactory
from fundus_cli.training.losses import Loss

__all__ = ["Evaluation", "Network", "Prediction", "TrainingRun", "load", "train"]

Choice = TypeVar("Choice", Device, Precision)

REPLACED = {
    "model": ("model", "model."),
    "loss": ("loss", "loss."),
    "optimizer": ("optimizer", "optimizer.weight_decay", "optimizer.momentum", "optimizer.name"),
}
"""Overrides that have no effect where the part comes from Python; the learning rate has one."""


class Network(SegmentationNetwork):
    """A trained network, or an ensemble of several: `predict` for masks, `evaluate` for scores."""

    def evaluate(
        self,
        data: str | None = None,
        *,
        root: str | Path | None = None,
        split: str = "test",
        overrides: Sequence[str] = (),
        verbose: bool = False,
    ) -> Evaluation:
        """Score the network on labelled images, exactly as fundus-eval does; writes nothing.

        Args:
            data: a data preset such as `stare` or `folder`; None: the network's own data set.
            root: folder of the data set; None: where it was during training.
            split: `train`, `val`, `test` or `all`.
            overrides: more words of fundus-eval, as in `["shape_metrics=false"]`.
            verbose: print warnings and progress bars.

        Returns:
            The scores: `scores.pooled("vessel")["dice"]`, `scores.rows` per image,
            `scores.protocol.sentence("fov")`, and `scores.to_plain()`, the content of metrics.json.

        Raises:
            ConfigError: a key, a choice or a value does not exist.
            DataError: the images cannot be used, or have other structures than the network.
        """
        words = self._eval_words(data, root, split, overrides)
        config: EvalConfig = compose_config("eval", words)
        with Terminal(quiet=not verbose) as terminal:
            changes = data_changes(parse_overrides(words))
            context = Context(terminal=terminal, stop=StopRequest(), data_changes=changes)
            members, scored_data, warnings = load_members(config, self.members, context)
            for line in warnings:
                terminal.print_line(line)
            return score_loaded(config, members, scored_data.name, terminal).evaluation

    def _eval_words(
        self, data: str | None, root: str | Path | None, split: str, overrides: Sequence[str]
    ) -> list[str]:
        """The words of fundus-eval for this network as it was loaded."""
        dtype = str(self.predictor.dtype).removeprefix("torch.")
        words = [
            quoted("checkpoint", str(self.members[0].path)),
            f"split={split}",
            f"device={self.predictor.device.type}",
            f"precision={dtype}",
            f"tta={str(self.predictor.tta).lower()}",
        ]
        if self.threshold.origin == "given":
            words.append(f"threshold={self.threshold.value!r}")
        if data is not None:
            words.append(f"data={data}")
        if root is not None:
            words.append(quoted("data.root", str(root)))
        given = {word.partition("=")[0] for word in overrides}
        return [*(word for word in words if word.partition("=")[0] not in given), *overrides]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """A finished run.

    Attributes:
        folder: the run folder, with checkpoints, logs, scores and report.html.
        config: the config that was trained.
        summary: the content of summary.json.
        model: the module that was given to `train`, if any.
    """

    folder: Path
    config: TrainConfig
    summary: dict[str, Any]
    model: nn.Module | None = None

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """{structure: {metric: value}}, pooled over the scored images inside the field of view.

        Empty where there was neither a test nor a validation image to score.
        """
        scores: dict[str, dict[str, float]] = self.summary.get("pooled", {})
        return scores

    def load(self) -> Network:
        """The network of the run's best epoch."""
        return load(self.folder, model=self.model)


def load(
    checkpoint: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    precision: str | None = None,
    threshold: float | None = None,
    tta: bool | None = None,
    model: nn.Module | None = None,
) -> Network:
    """Load a trained network, or several as an ensemble whose logits are averaged.

    Args:
        checkpoint: a checkpoint file, a run folder (its best checkpoint), a folder of runs, or a
            list of these.
        device: `auto`, `cpu`, `cuda` or `mps`; auto takes a GPU when there is one.
        precision: `auto`, `float32` or `bfloat16`; None: as in training.
        threshold: probability from which a pixel counts, 0 to 1; None: the one that training chose.
        tta: average over four flips of each image; None: as in training.
        model: an instance of the network class, for checkpoints of `train(model=...)`.

    Raises:
        ConfigError: there is no such file, or a value is out of range.
        DataError: a checkpoint is damaged or foreign, or the members cannot be averaged.
    """
    names = [checkpoint] if isinstance(checkpoint, str | Path) else checkpoint
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f"threshold={threshold}: must be a number between 0 and 1")
    return Network.load(
        [str(name) for name in names],
        device=_choice(Device, "device", device),
        precision=None if precision is None else _choice(Precision, "precision", precision),
        threshold=threshold,
        tta=tta,
        model=model,
    )


def train(
    overrides: Sequence[str] = (),
    *,
    model: nn.Module | None = None,
    loss: Loss | None = None,
    optimizer: OptimizerFactory | None = None,
    config_dir: str | Path | None = None,
    verbose: bool = True,
) -> TrainingRun:
    """Train a network, exactly as fundus-train does with the same words.

    Args:
        overrides: the words of fundus-train, as in `["data=chasedb1", "epochs=5"]`.
        model: a network of your own, trained in place: (N, 3, H, W) float to logits (N, S, H, W)
            of the S structures, for any H and W.
        loss: a loss of your own: loss(logits, target, fov_mask) -> scalar tensor, with logits and
            target (N, S, H, W) and fov_mask (N, 1, H, W) bool.
        optimizer: called once with the list of parameters, returns an optimizer over them; its
            learning rate is set before each step from optimizer.lr and the scheduler.
        config_dir: a folder with YAML files of your own, as `--config-dir` has it.
        verbose: print what fundus-train prints.

    Returns:
        The run: `run.folder`, `run.scores`, `run.load()`.

    Raises:
        ConfigError: a key, a choice or a value does not exist; or an override has no effect because
            the part that it belongs to is given here.
        DataError: the images cannot be used.
        DivergedError: the loss is not finite.
        MachineError: disk or memory ran out; `resume=auto` continues.
        RunFolderError: `output` holds another run.
    """
    custom = CustomParts(model=model, loss=loss, optimizer=optimizer)
    _check_effect(overrides, custom)
    folder = None if config_dir is None else Path(config_dir)
    config: TrainConfig = compose_config("train", overrides, folder)
    with Terminal(quiet=not verbose) as terminal:
        words = tuple(overrides)
        context = Context(terminal=terminal, stop=StopRequest(), words=words, arguments=words)
        for warning in without_effect(config, set_keys("train", words, folder)):
            terminal.print_line(warning)
        run_training(config, context, custom)
    output = Path(config.output)
    summary = read_summary(output) or {}
    return TrainingRun(folder=output, config=config, summary=summary, model=model)


def _choice(kind: type[Choice], key: str, value: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(member.value for member in kind)
        raise ConfigError(f"{key}={value}: must be {allowed}") from None


def _check_effect(overrides: Sequence[str], custom: CustomParts) -> None:
    """Raise ConfigError for an override of a part that comes from Python."""
    for part in custom.names():
        for word in overrides:
            key = word.partition("=")[0]
            if key in REPLACED[part] or (part != "optimizer" and key.startswith(f"{part}.")):
                raise ConfigError(
                    f"{word}: has no effect, because {part}=... is given from Python; leave one out"
                )
