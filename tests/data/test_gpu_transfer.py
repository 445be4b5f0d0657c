"""Images kept on a device: windows are cropped there as on the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small, write_tiny_set
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from fundus_cli.config.compose import compose_config
from fundus_cli.data import augment_photometric, gpu_transfer
from fundus_cli.data.batches import TrainingSampler
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.gpu_transfer import ResidentImages, num_bytes, on_device

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("transfer"), train=4, test=1)


def sampler(root: Path, *overrides: str) -> TrainingSampler:
    base = ("data=folder", f"data.root={root}", "data.val_fraction=0", *small(*overrides))
    config = compose_config("train", base)
    samples = load_dataset(config.data).samples["train"]
    return TrainingSampler(samples, config.data, config.augment, 0, CPU)


@pytest.mark.parametrize("normalisation", ["fov", "local"])
def test_batches_are_the_same_wherever_the_images_lie(
    root: Path, normalisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"data.normalisation={normalisation}", "augment=cameras", "augment.scale=0.5")
    host = sampler(root, *words)
    monkeypatch.setattr(ResidentImages, "fit", staticmethod(lambda samples, device: True))
    resident = sampler(root, *words)
    assert host._resident is None
    assert resident._resident is not None
    for epoch in range(3):
        ours, theirs = resident.batch(epoch, [0, 3, 5]), host.batch(epoch, [0, 3, 5])
        assert ours.ids == theirs.ids
        assert torch.equal(ours.image, theirs.image)
        assert torch.equal(ours.target, theirs.target)
        assert torch.equal(ours.fov_mask, theirs.fov_mask)
        assert ours.target.any()


def test_windows_beyond_the_frame_are_empty_there(root: Path) -> None:
    samples = sampler(root).samples
    resident = ResidentImages(samples, {s.id: s.image for s in samples}, CPU)
    side = 40
    windows = resident.windows(samples[:2], [(0, 0), (63, 10)], side)
    assert windows.shape == (2, 5, side, side)
    assert windows.dtype == torch.uint8
    assert not windows[0, :, :20].any()
    assert not windows[0, :, :, :20].any()
    first = samples[0]
    assert torch.equal(windows[0, :3, 20:, 20:], torch.from_numpy(first.image[:, :20, :20]))
    assert torch.equal(windows[0, 3, 20:, 20:], torch.from_numpy(first.target[0, :20, :20]))
    fov = torch.from_numpy(samples[1].fov_mask[43:, :30])
    assert torch.equal(windows[1, 4, :21, 10:], fov * torch.tensor(255, dtype=torch.uint8))


def test_they_stay_on_a_gpu_that_has_room_and_nowhere_else(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = sampler(root).samples
    assert num_bytes(samples) == 4 * 64 * 64 * 5
    assert not ResidentImages.fit(samples, CPU)
    free = num_bytes(samples) / gpu_transfer.MAX_MEMORY_SHARE
    for spare, fits in ((1, True), (-1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, s=spare: (free + s, 0))
        assert ResidentImages.fit(samples, torch.device("cuda")) is fits


def test_numbers_arrive_as_they_were() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert torch.equal(on_device(array, CPU), torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("normalisation", ["unit", "fov", "local"])
@pytest.mark.parametrize("augmentation", ["none", "standard", "cameras"])
def test_batches_are_made_on_a_gpu_without_waiting_for_it(
    root: Path, augmentation: str, normalisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors without numbers, which PyTorch offers for machines without a GPU.

    They refuse what would need their numbers on the processor, and what mixes devices.
    """
    own = sampler(root, f"data.normalisation={normalisation}", f"augment={augmentation}")
    for kept in ("_weights", "_block_means", "_normal_numbers"):
        # Tensors cached on a device must not come from another test.
        monkeypatch.setattr(
            augment_photometric, kept, getattr(augment_photometric, kept).__wrapped__
        )
    cuda = torch.device("cuda", 0)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    with FakeTensorMode():
        own._resident = ResidentImages(own.samples, own._images, cuda)
        own.device = cuda
        batch = own.batch(0, [0, 3, 5])
        for tensor in (batch.image, batch.target, batch.fov_mask):
            assert tensor.device == cuda
            assert len(tensor) == 3
        with pytest.raises(DataDependentOutputException):
            batch.image.sum().item()
