"""Random numbers as a pure function of (seed, epoch, index) and purpose.

No generator keeps state between steps, so a run that resumes in the middle of an epoch, or takes
its samples in another order, gets the same numbers.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Separates streams that share (seed, epoch, index)."""

    order = 1
    patch = 2
    augment = 3
    demo = 4
    bootstrap = 5


def generator(purpose: Purpose, seed: int, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """A fresh generator for one purpose: Philox (Salmon et al. 2011) keyed by seed and epoch.

    Args:
        purpose: the use of the numbers.
        seed: the run's seed, 0 to 2**63 - 1.
        epoch: epoch, 0 or more.
        index: position within the epoch, 0 or more.
    """
    bits = np.random.Philox(key=[seed, epoch], counter=[0, 0, index, int(purpose)])
    return np.random.Generator(bits)
