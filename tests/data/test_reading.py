"""Reading in threads: a hanging file is a one-line error, and exceptions reach the caller."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_tiny_set

from fundus_cli.config import DataConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data import reading
from fundus_cli.data.reading import read_samples
from fundus_cli.data.samples import Sample, UnusableFile, read_sample
from fundus_cli.data.templates import SampleFiles
from fundus_cli.errors import MachineError


@pytest.fixture
def wanted(tmp_path: Path) -> tuple[list[SampleFiles], DataConfig, Path]:
    root = write_tiny_set(tmp_path / "data", train=4, test=1)
    overrides = ("data=folder", f"data.root={root}", "output=x")
    config = compose_config("train", overrides)
    files = [
        SampleFiles(
            id=f"p{n}",
            image=root / "train_images" / f"p{n}.png",
            targets={"vessel": root / "train_masks" / f"p{n}.png"},
        )
        for n in range(4)
    ]
    return files, config.data, root


def test_the_order_is_that_of_the_files(
    wanted: tuple[list[SampleFiles], DataConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_first(files: SampleFiles, config: DataConfig, root: Path) -> Sample:
        time.sleep(0.2 if files.id == "p0" else 0)
        return read_sample(files, config, root)

    monkeypatch.setattr(reading, "read_sample", slow_first)
    totals: list[int] = []
    files, config, root = wanted
    samples = read_samples(files, replace(config, timeout_s=60), root, totals.append)
    assert [s.id for s in samples if isinstance(s, Sample)] == ["p0", "p1", "p2", "p3"]
    assert totals == [4, 4, 4, 4]


def test_a_read_that_never_returns_is_reported_in_time(
    wanted: tuple[list[SampleFiles], DataConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for_ever = threading.Event()

    def stuck(files: SampleFiles, config: DataConfig, root: Path) -> Sample:
        if files.id == "p2":
            for_ever.wait()
        raise UnusableFile(files.image, "not read at all, however slow the machine")

    monkeypatch.setattr(reading, "read_sample", stuck)
    files, config, root = wanted
    started = time.monotonic()
    with pytest.raises(
        MachineError, match=r"reading train_images/p2\.png has taken more than 0\.5"
    ):
        read_samples(files, replace(config, timeout_s=0.5), root)
    assert time.monotonic() - started < 10
    for_ever.set()


def test_exceptions_in_a_thread_reach_the_caller(
    wanted: tuple[list[SampleFiles], DataConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(files: SampleFiles, config: DataConfig, root: Path) -> Sample:
        raise MemoryError

    monkeypatch.setattr(reading, "read_sample", no_memory)
    with pytest.raises(MemoryError):
        read_samples(*wanted)


def test_no_files_give_no_samples(wanted: tuple[list[SampleFiles], DataConfig, Path]) -> None:
    _, config, root = wanted
    assert read_samples([], config, root) == []
