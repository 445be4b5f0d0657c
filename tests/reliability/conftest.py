"""The run that nobody disturbs, which interrupted ones are compared with."""

from pathlib import Path

import pytest
from reliability.forks import Forked
from reliability.kit import LONG, train


@pytest.fixture(scope="session")
def whole(
    shared_tiny_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """Its folder, and the journal of its syncs, links and renames."""
    folder = tmp_path_factory.mktemp("whole")
    journal = folder / "journal"
    run = Forked(folder, *train(shared_tiny_set, "run", *LONG), journal=journal)
    assert run.wait() == 0, run.said("stderr")
    return folder / "run", journal.read_text().splitlines()
