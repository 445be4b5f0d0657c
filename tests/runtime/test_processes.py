"""Processes answer as threads do; one that dies or hangs ends in a line, and none is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_set
from PIL import Image

from fundus_cli.check.inspect_dataset import survey
from fundus_cli.config import DataConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.samples import PackedMasks, Sample
from fundus_cli.errors import DataError, MachineError
from fundus_cli.runtime import processes
from fundus_cli.runtime.processes import Workers, spread
from fundus_cli.runtime.timeouts import Timeout

LONG = Timeout(limit_s=60)


@pytest.fixture
def always_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MIN_JOBS", 1)
    monkeypatch.setattr(processes, "num_at_once", lambda: 2)


def named(job: object) -> str:
    return f"doing {job}"


def is_gone(pid: int) -> bool:
    """Whether a process has ended, or is a zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@pytest.mark.usefixtures("always_processes")
def test_results_come_in_order_from_several_processes() -> None:
    assert list(spread(partial(pow, 2), range(200), LONG, named)) == [2**n for n in range(200)]
    pids = set(spread(eval, ["__import__('os').getpid()"] * 50, LONG, named))
    assert os.getpid() not in pids
    assert len(pids) == 2


def test_few_jobs_stay_in_this_process() -> None:
    here = list(spread(lambda job: (job, os.getpid()), range(5), LONG, named))
    assert here == [(n, os.getpid()) for n in range(5)]


@pytest.mark.usefixtures("always_processes")
def test_what_is_raised_reaches_the_caller_with_where_it_was_raised() -> None:
    results = spread(int, ["7", "8", "x", "9"], LONG, named)
    assert [next(results), next(results)] == [7, 8]
    with pytest.raises(ValueError, match="invalid literal") as caught:
        next(results)
    assert "In a worker process" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="pickle"):
        list(spread(memoryview, [b"what cannot be sent back is told, too"], LONG, named))


@pytest.mark.usefixtures("always_processes")
def test_what_a_job_prints_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(spread(print, ["aside"] * 3, LONG, named)) == [None] * 3
    assert "aside" in capfd.readouterr().err


@pytest.mark.usefixtures("always_processes")
def test_a_job_has_its_own_time_however_many_go_in_one_message() -> None:
    seconds, limit_s = 0.9, 3.0
    assert seconds * processes.JOBS_PER_MESSAGE > limit_s
    jobs = [seconds] * processes.JOBS_PER_MESSAGE
    assert list(spread(time.sleep, jobs, Timeout(limit_s=limit_s), named)) == [None] * len(jobs)


@pytest.mark.usefixtures("always_processes")
def test_a_job_that_cannot_be_sent_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="pickle"):
        list(spread(len, [b"ok", memoryview(b"never sent")], LONG, named))


@pytest.mark.usefixtures("always_processes")
@pytest.mark.parametrize(
    ("function", "job", "text"),
    [
        (signal.raise_signal, signal.SIGKILL, "doing 9: .* was killed by SIGKILL; if memory"),
        (sys.exit, 3, "doing 3: .* ended with exit code 3"),
    ],
    ids=["killed", "left"],
)
def test_a_process_that_ends_is_told_in_a_line(
    function: Callable[[int], object], job: int, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MachineError, match=text) as caught:
        list(spread(function, [int(job)] * 30, LONG, named))
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.usefixtures("always_processes")
@pytest.mark.parametrize("stopped", [False, True], ids=["sleeps", "stopped"])
def test_one_that_hangs_is_named_in_time_and_killed(
    stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Workers[object, object]] = []
    begin = Workers.__enter__
    monkeypatch.setattr(Workers, "__enter__", lambda w: (started.append(w), begin(w))[1])
    function, job = (signal.raise_signal, int(signal.SIGSTOP)) if stopped else (time.sleep, 600)
    began = time.monotonic()
    with pytest.raises(MachineError, match=rf"doing {job} has taken more than 1\.5 s"):
        list(spread(function, [job] * 10, Timeout(limit_s=1.5), named))
    assert time.monotonic() - began < 15
    assert [w.returncode for w in started[0]._all] == [-signal.SIGKILL] * 2


