"""tracker=tensorboard: what the event file says is what log.csv says."""

import csv
import importlib.util
from pathlib import Path

import pytest
from conftest import RunCommand, small

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.errors import ConfigError
from fundus_cli.report.tracker import TAGS, check_tracker

HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_losses_metrics_and_overlays_are_in_the_event_file(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = [f"data.root={shared_tiny_set}", "output=run", "tracker=tensorboard", *small()]
    result = command("train", *arguments)
    assert result.returncode == 0, result.stderr
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    for key, tag in TAGS.items():
        told = [(event.step, event.value) for event in events.Scalars(tag)]
        assert told == [(int(row["epoch"]), pytest.approx(float(row[key]))) for row in rows]
    images = events.Tags()["images"]
    assert len(images) == 1
    assert images[0].startswith("vessel/p")
    assert [image.step for image in events.Images(images[0])] == [1, 2]


def typed(*overrides: str) -> TrainConfig:
    return compose_config("train", overrides)


def test_a_missing_tracker_is_named_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_tracker(typed())
    with pytest.raises(ConfigError, match=r"pip install 'fundus-cli\[tensorboard\]'"):
        check_tracker(typed("tracker=tensorboard"))
