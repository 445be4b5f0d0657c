"""Copy arrays to the device, and keep the images on a GPU where they fit."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fundus_cli.data.samples import Sample

MAX_MEMORY_SHARE = 0.4
"""Maximum share of a GPU's free memory for images; the rest is for the network."""


def on_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy an array to the device; the copy to a GPU is asynchronous."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def zeros_and_ones(mask: Tensor) -> Tensor:
    """A bool mask as float32; via uint8, which PyTorch converts ten times faster."""
    return mask.view(torch.uint8).float()


class ResidentImages:
    """Images and masks as bytes on a device, where windows are cropped.

    Args:
        samples: with unique ids.
        images: (3, H, W) uint8 by id, the normalised images before augmentation.
        device: where to keep them.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        images: Mapping[str, NDArray[np.uint8]],
        device: torch.device,
    ) -> None:
        self.device = device
        self._planes = {s.id: self._moved(s, images[s.id]) for s in samples}

    @staticmethod
    def fit(samples: Sequence[Sample], device: torch.device) -> bool:
        """Whether the device is a GPU with room for all of them."""
        if device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(device)
        return num_bytes(samples) <= MAX_MEMORY_SHARE * free

    def windows(
        self, samples: Sequence[Sample], centres: Sequence[tuple[int, int]], side: int
    ) -> Tensor:
        """(N, 3 + S + 1, side, side) uint8 around a pixel of each; 0 beyond the frame."""
        num_planes = 3 + len(samples[0].target) + 1
        shape = (len(samples), num_planes, side, side)
        windows = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        for window, sample, (y, x) in zip(windows, samples, centres, strict=True):
            planes = self._planes[sample.id]
            top, left = y - side // 2, x - side // 2
            y0, y1 = max(top, 0), min(top + side, planes.shape[1])
            x0, x1 = max(left, 0), min(left + side, planes.shape[2])
            window[:, y0 - top : y1 - top, x0 - left : x1 - left] = planes[:, y0:y1, x0:x1]
        return windows

    def _moved(self, sample: Sample, image: NDArray[np.uint8]) -> Tensor:
        fov = sample.fov_mask.view(np.uint8) * np.uint8(255)
        planes = np.concatenate([image, sample.target, fov[None]])
        return torch.from_numpy(planes).to(self.device)


def num_bytes(samples: Sequence[Sample]) -> int:
    """Memory in bytes that `ResidentImages` of these samples needs."""
    return sum(s.fov_mask.size * (3 + len(s.target) + 1) for s in samples)
