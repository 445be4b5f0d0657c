"""Keep decoded images beyond a memory limit in temporary memory-mapped files."""

import mmap
import os
import tempfile
from dataclasses import replace

import numpy as np

from fundus_cli.data.samples import PackedMasks, Sample
from fundus_cli.errors import MachineError

SEGMENT_BYTES = 1 << 26
"""Minimum size of a file: each is one mapping, and the number of those per process is limited."""
ALIGNMENT = 64


class SampleStore:
    """Keeps the first samples in memory and the arrays of all further ones in mapped files.

    A file is deleted as soon as it is open, so that nothing is left behind however the process
    ends. Its blocks are allocated before they are written, because writing to a mapping on a full
    disk kills the process. Written pages leave the process's memory; the operating system loads
    them again when they are read and may drop them at any time.

    Args:
        max_bytes: maximum size of the arrays kept in memory.
        segment_bytes: size of the files; a larger sample gets a file of its own.
    """

    def __init__(self, max_bytes: float, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes
        self.in_memory = 0
        self._segment: mmap.mmap | None = None
        self._used = 0

    def kept(self, sample: Sample) -> Sample:
        """The same sample, bit for bit, with its arrays in memory or in a mapped file.

        Raises:
            MachineError: the disk is full.
        """
        observer2 = sample.native_observer2
        masks = (sample.native_fov, sample.native_targets, *observer2.values())
        arrays = (sample.image, sample.fov_mask, sample.target, *(each.bits for each in masks))
        size = sum(array.nbytes for array in arrays)
        if self.in_memory + size <= self.max_bytes:
            self.in_memory += size
            return sample
        self._make_room(size + ALIGNMENT * len(arrays))
        stored = replace(
            sample,
            image=self._moved(sample.image),
            fov_mask=self._moved(sample.fov_mask),
            target=self._moved(sample.target),
            native_fov=self._packed(sample.native_fov),
            native_targets=self._packed(sample.native_targets),
            native_observer2={name: self._packed(each) for name, each in observer2.items()},
        )
        self._forget_pages()
        return stored

    def kept_array(self, array: np.ndarray) -> np.ndarray:
        """The same array, in memory or in a mapped file.

        Raises:
            MachineError: the disk is full.
        """
        if self.in_memory + array.nbytes <= self.max_bytes:
            self.in_memory += array.nbytes
            return array
        self._make_room(array.nbytes + ALIGNMENT)
        moved = self._moved(array)
        self._forget_pages()
        return moved

    def _packed(self, masks: PackedMasks) -> PackedMasks:
        return PackedMasks(shape=masks.shape, bits=self._moved(masks.bits))

    def _moved(self, array: np.ndarray) -> np.ndarray:
        assert self._segment is not None
        view = np.frombuffer(self._segment, array.dtype, array.size, self._used)
        view = view.reshape(array.shape)
        view[...] = array
        self._used += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        return view

    def _make_room(self, num_bytes: int) -> None:
        if self._segment is not None and self._used + num_bytes <= len(self._segment):
            return
        size = max(num_bytes, self.segment_bytes)
        try:
            with tempfile.TemporaryFile(prefix="fundus-") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                # The mapping outlives the open file, and the arrays the store.
                self._segment = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise MachineError(
                f"{tempfile.gettempdir()}: images beyond data.cache_gb do not fit there "
                f"({error.strerror}); set TMPDIR to a folder with more room, or raise data.cache_gb"
            ) from error
        self._used = 0

    def _forget_pages(self) -> None:
        assert self._segment is not None
        if hasattr(mmap, "MADV_DONTNEED"):
            # For a shared mapping, this loses no data: it only releases the process's memory.
            self._segment.madvise(mmap.MADV_DONTNEED)
