"""Assemble training batches, each a pure function of (seed, epoch, index)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fundus_cli.config import AugmentConfig, DataConfig, Normalisation
from fundus_cli.data import augment_geometric as augment
from fundus_cli.data.augment_photometric import apply_photometric
from fundus_cli.data.disk_cache import SampleStore
from fundus_cli.data.gpu_transfer import ResidentImages, on_device
from fundus_cli.data.normalisation import from_share, local_as_bytes, normalise, prepared_image
from fundus_cli.data.samples import Sample
from fundus_cli.runtime.randomness import Purpose, generator

MAX_CENTRE_TRIES = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one optimizer step.

    Attributes:
        image: (N, 3, H, W) float32; if normalised, 0 outside the field of view.
        target: (N, S, H, W) float32, 0 to 1.
        fov_mask: (N, 1, H, W) bool; False on padding too.
        ids: the images' names.
    """

    image: Tensor
    target: Tensor
    fov_mask: Tensor
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


class TrainingSampler:
    """Crops, augments and stacks training patches from images in memory."""

    def __init__(
        self,
        samples: Sequence[Sample],
        data: DataConfig,
        augmentation: AugmentConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        self.samples = samples
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self.device = device
        # Normalising a patch on its own would treat its borders as those of the image.
        self._images = {s.id: s.image for s in samples}
        if data.normalisation is Normalisation.local:
            store = SampleStore(data.cache_gb * 1e9)
            self._images = {s.id: store.kept_array(local_as_bytes(s)) for s in samples}
        self._resident: ResidentImages | None = None
        if data.patch_px is not None and ResidentImages.fit(samples, device):
            self._resident = ResidentImages(samples, self._images, device)
        if data.patch_px is None:
            self.length = len(samples)
        elif data.patches_per_image is None:
            self.length = data.patches_per_epoch
        else:
            self.length = len(samples) * data.patches_per_image

    def __len__(self) -> int:
        return self.length

    def sample(self, epoch: int, index: int) -> Sample:
        """The image of one patch: images are used in turn, continuing from epoch to epoch."""
        return self.samples[(epoch * self.length + index) % len(self.samples)]

    def order(self, epoch: int) -> np.ndarray:
        """The indices of an epoch, shuffled."""
        return generator(Purpose.order, self.seed, epoch).permutation(len(self))

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        """The patches with these indices, on the device."""
        indices = [int(i) for i in indices]
        samples = [self.sample(epoch, i) for i in indices]
        params = augment.sample_params(self.augmentation, self.seed, epoch, indices)
        patch = self.data.patch_px
        if patch is None:
            hw = (
                max(s.fov_mask.shape[0] for s in samples),
                max(s.fov_mask.shape[1] for s in samples),
            )
            padded = np.stack([_padded(_planes(s, self._images[s.id]), hw) for s in samples])
            planes = augment.apply_geometry(params, on_device(padded, self.device), hw)
        else:
            centres = [
                self._centre(s, patch, epoch, i) for s, i in zip(samples, indices, strict=True)
            ]
            planes = self._patches(samples, centres, params, patch)
        image = apply_photometric(params, planes[:, :3])
        fov_mask = planes[:, -1:] > 0.999
        match self.data.normalisation:
            case Normalisation.fov:
                image = normalise(image, fov_mask, samples)
            case Normalisation.local:
                image = from_share(image, fov_mask)
        return Batch(image, planes[:, 3:-1], fov_mask, tuple(s.id for s in samples))

    def _patches(
        self,
        samples: Sequence[Sample],
        centres: Sequence[tuple[int, int]],
        params: augment.AugmentParams,
        patch: int,
    ) -> Tensor:
        """(N, 3 + S + 1, patch, patch) float32, 0 to 1, around a pixel of each, on the device."""
        side, hw = augment.window_px(self.augmentation, patch), (patch, patch)
        if self._resident is not None:
            resident = self._resident.windows(samples, centres, side)
            return augment.apply_geometry(params, resident, hw)

        def cut(n: int, rows: int, columns: int) -> Tensor:
            sample = samples[n]
            shape = (3 + len(sample.target) + 1, side - 2 * rows, side - 2 * columns)
            window = np.empty(shape, np.uint8)
            _cut_window(sample, self._images[sample.id], centres[n], window)
            return torch.from_numpy(window)

        if self.device.type == "cpu":
            return augment.apply_geometry_cutting(params, cut, (side, side), hw)
        windows = np.stack([cut(n, 0, 0).numpy() for n in range(len(samples))])
        return augment.apply_geometry(params, on_device(windows, self.device), hw)

    def _centre(self, sample: Sample, patch: int, epoch: int, index: int) -> tuple[int, int]:
        """A pixel of the field of view, moved inwards so that the patch stays on the image."""
        random = generator(Purpose.patch, self.seed, epoch, index)
        height, width = sample.fov_mask.shape
        y, x = height // 2, width // 2
        for _ in range(MAX_CENTRE_TRIES):
            y, x = int(random.integers(height)), int(random.integers(width))
            if sample.fov_mask[y, x]:
                break
        return _inward(y, height, patch), _inward(x, width, patch)


def whole_image(sample: Sample, normalisation: Normalisation, device: torch.device) -> Batch:
    """One whole image as a batch, without augmentation."""
    image, fov_mask = prepared_image(sample, normalisation, device)
    target = torch.from_numpy(sample.target)[None].to(device).float().div_(255)
    return Batch(image, target, fov_mask, (sample.id,))


def _inward(centre: int, length: int, patch: int) -> int:
    half = patch // 2
    if length <= patch:
        return length // 2
    return min(max(centre, half), length - (patch - half))


def _planes(sample: Sample, image: np.ndarray) -> list[np.ndarray]:
    return [*image, *sample.target, sample.fov_mask.view(np.uint8) * np.uint8(255)]


def _padded(planes: list[np.ndarray], hw: tuple[int, int]) -> np.ndarray:
    padded = np.zeros((len(planes), *hw), np.uint8)
    for plane, target in zip(planes, padded, strict=True):
        target[: plane.shape[0], : plane.shape[1]] = plane
    return padded


def _cut_window(
    sample: Sample, image: np.ndarray, centre: tuple[int, int], window: np.ndarray
) -> None:
    """Fill (3 + S + 1, h, w) uint8 with the window around a pixel; 0 beyond the image."""
    have_y, have_x = window.shape[1:]
    top, left = centre[0] - have_y // 2, centre[1] - have_x // 2
    height, width = sample.fov_mask.shape
    y0, y1 = max(top, 0), min(top + have_y, height)
    x0, x1 = max(left, 0), min(left + have_x, width)
    for beyond in (slice(0, y0 - top), slice(y1 - top, have_y)):
        window[:, beyond] = 0
    for beyond in (slice(0, x0 - left), slice(x1 - left, have_x)):
        window[:, :, beyond] = 0
    inside = window[:, y0 - top : y1 - top, x0 - left : x1 - left]
    inside[:3] = image[:, y0:y1, x0:x1]
    inside[3:-1] = sample.target[:, y0:y1, x0:x1]
    np.multiply(sample.fov_mask[y0:y1, x0:x1], 255, out=inside[-1], dtype=np.uint8)
