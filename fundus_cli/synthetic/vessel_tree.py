"""The vessels of a synthetic eye: pieces of arteries and veins, and Murray's law for forks.

Positions are in the coordinates of a left eye: origin at the middle of the disc, unit one disc
diameter, x towards the temple, y downwards, headings in radians from x towards y.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEP = 0.09
"""Length of one piece of vessel."""


@dataclass(frozen=True)
class Eye:
    """Properties of an eye and of the camera's position that affect the vessels."""

    fovea: Floats
    view_centre: Floats
    view_radius: float
    winding: float
    """How tortuous the vessels are; 1 is usual."""
    branching: float
    """Forks per length; 1 is usual."""
    calibre: float
    """Factor of all diameters; 1 is usual."""


@dataclass(frozen=True)
class VesselPieces:
    """K short pieces; each leads from start to end with the headings given there."""

    start: Floats
    end: Floats
    heading_start: Floats
    heading_end: Floats
    diameter_start: Floats
    diameter_end: Floats
    is_artery: NDArray[np.bool_]

    def of_kind(self, is_artery: bool) -> "VesselPieces":
        """The arteries alone, or the veins."""
        mine = self.is_artery == is_artery
        return VesselPieces(*(getattr(self, field.name)[mine] for field in fields(self)))

    def sample(self, spacing: float) -> tuple[Floats, Floats]:
        """Places (K, 2) along cubic Hermite curves through all pieces, and the diameters (K,)."""
        t = np.arange(0, 1, min(1.0, spacing / STEP))[:, None]
        start, end = self.start[:, None], self.end[:, None]
        leave, arrive = (
            STEP * unit(heading)[:, None] for heading in (self.heading_start, self.heading_end)
        )
        places = start * (1 - 3 * t**2 + 2 * t**3) + end * (3 * t**2 - 2 * t**3)
        places = places + leave * (t - 2 * t**2 + t**3) + arrive * (t**3 - t**2)
        first, last = self.diameter_start[:, None], self.diameter_end[:, None]
        return places.reshape(-1, 2), (first + (last - first) * t[:, 0]).ravel()


def murray_diameters(parent: Floats, ratio: Floats) -> tuple[Floats, Floats]:
    """Diameters of the two daughters, larger first: d0^3 = d1^3 + d2^3 with d2 = ratio d1.

    Murray 1926, The Physiological Principle of Minimum Work. I; ratio from 0 to 1.
    """
    larger = parent / np.cbrt(1 + ratio**3)
    return larger, ratio * larger


def murray_angles(ratio: Floats) -> tuple[Floats, Floats]:
    """Angles in radians between the parent and its larger and smaller daughter.

    cos a1 = (d0^4 + d1^4 - d2^4) / (2 d0^2 d1^2), and the same with 1 and 2 swapped (Murray 1926,
    The Physiological Principle of Minimum Work Applied to the Angle of Branching of Arteries).
    """
    larger, smaller = murray_diameters(np.ones_like(ratio), ratio)
    l4, s4 = larger**4, smaller**4
    cos_larger = (1 + l4 - s4) / (2 * larger**2)
    cos_smaller = (1 + s4 - l4) / (2 * smaller**2)
    return np.arccos(np.clip(cos_larger, -1, 1)), np.arccos(np.clip(cos_smaller, -1, 1))


def unit(heading: Floats) -> Floats:
    """Vectors (..., 2) of length 1 with these headings."""
    return np.stack([np.cos(heading), np.sin(heading)], axis=-1)


def rotated(vectors: Floats, angle: float | Floats) -> Floats:
    """The vectors (..., 2) rotated from x towards y."""
    x, y = vectors[..., 0], vectors[..., 1]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def heading_of(way: Floats) -> Floats:
    """Headings of vectors (..., 2)."""
    return np.arctan2(way[..., 1], way[..., 0])
