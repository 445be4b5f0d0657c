"""fundus-eval behind the door: a checkpoint and photographs in, scores and overlays out."""

from collections.abc import Sequence
from dataclasses import replace

from fundus_cli.compose import change_data
from fundus_cli.config import DataConfig, EvalConfig, to_plain
from fundus_cli.data.dataset import SPLITS, Dataset, load_dataset
from fundus_cli.evaluation.evaluate import Evaluation
from fundus_cli.run import checkpoint
from fundus_cli.run.checkpoint import Checkpoint, Threshold, checkpoint_path
from fundus_cli.run.environment import describe
from fundus_cli.run.files import write_json
from fundus_cli.run.folder import held
from fundus_cli.runtime import choose_device
from fundus_cli.scoring import predictor_of, say_scores, score, split_samples, write_scores
from fundus_cli.terminal import Terminal

AS_TRAINED = "as_trained"
"""Name of the data preset that stands for the checkpoint's own."""


def data_config(
    config: EvalConfig, data_overrides: Sequence[str], stored: DataConfig
) -> DataConfig:
    """What to score: the checkpoint's own data set or another one.

    How photographs are prepared for the network belongs to the network, so it always comes from
    the checkpoint.
    """
    if config.data.name == AS_TRAINED:
        return change_data(stored, data_overrides)
    return replace(
        config.data,
        fov_diameter_px=stored.fov_diameter_px,
        normalisation=stored.normalisation,
    )


def evaluate(config: EvalConfig, data_overrides: Sequence[str], terminal: Terminal) -> Evaluation:
    """Score a checkpoint and write the result into a folder of its own.

    Raises:
        FundusError: the checkpoint or the photographs cannot be used.
    """
    saved = checkpoint.load(checkpoint_path(config.checkpoint))
    data = data_config(config, data_overrides, saved.config.data)
    device = choose_device(config.device)
    predictor = predictor_of(saved, device, config.precision, config.tta)
    split = config.split.value
    wanted = SPLITS if split == "all" else (split,)
    dataset = load_dataset(data, wanted, terminal.reading, terminal.drawing)
    terminal.close_bar()
    threshold = saved.threshold
    if not isinstance(config.threshold, str):
        threshold = Threshold(float(config.threshold), "given")
    with held(config.output) as folder:
        terminal.log_to(folder / "eval.log")
        for line in (*dataset.warnings, *seen_in_training(saved, dataset, split)):
            terminal.say(line)
        evaluation = score(saved, predictor, dataset, data.name, split, threshold)
        dtype = str(predictor.dtype).removeprefix("torch.")
        write_json(folder / "config.json", {**_plain(config), "data": to_plain(data)})
        write_json(folder / "environment.json", describe(device, dtype))
        write_scores(folder, evaluation, predictor, dataset, config.overlays, data.max_megapixels)
        say_scores(evaluation, terminal.say)
        terminal.say(f"evaluation folder: {folder}")
    return evaluation


def _plain(config: EvalConfig) -> dict[str, object]:
    plain = to_plain(config)
    assert isinstance(plain, dict)
    return plain


def seen_in_training(saved: Checkpoint, dataset: Dataset, split: str) -> list[str]:
    """A warning when photographs to score are among those the network was trained on."""
    trained_on = set(saved.manifest.get("train", {}).values())
    seen = [sample.id for sample in split_samples(dataset, split) if sample.file_hash in trained_on]
    if not seen:
        return []
    return [
        f"warning: {len(seen)} of these photographs were trained on, so their score says nothing "
        f"about new ones: {', '.join(seen)}"
    ]
