"""Every key of the programs: its type, its allowed values and its range.

YAML files in configs/ choose values; nothing in YAML or in a checkpoint names code. A range or a
cross-field rule that is broken raises ConfigError with the dotted key, the value found, what is
allowed. Defaults live in the YAML files, so that each value is written once.
"""

from fundus_cli.config.base import (
    Device,
    Precision,
    checkpoint_names,
    require,
    require_threshold,
    to_plain,
)
from fundus_cli.config.check import CheckConfig
from fundus_cli.config.data import (
    DataConfig,
    DemoConfig,
    MaskChannel,
    Normalisation,
    OnBad,
    SplitConfig,
)
from fundus_cli.config.evaluate import (
    EvalConfig,
    EvalSplit,
)
from fundus_cli.config.export import ExportConfig, ExportFormat
from fundus_cli.config.predict import PredictConfig
from fundus_cli.config.report import ReportConfig
from fundus_cli.config.train import (
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

__all__ = [
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
