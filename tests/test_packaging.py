"""What is installed is what runs: a wheel in a folder of its own finds its configs."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import PROJECT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project built as a wheel, from a copy so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("fundus_cli", "configs"):
        for path in (PROJECT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = source / path.relative_to(PROJECT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((PROJECT / name).read_bytes())
    build = (
        "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_holds_the_package_and_every_yaml_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    outside = [n for n in names if not re.match(r"fundus_cli/|fundus_cli-[^/]+\.dist-info/", n)]
    assert outside == []
    for path in (PROJECT / "configs").rglob("*.yaml"):
        assert f"fundus_cli/configs/{path.relative_to(PROJECT / 'configs').as_posix()}" in names
    for path in (PROJECT / "fundus_cli").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(PROJECT).as_posix() in names


def test_a_wheel_unpacked_elsewhere_composes_and_trains(wheel: Path, tmp_path: Path) -> None:
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    where = "import fundus_cli, fundus_cli.configs as c; print(fundus_cli.__file__, c.__path__[0])"

    def run(*command: str) -> str:
        result = subprocess.run(
            [sys.executable, *command],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert run("-c", where).count(str(installed)) == 2
    assert "base_channels: 8" in run("-m", "fundus_cli", "train", "--cfg", "job")
    assert list(empty.iterdir()) == []
    shown = run(
        *("-m", "fundus_cli", "train", "epochs=1", "data.demo.train=4", "data.demo.test=1"),
        *("data.demo.size_px=64", "data.patch_px=32", "model.base_channels=4", "model.depth=2"),
    )
    assert "Epoch: 1/1, Train Loss: " in shown
    assert "warning" not in shown
    assert len(list(empty.glob("outputs/train/*/report.html"))) == 1
