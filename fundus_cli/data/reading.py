"""Photographs read on several threads, of which one that hangs ends the command in a line."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fundus_cli.config import DataConfig
from fundus_cli.data.cache import SampleStore
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.images import read_photograph
from fundus_cli.data.samples import Sample, UnusableFile, read_sample
from fundus_cli.data.templates import SampleFiles
from fundus_cli.data.waiting import Patience, in_time
from fundus_cli.errors import DataError

MAX_THREADS = 8
LOOK_EVERY_S = 0.2

Result = Sample | UnusableFile | BaseException


def read_samples(
    files: Sequence[SampleFiles],
    config: DataConfig,
    root: Path,
    progress: Callable[[int], None] = lambda total: None,
) -> list[Sample | UnusableFile]:
    """Decode and check every photograph, in the order of `files`.

    Those beyond data.cache_gb lie in a temporary file. A thread per core: Pillow frees the
    interpreter while it decodes. They are threads that the program does not wait for when it ends,
    because a read from a network drive that has gone away may never return.

    Raises:
        MachineError: a photograph took longer than data.timeout_s, or the disk is full.
    """
    results: dict[int, Sample | UnusableFile] = {}
    reader = _Reader(files, config, root)
    store = SampleStore(config.cache_gb * 1e9)
    try:
        for number, result in reader.results():
            if isinstance(result, BaseException) and not isinstance(result, UnusableFile):
                raise result
            results[number] = store.kept(result) if isinstance(result, Sample) else result
            progress(len(files))
    finally:
        reader.stopped.set()
    return [results[number] for number in range(len(files))]


def read_again(path: Path, config: DataConfig) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a photograph that was read before, to be drawn on.

    Raises:
        DataError: it is no longer what it was.
        MachineError: it takes longer than data.timeout_s.
    """
    try:
        return in_time(
            lambda: read_photograph(path, config.max_megapixels),
            Patience.of(config),
            f"reading {path} again",
        )
    except BadFile as error:
        found = f" ({error.found})" if error.found else ""
        raise DataError(
            f"{path}: was read before, and now it {error.kind}{found}; bring the file back and "
            "run the same command again"
        ) from error


class _Reader:
    """Threads that take the next photograph, and what they are busy with."""

    def __init__(self, files: Sequence[SampleFiles], config: DataConfig, root: Path) -> None:
        self.files, self.config, self.root = files, config, root
        self.stopped = threading.Event()
        self.waiting = iter(range(len(files)))
        self.lock = threading.Lock()
        self.begun_at: dict[int, float] = {}
        self.done: queue.SimpleQueue[tuple[int, Result]] = queue.SimpleQueue()

    def results(self) -> Iterator[tuple[int, Result]]:
        """(number of the photograph, what came of it), as they come."""
        for _ in range(min(MAX_THREADS, os.cpu_count() or 1, len(self.files))):
            threading.Thread(target=self._work, daemon=True).start()
        for _ in self.files:
            while True:
                try:
                    yield self.done.get(timeout=LOOK_EVERY_S)
                    break
                except queue.Empty:
                    self._refuse_to_wait_for_ever()

    def _work(self) -> None:
        while not self.stopped.is_set():
            with self.lock:
                number = next(self.waiting, None)
                if number is None:
                    return
                self.begun_at[number] = time.monotonic()
            result: Result
            try:
                result = read_sample(self.files[number], self.config, self.root)
            except BaseException as error:
                result = error
            with self.lock:
                del self.begun_at[number]
            self.done.put((number, result))

    def _refuse_to_wait_for_ever(self) -> None:
        patience = Patience.of(self.config)
        with self.lock:
            begun_at = self.begun_at.items()
            stuck = [n for n, at in begun_at if time.monotonic() - at > patience.limit_s]
        if stuck:
            names = ", ".join(str(self.files[n].image.relative_to(self.root)) for n in stuck)
            raise patience.over(f"data.root={self.root}: reading {names}")
