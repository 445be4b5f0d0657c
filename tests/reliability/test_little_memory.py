"""Too little memory for the libraries themselves: one line, and the exit code of the machine."""

import functools
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from checkpoints import random_checkpoint
from reliability.kit import complaint, run, train

from fundus_cli.run.machine_errors import is_out_of_memory, trouble


@functools.cache
def loaded_bytes() -> int:
    """The address space of a new process that has imported torch and little else."""
    code = "import torch; print(open('/proc/self/status').read())"
    status = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    return int(status.decode().partition("VmSize:")[2].split()[0]) * 1024


LONG = [(share, program) for share in (0.3, 0.45, 0.75, 0.8) for program in ("train", "predict")]


@pytest.mark.parametrize(
    ("share", "program"),
    [(0.6, "train"), (0.6, "predict"), *(pytest.param(*p, marks=pytest.mark.slow) for p in LONG)],
)
def test_libraries_that_do_not_fit(
    tmp_path: Path, shared_tiny_set: Path, share: float, program: str
) -> None:
    """With the torch of today, 1 to 3.2 GB; its size differs from build to build."""
    most = int(share * loaded_bytes())
    random_checkpoint(tmp_path / "best.pt")
    little = partial(resource.setrlimit, resource.RLIMIT_AS, (most, most))
    predict = ("predict", "checkpoint=best.pt", f"input={shared_tiny_set}/test_images")
    arguments = train(shared_tiny_set, "run") if program == "train" else predict
    result = run(tmp_path, *arguments, preexec_fn=little)
    complaint(result, 5, "out of memory; lower batch_size")
    assert len(result.stderr.splitlines()) == 1


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as known:
        return known


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("libgomp.so.1: cannot allocate memory in static TLS block"),
        ImportError("x.so: cannot apply additional memory protection after relocation"),
        raised(ImportError("Error importing numpy"), ImportError("y.so: failed to map segment")),
        raised(SystemError("initialization failed"), MemoryError()),
    ],
    ids=str,
)
def test_every_word_for_it_is_known(error: Exception) -> None:
    known = trouble(error)
    assert known is not None
    assert str(known).startswith("out of memory; lower batch_size")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ImportError("No module named 'torch'"),
        ValueError("out of memory"),
        raised(KeyError("x"), ValueError("failed to map segment")),
    ],
    ids=str,
)
def test_other_errors_stay_bugs(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert trouble(error) is None
