"""The run folder is held by one process, and an earlier run is never written over."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fundus_cli.config import TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.errors import ConfigError, DataError, RunFolderError
from fundus_cli.run.folder import (
    check_unused,
    check_writable,
    holds_run,
    locked,
    read_summary,
    write_status,
)
from fundus_cli.run.resume import check_config, check_manifest, finished


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return compose_config("train", ("output=run",))


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    code = f"from fundus_cli.run.folder import locked\nwith locked({str(tmp_path / 'run')!r}): pass"
    with locked(str(tmp_path / "run")):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "RunFolderError" in result.stderr
    assert "in use by pid" in result.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom fundus_cli.run.folder import locked\n"
        f"with locked({str(tmp_path / 'run')!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with locked(str(tmp_path / "run")) as folder:
        assert (folder / ".lock").exists()


def test_an_earlier_run_is_refused_or_moved_aside(tmp_path: Path, config: TrainConfig) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_text("precious")
    here = replace(config, output=str(run))
    with pytest.raises(RunFolderError, match=r"resume=auto.*overwrite=true"):
        check_unused(here)
    check_unused(replace(here, resume="auto"))
    with locked(str(run), overwrite=True) as folder:
        assert not holds_run(folder)
    (aside,) = tmp_path.glob("run.before-*")
    assert (aside / "last.pt").read_text() == "precious"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="is a file"):
        check_writable(str(tmp_path / "file" / "run"))
    check_writable(str(tmp_path / "new" / "run"))
    assert {p.name for p in tmp_path.iterdir()} == {"file"}


def test_finished_is_read_from_json_alone(tmp_path: Path, config: TrainConfig) -> None:
    from fundus_cli.config import to_plain
    from fundus_cli.run.files import write_json

    here = replace(config, output=str(tmp_path), resume="auto")
    assert not finished(here)
    write_json(tmp_path / "config.json", to_plain(here))
    write_status(tmp_path, "running")
    assert not finished(here)
    write_status(tmp_path, "done")
    assert read_summary(tmp_path) == {"status": "done"}
    assert finished(here)
    assert not finished(replace(here, epochs=here.epochs + 1))
    assert not finished(replace(here, resume=None))
    with pytest.raises(ConfigError, match="batch_size: 8 -> 9"):
        finished(replace(here, batch_size=9))


def test_a_change_of_config_takes_effect_or_is_refused(config: TrainConfig) -> None:
    faster = replace(config, optimizer=replace(config.optimizer, lr=0.5), epochs=30)
    assert check_config(config, faster) == [
        f"resume: optimizer.lr {config.optimizer.lr} -> 0.5 from here on",
        f"resume: epochs {config.epochs} -> 30 from here on",
    ]
    for other in (
        replace(config, seed=1),
        replace(config, batch_size=4),
        replace(config, model=replace(config.model, base_channels=32)),
        replace(config, data=replace(config.data, patch_px=64)),
    ):
        with pytest.raises(ConfigError, match="cannot change during a run"):
            check_config(config, other)


def test_changed_data_is_listed_file_by_file() -> None:
    old = {"train": {"a": "1", "b": "2", "c": "3"}}
    new = {"train": {"a": "1", "b": "9", "d": "4"}}
    with pytest.raises(DataError) as caught:
        check_manifest(old, new, allow_change=False)
    for words in ("b changed", "c removed", "d added", "data.allow_change=true"):
        assert words in str(caught.value)
    assert len(check_manifest(old, new, allow_change=True)) == 3
    assert check_manifest(old, old, allow_change=False) == []
