"""Properties of the whole project: imports follow the arrows, the doors stay light, no pickles."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fundus_cli"

LEAVES = {"errors", "randomness", "", "runtime", "memory"}
ALLOWED = {
    "errors": set(),
    "randomness": set(),
    "config": {"errors", "config"},
    "overrides": {"errors"},
    "compose": {"errors", "config", "overrides"},
    "runtime": {"errors", "config"},
    "memory": set(),
    "terminal": set(),
    "help_page": {"", "overrides"},
    "data": {"errors", "config", "randomness", "data"},
    "model": {"model"},
    "run": {"", "errors", "config", "compose", "run"},
    "evaluation": {"randomness", "data", "evaluation"},
    "inference": {"errors", "config", "runtime", "data", "run", "inference"},
    "report": {"", "errors", "config", "compose", "overrides", "evaluation", "run", "report"},
    "tracking": {"errors", "config", "data", "inference", "report"},
    "reporting": {"errors", "config", "run", "report", "terminal"},
    "training": {
        *("errors", "config", "runtime", "data", "model", "run", "inference", "evaluation"),
        "training",
    },
    "scoring": {
        *("errors", "config", "runtime", "data", "run", "inference", "evaluation", "report"),
        "training",
    },
    "train": {
        *("errors", "config", "data", "run", "report", "reporting", "training", "scoring"),
        *("terminal", "tracking"),
    },
    "ensemble": {"errors", "data", "run", "inference", "evaluation", "scoring"},
    "check": {"errors", "config", "overrides", "data", "run", "check", "terminal"},
    "evaluate": {
        "config",
        "errors",
        "ensemble",
        "inference",
        "compose",
        "runtime",
        "data",
        "run",
        "evaluation",
        "reporting",
        "scoring",
        "terminal",
    },
    "prediction": {"config", "data", "inference", "report"},
    "predict": {
        *("", "errors", "config", "runtime", "data", "run", "inference", "prediction", "scoring"),
        "terminal",
    },
    "export": {"", "errors", "config", "data", "run", "runtime", "inference", "scoring"},
    "sweep": {"errors", "compose", "overrides", "report", "run", "job"},
    "job": {"overrides", "report", "run"},
    "preloading": set(),
    "programs": {
        "memory",
        "preloading",
        "check",
        "export",
        "predict",
        "config",
        "data",
        "run",
        "terminal",
        "train",
        "evaluate",
        "reporting",
        "tracking",
    },
    "command": {
        *("", "errors", "config", "compose", "overrides", "help_page", "programs", "run", "sweep"),
    },
    "cli": {"errors", "run", "command"},
    "__main__": {"cli"},
    "__init__": set(),
}
STRICT_LEAVES = {"model/batch_norm.py": set(), "training/loss.py": {"config"}}


def part(module: str) -> str:
    """fundus_cli.data.images -> data; fundus_cli.config -> config."""
    return [*module.split("."), ""][1]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fundus_cli"):
            own_part = node.module == "fundus_cli"
            names = [f"fundus_cli.{a.name}" for a in node.names] if own_part else [node.module]
            found |= {"" if "__version__" in str(n) else part(str(n)) for n in names}
        elif isinstance(node, ast.Import):
            found |= {part(a.name) for a in node.names if a.name.startswith("fundus_cli")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_follow_the_arrows(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    own = relative.parts[0].removesuffix(".py")
    allowed = STRICT_LEAVES.get(relative.as_posix(), ALLOWED[own])
    assert imported(path) <= allowed, f"{relative} imports {imported(path) - allowed}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_hydra_and_omegaconf_stay_at_the_door(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix() in (
        *("compose.py", "overrides.py", "sweep.py", "command.py"),
    ):
        return
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {n for n in names if n.split(".")[0] in ("hydra", "omegaconf")}


@pytest.mark.parametrize("module", ["fundus_cli.command", "fundus_cli.sweep"])
def test_the_doors_load_neither_torch_nor_matplotlib(module: str) -> None:
    code = (
        f"import sys, {module}; print({{'torch', 'matplotlib', 'PIL', 'numpy'}} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "set()", result.stdout + result.stderr


@pytest.mark.parametrize("module", ["fundus_cli.tracking", "fundus_cli.data.dataset"])
def test_what_is_wrong_with_the_data_is_told_without_torch(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_no_pickle_is_ever_loaded() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert "weights_only" + "=False" not in text
        assert text.count("torch.load(") == text.count("weights_only=True"), path


def test_every_module_says_what_lives_there() -> None:
    for path in PACKAGE.rglob("*.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring, path
        assert docstring.splitlines()[0].rstrip().endswith((".", ",")) or ":" in docstring, path
