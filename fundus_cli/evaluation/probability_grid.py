"""Bins for float32 probabilities, as fine as their maximum number allows for the data."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

HALF = 0x3F000000
"""Bit pattern of 0.5 as float32."""
SMALLEST_REST = 0x33000000
"""Bit pattern of 2**-25, which stands for the rest 1 - p of p = 1: the next p has 2**-24."""

Codes = npt.NDArray[np.int32]


def code_of(probability: npt.NDArray[np.float32]) -> Codes:
    """Encode a probability as an integer that increases with it and differs for every float32.

    The bit pattern of a positive float rises with its value and is even on a logarithmic scale:
    p is read by its own bits below a half, by those of 1 - p above, so that the codes are finest
    near 0 and near 1.

    Args:
        probability: any shape, above 0 and up to 1.
    """
    rest = np.maximum((np.float32(1) - probability).view(np.int32), SMALLEST_REST)
    low = np.ascontiguousarray(probability).view(np.int32)
    return np.where(probability < 0.5, low, 2 * HALF - rest)


def smallest_with(code: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The smallest float32 probability whose code is at least this."""
    low = np.minimum(code, HALF).astype(np.int32).view(np.float32)
    beyond = (2 * HALF - np.maximum(code, HALF)).astype(np.int32).view(np.float32)
    # Above a half float32 values lie 2**-24 apart; the rest 1 - p is a multiple of that.
    rest = np.floor(beyond.astype(np.float64) * 2**24) / 2**24
    return np.where(code < HALF, low, (1 - rest).astype(np.float32))


@dataclass(frozen=True)
class Grid:
    """Even bins over the codes from `lowest` to `highest`, each of 2**shift codes.

    The shift is the smallest with at most `max_bins` bins. It depends on nothing but the two ends,
    and a coarser bin is a union of finer ones; so what a grid that grew holds does not depend on
    the order in which it grew. Bin 0 is kept for a probability of exactly 0.
    """

    lowest: int
    highest: int
    max_bins: int

    @cached_property
    def shift(self) -> int:
        """Low bits of a code that a bin leaves out."""
        shift = 0
        while (self.highest >> shift) - (self.lowest >> shift) + 1 > self.max_bins:
            shift += 1
        return shift

    @cached_property
    def num_bins(self) -> int:
        """Bins, that of 0 included."""
        return (self.highest >> self.shift) - (self.lowest >> self.shift) + 2

    def cover(self, other: "Grid") -> "Grid":
        """The grid over what both cover, with this one's number of bins."""
        ends = min(self.lowest, other.lowest), max(self.highest, other.highest)
        return Grid(*ends, self.max_bins)

    def place(self, code: Codes) -> Codes:
        """The bin of each code."""
        return (code >> self.shift) - np.int32((self.lowest >> self.shift) - 1)

    def place_bins_of(self, other: "Grid") -> npt.NDArray[np.int64]:
        """The bin here of each bin of a grid that this one covers."""
        keys = np.arange(other.num_bins - 1) + (other.lowest >> other.shift)
        places = (keys >> (self.shift - other.shift)) - (self.lowest >> self.shift) + 1
        return np.concatenate([[0], places])

    def edges(self) -> npt.NDArray[np.float32]:
        """The smallest probability of each bin."""
        keys = np.arange(self.num_bins - 1) + (self.lowest >> self.shift)
        return np.concatenate([np.zeros(1, np.float32), smallest_with(keys << self.shift)])
