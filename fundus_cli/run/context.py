"""The surroundings of a program: terminal, signals, and the words of its command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fundus_cli.run.signals import StopRequest
from fundus_cli.run.terminal import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The surroundings of one call of a program.

    Attributes:
        terminal: where lines and progress bars go.
        stop: whether the operating system has asked the process to stop.
        words: the overrides as they were typed, for commands that a message suggests.
        arguments: every word after the program's name, as the run folder records it.
        data_changes: {key below `data`: value} of the keys that were typed; fundus-eval applies
            them to the data config of a checkpoint.
    """

    terminal: Terminal
    stop: StopRequest
    words: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    data_changes: Mapping[str, Any] = field(default_factory=dict)
