"""Every config key of the programs: type, allowed values and range.

The YAML files in configs/ hold the defaults, so that each value is written once. Nothing in YAML
or in a checkpoint can name code. A value out of range raises ConfigError with the dotted key, the
value found and what is allowed.
"""

from fundus_cli.config.base import (
    Device,
    Precision,
    checkpoint_names,
    require,
    require_threshold,
    to_plain,
)
from fundus_cli.config.check_config import CheckConfig
from fundus_cli.config.data_config import (
    DataConfig,
    DemoConfig,
    MaskChannel,
    Normalisation,
    OnBad,
    SplitConfig,
)
from fundus_cli.config.eval_config import (
    EvalConfig,
    EvalSplit,
)
from fundus_cli.config.export_config import ExportConfig, ExportFormat
from fundus_cli.config.predict_config import PredictConfig
from fundus_cli.config.report_config import ReportConfig
from fundus_cli.config.train_config import (
    AugmentConfig,
    LossConfig,
    LossName,
    ModelConfig,
    ModelName,
    OptimizerConfig,
    OptimizerName,
    SchedulerConfig,
    SchedulerName,
    TrackerName,
    TrainConfig,
)

SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "eval": EvalConfig,
    "predict": PredictConfig,
    "check": CheckConfig,
    "export": ExportConfig,
    "report": ReportConfig,
}
"""The config class of each program."""

__all__ = [
    "SCHEMAS",
    "AugmentConfig",
    "CheckConfig",
    "DataConfig",
    "DemoConfig",
    "Device",
    "EvalConfig",
    "EvalSplit",
    "ExportConfig",
    "ExportFormat",
    "LossConfig",
    "LossName",
    "MaskChannel",
    "ModelConfig",
    "ModelName",
    "Normalisation",
    "OnBad",
    "OptimizerConfig",
    "OptimizerName",
    "Precision",
    "PredictConfig",
    "ReportConfig",
    "SchedulerConfig",
    "SchedulerName",
    "SplitConfig",
    "TrackerName",
    "TrainConfig",
    "checkpoint_names",
    "require",
    "require_threshold",
    "to_plain",
]
