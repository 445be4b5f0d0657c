"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with CHASE_DB1 and HRF: ../shared/data or what FUNDUS_DATA names; skips without."""
    folder = Path(os.environ.get("FUNDUS_DATA", PROJECT.parent / "shared" / "data"))
    if not (folder / "CHASE_DB1").is_dir():
        pytest.skip(f"no real photographs at {folder.name}; set FUNDUS_DATA")
    return folder
