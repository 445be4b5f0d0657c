"""Find keys that the rest of a config makes meaningless, so that nobody sets them in vain."""

from collections.abc import Iterable, Iterator

from fundus_cli.config.check_config import CheckConfig
from fundus_cli.config.data_config import DataConfig
from fundus_cli.config.eval_config import EvalConfig, EvalSplit
from fundus_cli.config.export_config import ExportConfig, ExportFormat
from fundus_cli.config.report_config import ReportConfig
from fundus_cli.config.train_config import LossName, OptimizerName, SchedulerName, TrainConfig

TRAINING_KEYS = (
    "patch_px",
    "patches_per_epoch",
    "patches_per_image",
    "allow_change",
    "allow_odd_masks",
)
"""Keys below `data` that matter to training alone."""

NOT_CHECKED = ("normalisation", "fov_diameter_px", "fov_angle_deg", "cache_gb")
"""Further keys below `data` that fundus-check does not use."""


def idle_keys(config: object) -> dict[str, str]:
    """{key without effect: what makes it so}; a key also stands for all keys below it.

    Args:
        config: the checked config of any program.
    """
    match config:
        case TrainConfig():
            return dict([*_idle_in_training(config), *_idle_data(config.data)])
        case EvalConfig():
            return dict(_idle_in_evaluation(config))
        case CheckConfig():
            keys = (*TRAINING_KEYS, *NOT_CHECKED)
            unused = {f"data.{key}": "fundus-check does not use it" for key in keys}
            return unused | dict(_idle_data(config.data))
        case ExportConfig(format=ExportFormat.safetensors):
            return {"tta": "format=safetensors holds the weights alone"}
        case ReportConfig() if len(config.paths) == 1:
            return {"output": "the page goes into the folder that path names"}
    return {}


def without_effect(config: object, typed: Iterable[str]) -> list[str]:
    """A warning for every key that was set in vain.

    Args:
        config: the checked config of any program.
        typed: the keys that the user has set, as in `data.patch_px`.
    """
    idle = idle_keys(config)
    return [
        f"warning: {key} has no effect: {reason}"
        for key in dict.fromkeys(typed)
        for above, reason in idle.items()
        if key == above or key.startswith(above + ".")
    ]


def _idle_in_training(config: TrainConfig) -> Iterator[tuple[str, str]]:
    data = config.data
    if data.patch_px is None:
        for key in ("patches_per_epoch", "patches_per_image"):
            yield f"data.{key}", "data.patch_px=null trains on whole images"
    elif data.patches_per_image is not None:
        reason = f"data.patches_per_image={data.patches_per_image} decides; set it to null"
        yield "data.patches_per_epoch", reason
    if data.fov_diameter_px is None:
        yield "data.fov_angle_deg", "data.fov_diameter_px=null keeps images at their own size"
    if config.resume is None:
        yield "data.allow_change", "resume=null starts a new run"
    if config.loss.name is LossName.bce:
        yield "loss.dice_weight", "loss=bce is cross-entropy alone; loss=bce_dice has both"
    if config.optimizer.name in (OptimizerName.adam, OptimizerName.adamw):
        reason = f"optimizer={config.optimizer.name.value} has none; muon and sgd have one"
        yield "optimizer.momentum", reason
    if config.scheduler.name is SchedulerName.constant:
        for key in ("warmup_fraction", "final_fraction"):
            yield f"scheduler.{key}", "scheduler=constant keeps the learning rate"


def _idle_data(data: DataConfig) -> Iterator[tuple[str, str]]:
    if data.folds is None:
        yield "data.fold", "data.folds=null makes no folds"
    else:
        yield "data.val_fraction", f"data.folds={data.folds} decides what is held out"
    if data.name != "demo":
        yield "data.demo", f"data={data.name} reads images; only data=demo generates them"
    for name, split in (("train", data.train), ("test", data.test)):
        if split is not None and split.fov is None:
            yield f"data.{name}.fov_optional", f"data.{name}.fov=null names no masks"


def _idle_in_evaluation(config: EvalConfig) -> Iterator[tuple[str, str]]:
    for key in TRAINING_KEYS:
        yield f"data.{key}", "it matters to training alone"
    if config.data.name != "as_trained":
        for key in ("fov_diameter_px", "normalisation"):
            yield f"data.{key}", "the checkpoint's own is used, because the network depends on it"
        yield from _idle_data(config.data)
    if config.split is EvalSplit.test:
        for key in ("train", "val_fraction", "folds", "fold"):
            yield f"data.{key}", "split=test scores no image of train"
    elif config.split is not EvalSplit.all:
        yield "data.test", f"split={config.split.value} scores no image of test"