@pytest.mark.usefixtures("always_processes")
def test_leaving_early_leaves_nobody_behind() -> None:
    jobs = ["__import__('os').getpid()"] * 50
    with closing(spread(eval, jobs, LONG, named)) as results:
        pids = {next(results) for _ in range(10)}
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_parent_however_that_ends(way: signal.Signals) -> None:
    code = (
        "import time; from concurrent.futures import Future\n"
        "from fundus_cli.runtime import processes\n"
        "with processes.Workers(time.sleep, 2, str) as call:\n"
        "    print(*(worker.pid for worker in call._all), flush=True)\n"
        "    call.answer([(600, Future())])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        os.killpg(parent.pid, way)
        parent.wait(30)
    assert soon(lambda: all(is_gone(pid) for pid in pids))


def config_of(root: Path, *more: str) -> DataConfig:
    words = ("data=folder", f"data.root={root}", "output=x", *more)
    return compose_config("train", words).data


def as_plain(value: object) -> object:
    """Arrays as bytes, so that samples compare to the bit."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, PackedMasks):
        return value.shape, value.bits.tobytes()
    return value


def test_samples_are_the_same_to_the_bit_and_files_are_refused_alike(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = write_tiny_set(tmp_path / "data", train=9, test=3)
    config = config_of(root, "data.cache_gb=0", "data.on_bad=skip")
    (root / "train_images" / "p1.png").write_bytes(b"no image")
    Image.new("L", (8, 8)).save(root / "test_masks" / "p10.png")
    by_threads = load_dataset(config)
    request.getfixturevalue("always_processes")
    by_processes = load_dataset(config)
    assert by_processes.skipped == by_threads.skipped
    assert len(by_threads.skipped) == 2
    for split, expected in by_threads.samples.items():
        for one, other in zip(by_processes.samples[split], expected, strict=True):
            for field in fields(Sample):
                name = field.name
                assert as_plain(getattr(one, name)) == as_plain(getattr(other, name)), name
    with pytest.raises(DataError, match=r"cannot be read as an image.*p1\.png"):
        load_dataset(config_of(root))


def test_a_process_loads_no_torch() -> None:
    code = (
        "import sys, fundus_cli.runtime.processes, fundus_cli.data.reading\n"
        "import fundus_cli.check.inspect_image\n"
        "print({'torch', 'matplotlib', 'hydra'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_check_finds_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = write_tiny_set(tmp_path / "data", train=5, test=2)
    (root / "train_images" / "p1.png").write_bytes(b"no image")
    Image.new("L", (8, 8)).save(root / "test_masks" / "p5.png")
    Image.new("L", (64, 64)).save(root / "train_masks" / "p3.png")

    def told(folder: str) -> list[dict[str, object]]:
        (tmp_path / folder).mkdir()
        result = survey(config_of(root), root, tmp_path / folder, lambda total: None)
        return [finding.plain() for finding in result.findings]

    by_threads = told("threads")
    assert len(by_threads) >= 3
    request.getfixturevalue("always_processes")
    assert told("processes") == by_threads
    pages = sorted((tmp_path / "threads").iterdir())
    assert pages
    for page in pages:
        assert page.read_bytes() == (tmp_path / "processes" / page.name).read_bytes()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many images that processes read them: equal bytes under many names."""
    root = write_tiny_set(tmp_path_factory.mktemp("many") / "data", train=1, test=0)
    for kind in ("images", "masks"):
        content = (root / f"train_{kind}" / "p0.png").read_bytes()
        for number in range(1, 2 * processes.MIN_JOBS):
            (root / f"train_{kind}" / f"p{number}.png").write_bytes(content)
    return root


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.skipif(os.cpu_count() == 1, reason="one core reads in one process")
@pytest.mark.parametrize(
    ("hit", "way", "code", "text"),
    [
        ("group", signal.SIGINT, 130, "SIGINT: stopped, nothing to save"),
        ("group", signal.SIGTERM, 143, "SIGTERM: stopped, nothing to save"),
        ("worker", signal.SIGKILL, 5, "was killed by SIGKILL"),
        ("parent", signal.SIGKILL, -9, ""),
    ],
    ids=["ctrl-c", "term", "worker killed", "parent killed"],
)
def test_a_command_that_is_hit_while_it_reads_ends_whole(
    many: Path, tmp_path: Path, hit: str, way: signal.Signals, code: int, text: str
) -> None:
    words = (f"data.root={many}", "data.test=null", f"output={tmp_path / 'run'}")
    with subprocess.Popen(
        [sys.executable, "-m", "fundus_cli", "train", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as command:
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
        pids: list[int] = []
        assert soon(lambda: len(children.read_text().split()) >= 2)
        time.sleep(1)
        pids += [int(word) for word in children.read_text().split()]
        match hit:
            case "group":
                os.killpg(command.pid, way)
            case "worker":
                os.kill(pids[0], way)
            case "parent":
                os.kill(command.pid, way)
        _, errors = command.communicate(timeout=30)
    assert command.returncode == code
    lines = [line for line in errors.splitlines() if line.startswith("fundus-train: ")]
    assert len(lines) == bool(text)
    assert text in errors
    assert "Traceback" not in errors
    assert soon(lambda: all(is_gone(pid) for pid in pids))
