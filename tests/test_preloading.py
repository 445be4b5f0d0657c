"""What a run imports, and when: the first step waits for nothing that comes later."""

import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ONE_THREAD, SMALL

from fundus_cli.preloading import importing

WATCHED = ("torch._dynamo", "torch._inductor", "sympy", "matplotlib", "skimage", "jinja2", "hydra")
RUN = f"""
import sys
from fundus_cli.terminal import Terminal
from fundus_cli.cli import main

def told(name):
    print(name, *sorted(set({WATCHED}) & set(sys.modules)))

def step(self, epoch, done, total):
    if (epoch, done) == (1, 1):
        told("first step:")

Terminal.step = step
sys.argv[0] = "fundus-train"
code = main("train")
told("end:")
sys.exit(code)
"""


def test_a_run_imports_late_what_it_needs_late_and_the_compiler_never(
    tmp_path: Path, shared_tiny_set: Path
) -> None:
    arguments = ["data=folder", f"data.root={shared_tiny_set}", "output=run", *SMALL]
    result = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=tmp_path,
        env={"PATH": "", "HOME": str(tmp_path), **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "first step: hydra" in lines
    # Drawing and scoring have come in by now; PyTorch's compiler, 1.5 s of imports, has not.
    assert "end: hydra jinja2 matplotlib skimage" in lines


def module(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    return name


def test_a_module_is_imported_beside_the_block_and_ready_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "import gc, threading, time\ntime.sleep(0.3)\nthread = threading.current_thread()\n"
    name = module(tmp_path, "imported_beside", text + "collected = gc.isenabled()\n")
    interval = sys.getswitchinterval()
    with importing(name) as begin:
        assert name not in sys.modules
        begin()
        begin()
        assert not hasattr(sys.modules.get(name), "collected")
        assert sys.getswitchinterval() < interval
    found = sys.modules[name]
    assert found.thread is not threading.main_thread()
    assert not found.collected
    assert gc.isenabled()
    assert sys.getswitchinterval() == pytest.approx(interval)


def test_a_failed_import_is_told_where_the_module_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = module(tmp_path, "fails_beside", "raise ImportError('no such library')\n")
    with importing(name) as begin:
        begin()
    assert gc.isenabled()
    with pytest.raises(ImportError, match="no such library"):
        __import__(name)


def test_an_error_in_the_block_waits_for_the_import_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = module(tmp_path, "finished_beside", "import time\ntime.sleep(0.2)\ndone = True\n")
    with pytest.raises(ValueError, match="the block's own"), importing(name) as begin:
        begin()
        raise ValueError("the block's own")
    assert sys.modules[name].done


def test_nothing_is_imported_for_what_fails_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = module(tmp_path, "never_beside", "done = True\n")
    interval = sys.getswitchinterval()
    with pytest.raises(ValueError, match="no such folder"), importing(name):
        raise ValueError("no such folder")
    assert name not in sys.modules
    assert sys.getswitchinterval() == interval
