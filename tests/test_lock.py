"""`requirements.lock` names every dependency, with hashes, and satisfies pyproject.toml."""

import importlib.metadata
import re
import tomllib

import pytest
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCK = PROJECT / "requirements.lock"
EXTRAS = ("export", "tensorboard")
FLOORS = {"pillow": "13.0.0", "torch": "2.10", "hydra-core": "1.3.8"}
"""Older ones have holes that docs/supply.md names."""
PLATFORMS = (("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64"))
SURROUNDINGS = [
    {
        "python_version": version,
        "python_full_version": f"{version}.5",
        "sys_platform": system,
        "platform_machine": machine,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system],
        "extra": "",
    }
    for version in ("3.11", "3.12", "3.13")
    for system, machine in PLATFORMS
]


def locked() -> list[tuple[Requirement, list[str]]]:
    """(name==version; marker, hashes) of every entry."""
    text = re.sub(r"(?m)^#.*\n", "", LOCK.read_text()).replace("\\\n", " ")
    entries = []
    for line in filter(str.strip, text.splitlines()):
        requirement, *hashes = line.split("--hash=")
        entries.append((Requirement(requirement), [one.strip() for one in hashes]))
    return entries


def pins(surroundings: dict[str, str]) -> dict[str, Version]:
    """{name: version} that is installed there."""
    found: dict[str, Version] = {}
    for requirement, _ in locked():
        if requirement.marker is None or requirement.marker.evaluate(surroundings):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is locked twice"
            found[name] = Version(str(requirement.specifier).removeprefix("=="))
    return found


def dependencies() -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that are locked."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]
    return [Requirement(line) for line in wanted]


def test_every_entry_is_one_version_with_hashes_and_no_address() -> None:
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement
    assert "://" not in LOCK.read_text()


@pytest.mark.parametrize(
    "surroundings", SURROUNDINGS, ids=lambda s: f"{s['python_version']}-{s['sys_platform']}"
)
def test_it_satisfies_what_the_project_asks_for(surroundings: dict[str, str]) -> None:
    found = pins(surroundings)
    for wanted in dependencies():
        assert found[canonicalize_name(wanted.name)] in wanted.specifier, wanted
    for name, floor in FLOORS.items():
        assert found[name] >= Version(floor)


def test_what_the_locked_ones_need_is_locked_too() -> None:
    """As far as it is installed here, whose metadata says what it needs in turn."""
    found = pins(SURROUNDINGS[0])
    num_known = 0
    for name, version in found.items():
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(Version(installed.version).public) != version:
            continue
        num_known += 1
        for line in installed.requires or []:
            need = Requirement(line)
            if need.url is None and (need.marker is None or need.marker.evaluate(SURROUNDINGS[0])):
                assert canonicalize_name(need.name) in found, f"{name} needs {need.name}"
    assert num_known >= 5
