"""Images beyond data.cache_gb: bit-identical, out of memory, and no file is left behind."""

import errno
import gc
import mmap
import os
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small, write_tiny_set

from fundus_cli.config import DataConfig, TrainConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data import disk_cache
from fundus_cli.data.batches import TrainingSampler
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.disk_cache import SampleStore
from fundus_cli.data.samples import PackedMasks, Sample
from fundus_cli.errors import ConfigError, MachineError
from fundus_cli.run.signals import StopRequest
from fundus_cli.training.loop import Console, Trainer


def config_of(root: Path, *more: str) -> TrainConfig:
    overrides = ("data=folder", f"data.root={root}", "data.val_fraction=0", *small(*more))
    return compose_config("train", overrides)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("cache"), train=3, test=1)


def samples_of(config: DataConfig) -> list[Sample]:
    return [sample for split in load_dataset(config).samples.values() for sample in split]


def with_observer2(sample: Sample) -> Sample:
    return replace(sample, native_observer2={"vessel": sample.native_targets})


def mapping_of(array: np.ndarray) -> object:
    """The mapped file that holds an array; None if it is in memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    owner = array.base.obj if isinstance(array.base, memoryview) else None
    return owner if isinstance(owner, mmap.mmap) else None


def is_mapped(array: np.ndarray) -> bool:
    return mapping_of(array) is not None


def assert_equal(mine: object, theirs: object) -> None:
    if isinstance(mine, np.ndarray):
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)
    elif isinstance(mine, PackedMasks):
        assert mine.shape == theirs.shape
        assert np.array_equal(mine.bits, theirs.bits)
    else:
        assert mine == theirs


def test_stored_images_are_the_same_to_the_bit(root: Path) -> None:
    for sample in map(with_observer2, samples_of(config_of(root).data)):
        stored = SampleStore(0, segment_bytes=100).kept(sample)
        for field in fields(sample):
            mine, theirs = getattr(stored, field.name), getattr(sample, field.name)
            if field.name == "native_observer2":
                assert mine.keys() == theirs.keys()
                mine, theirs = mine["vessel"], theirs["vessel"]
            assert_equal(mine, theirs)
        arrays = (stored.image, stored.target, stored.fov_mask, stored.native_fov.bits)
        assert all(is_mapped(array) for array in arrays)


def test_memory_is_filled_to_the_limit_and_no_further(root: Path) -> None:
    samples = samples_of(config_of(root).data)
    # 64x64: 3 + 1 + 1 bytes a pixel, and two masks of a bit each.
    size = 64 * 64 * 5 + 2 * 64 * 64 // 8
    store = SampleStore(2.5 * size)
    kept = [store.kept(sample) for sample in samples]
    assert [a is b for a, b in zip(kept, samples, strict=True)] == [True, True, False, False]
    assert store.in_memory == 2 * size


def test_many_images_share_few_mappings_and_do_not_mix(root: Path) -> None:
    samples = samples_of(config_of(root).data)
    store = SampleStore(0, segment_bytes=100_000)
    stored = [store.kept(samples[n % len(samples)]) for n in range(20)]
    del store
    gc.collect()
    for number, sample in enumerate(stored):
        assert np.array_equal(sample.image, samples[number % len(samples)].image)
    assert len({id(mapping_of(sample.image)) for sample in stored}) == 5


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_stored_images_take_no_memory_and_no_file_is_left(
    root: Path, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (sample, *_) = samples_of(config_of(root).data)
    large = replace(sample, image=np.full((3, 2048, 2048), 7, np.uint8))

    def resident_kb() -> int:
        return (
            int(Path("/proc/self/statm").read_text().split()[1])
            * os.sysconf("SC_PAGE_SIZE")
            // 1024
        )

    store = SampleStore(0)
    before = resident_kb()
    stored = [store.kept(large) for _ in range(20)]
    # 240 MB of them; the segment that is being filled would be 64.
    assert resident_kb() - before < 50_000
    assert all(each.image[2, 2047, 2047] == 7 for each in stored)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_one_line_error(root: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk_cache.os, "posix_fallocate", full)
    with pytest.raises(MachineError, match=r"data\.cache_gb.*No space left.*TMPDIR"):
        load_dataset(config_of(root, "data.cache_gb=0").data)


def test_a_limit_below_zero_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.cache_gb=-1"):
        config_of(root, "data.cache_gb=-1")


def test_training_from_the_file_is_training_from_memory_to_the_bit(
    root: Path, tmp_path: Path
) -> None:
    rows, weights = [], []
    for name, limit in (("memory", 4), ("file", 0)):
        config = config_of(root, f"data.cache_gb={limit}", "epochs=1")
        dataset = load_dataset(config.data)
        assert is_mapped(dataset.samples["train"][0].native_fov.bits) == (limit == 0)
        folder = tmp_path / name
        folder.mkdir()
        console = Console(lambda line: None, lambda *numbers: None)
        trainer = Trainer(config, dataset, folder, StopRequest(), console)
        trainer.fit(lambda: None)
        rows.append(trainer.progress.rows)
        weights.append(trainer.learner.model.state_dict())
    assert rows[0] == rows[1]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])


def test_locally_normalised_copies_are_kept_the_same_way(root: Path) -> None:
    batches = []
    for gigabytes in (0, 1):
        config = config_of(root, "data.normalisation=local", f"data.cache_gb={gigabytes}")
        samples = load_dataset(config.data).samples["train"]
        sampler = TrainingSampler(samples, config.data, config.augment, 0, torch.device("cpu"))
        assert {is_mapped(image) for image in sampler._images.values()} == {gigabytes == 0}
        batches.append(sampler.batch(0, range(4)))
    assert torch.equal(batches[0].image, batches[1].image)
