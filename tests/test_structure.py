"""Properties of the whole project: imports follow the arrows, the doors stay light, no pickles."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fundus_cli"

ROOMS = (
    "errors",
    "config",
    "runtime",
    "synthetic",
    "run",
    "data",
    "model",
    "inference",
    "evaluation",
    "training",
    "report",
    "export",
    "check",
    "commands",
    "cli",
    "api",
    "__main__",
)
"""From the bottom to the top: a module imports from its own room and from rooms above it here."""
LEAVES = {"model/batch_norm.py": set(), "training/losses.py": {"config"}}
"""Modules that can be read on their own, and the rooms that they import from."""
VERSION = "__init__"
"""`from fundus_cli import __version__` is open to everybody."""


def room(module: str) -> str:
    """fundus_cli.data.images -> data; fundus_cli -> __init__."""
    return [*module.split("."), VERSION][1]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fundus_cli"):
            is_root = node.module == "fundus_cli" and node.names[0].name != "__version__"
            names = [f"fundus_cli.{a.name}" for a in node.names] if is_root else [node.module]
            found |= {room(str(name)) for name in names}
        elif isinstance(node, ast.Import):
            found |= {room(a.name) for a in node.names if a.name.startswith("fundus_cli")}
    return found - {VERSION}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_arrows(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    own = relative.parts[0].removesuffix(".py")
    below = set(ROOMS) if own == VERSION else set(ROOMS[: ROOMS.index(own) + 1])
    allowed = LEAVES.get(relative.as_posix(), below)
    assert imported(path) <= allowed, f"{relative} imports {imported(path) - allowed}"


def test_every_room_is_there() -> None:
    own = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in modules()}
    assert own == {*ROOMS, VERSION}


def test_no_two_modules_share_a_name() -> None:
    counts = Counter(path.stem for path in modules() if path.stem != "__init__")
    assert not {name for name, count in counts.items() if count > 1}


HYDRA_IS_KNOWN_TO = (
    "config/compose.py",
    "config/config_folder.py",
    "config/overrides.py",
    "config/typed.py",
    "cli/command_line.py",
    "cli/sweep.py",
)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_few_modules_know_hydra_and_omegaconf(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix() in HYDRA_IS_KNOWN_TO:
        return
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {n for n in names if n.split(".")[0] in ("hydra", "omegaconf")}


def loaded_by(module: str) -> set[str]:
    """Names of all modules in a process that has imported one."""
    code = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["fundus_cli.cli.command_line", "fundus_cli.cli.sweep"])
def test_a_command_line_is_read_without_torch_and_numpy(module: str) -> None:
    assert not {"torch", "matplotlib", "PIL", "numpy"} & loaded_by(module)


@pytest.mark.parametrize("module", ["fundus_cli.commands.train", "fundus_cli.commands.check"])
def test_what_is_wrong_with_the_data_is_reported_without_torch(module: str) -> None:
    assert "torch" not in loaded_by(module)


def test_no_pickle_is_ever_loaded() -> None:
    for path in modules():
        text = path.read_text()
        assert "weights_only" + "=False" not in text
        assert text.count("torch.load(") == text.count("weights_only=True"), path


def test_every_module_says_what_it_is_for() -> None:
    for path in modules():
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring, path
        assert docstring.splitlines()[0].rstrip().endswith((".", ",")) or ":" in docstring, path
