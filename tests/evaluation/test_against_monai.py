"""Distances of outlines equal MONAI's, where it is installed."""

import numpy as np
import pytest
from scipy import ndimage

from fundus_cli.evaluation.shape_metrics import Shape, surface_distances


@pytest.mark.slow  # Importing MONAI takes longer than all that is measured.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_distances_equal_monais() -> None:
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    random = np.random.default_rng(0)
    for size, smooth in (
        ((60, 70), 2.0),
        ((31, 90), 1.0),
        ((48, 48), 0.0),
        ((128, 96), 4.0),
    ):
        one, other = (ndimage.gaussian_filter(random.normal(size=size), smooth) > 0 for _ in "ab")
        everywhere = np.ones(size, bool)
        own = surface_distances(Shape(one, everywhere), Shape(other, everywhere))
        tensors = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (one, other)]
        hd95 = monai.compute_hausdorff_distance(*tensors, include_background=True, percentile=95)
        mean = monai.compute_average_surface_distance(
            *tensors, include_background=True, symmetric=True
        )
        assert own.hd95 == pytest.approx(hd95.item(), rel=1e-5)
        assert own.mean == pytest.approx(mean.item(), rel=1e-5)
