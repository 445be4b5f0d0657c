"""Read images in several threads or processes, with a timeout for each."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fundus_cli.config import DataConfig
from fundus_cli.data.decoding import BadFile
from fundus_cli.data.disk_cache import SampleStore
from fundus_cli.data.images import read_image
from fundus_cli.data.samples import Sample, UnusableFile, read_sample
from fundus_cli.data.templates import SampleFiles
from fundus_cli.errors import DataError
from fundus_cli.runtime.processes import spread
from fundus_cli.runtime.timeouts import Timeout, in_time


def read_samples(
    files: Sequence[SampleFiles],
    config: DataConfig,
    root: Path,
    progress: Callable[[int], None] = lambda total: None,
) -> list[Sample | UnusableFile]:
    """Decode and check every image, in the order of `files`.

    Those beyond data.cache_gb are kept in a temporary file.

    Raises:
        MachineError: an image took longer than data.timeout_s, or the disk is full.
    """
    read = partial(_sample_or_error, config=config, root=root)
    store = SampleStore(config.cache_gb * 1e9)
    results: list[Sample | UnusableFile] = []

    def reading(one: SampleFiles) -> str:
        return f"data.root={root}: reading {one.image.relative_to(root)}"

    with closing(spread(read, files, Timeout.of(config), reading)) as samples:
        for one in samples:
            results.append(store.kept(one) if isinstance(one, Sample) else one)
            progress(len(files))
    return results


def _sample_or_error(files: SampleFiles, config: DataConfig, root: Path) -> Sample | UnusableFile:
    try:
        return read_sample(files, config, root)
    except UnusableFile as error:
        # A new exception: the traceback of the raised one keeps the decoded pixels alive.
        return UnusableFile(error.path, error.kind, error.found)


def read_again(path: Path, config: DataConfig) -> NDArray[np.uint8]:
    """Read the pixels (H, W, 3) of an image again, for an overlay.

    Raises:
        DataError: the file has changed.
        MachineError: it takes longer than data.timeout_s.
    """
    try:
        return in_time(
            lambda: read_image(path, config.max_megapixels),
            Timeout.of(config),
            f"reading {path} again",
        )
    except BadFile as error:
        found = f" ({error.found})" if error.found else ""
        raise DataError(
            f"{path}: could be read before, but now it {error.kind}{found}; restore the file "
            "and run the same command again"
        ) from error
