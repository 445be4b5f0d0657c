"""fundus-cli: train networks that segment retinal images, and use them.

>>> import fundus_cli as fundus
>>> network = fundus.load("outputs/train/mine")
>>> result = network.predict("eye.jpg")
>>> result.mask("vessel")

The names below are imported when they are first used, so that `import fundus_cli` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fundus_cli.api import Evaluation, Network, Prediction, TrainingRun, load, train
    from fundus_cli.config.compose import compose_config
    from fundus_cli.errors import (
        ConfigError,
        DataError,
        DivergedError,
        FundusError,
        MachineError,
        RunFolderError,
    )

__all__ = [
    "ConfigError",
    "DataError",
    "DivergedError",
    "Evaluation",
    "FundusError",
    "MachineError",
    "Network",
    "Prediction",
    "RunFolderError",
    "TrainingRun",
    "__version__",
    "compose_config",
    "load",
    "train",
]

_MODULES = {
    **dict.fromkeys(
        ("Evaluation", "Network", "Prediction", "TrainingRun", "load", "train"), "fundus_cli.api"
    ),
    "compose_config": "fundus_cli.config.compose",
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "fundus_cli.errors"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fundus_cli' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
