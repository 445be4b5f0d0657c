"""Freed memory stays with the process, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from fundus_cli.runtime.memory import keep_freed_memory
import torch
torch.set_num_threads(1)
keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def once():
    torch.ones(48 * 2**18)  # 48 MB, freed at once
for _ in range(30):  # until the heap has grown to what alignment takes
    once()
before = faults()
for _ in range(10):
    once()
print(faults() - before)
"""


def faults(**environment: str) -> int:
    """Pages that ten allocations of 48 MB touched for the first time."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_the_same_pages_serve_again_unless_the_environment_says_otherwise() -> None:
    kept = faults()
    # What a person chose stays: glibc's default of giving large blocks back at once.
    given_back = faults(MALLOC_MMAP_THRESHOLD_="1048576")
    assert kept < 100
    assert given_back > 10 * kept + 100
