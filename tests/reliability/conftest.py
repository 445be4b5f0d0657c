"""The run that nobody disturbs, which interrupted ones are compared with."""

from pathlib import Path

import pytest
from reliability.kit import LONG, environment, run, train


@pytest.fixture(scope="session")
def whole(
    shared_tiny_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """Its folder, and the journal of its syncs, links and renames."""
    folder = tmp_path_factory.mktemp("whole")
    env = environment(folder, FUNDUS_TEST_JOURNAL=str(folder / "journal"))
    result = run(folder, *train(shared_tiny_set, "run", *LONG), env=env)
    assert result.returncode == 0, result.stderr
    return folder / "run", (folder / "journal").read_text().splitlines()
