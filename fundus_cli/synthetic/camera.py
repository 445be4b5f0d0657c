"""Simulate the camera of a synthetic image: position, illumination, lens and sensor."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fundus_cli.synthetic.vessel_tree import Eye, Floats

Field = NDArray[np.floating]
"""(H, W), of any precision."""
Planes = NDArray[np.float32]
"""(H, W), or (H, W, 3) with the channels red, green, blue; light runs from 0 to 1."""


@dataclass(frozen=True)
class Frame:
    """Position of an eye on the square sensor; lengths in pixels."""

    size_px: int
    scale_px: float
    """Pixels per disc diameter."""
    centre_px: Floats
    """Middle (x, y) of the field of view."""
    radius_px: float
    cut_px: float
    """Half the height of the field of view, where the sensor is not high enough for all of it."""
    rotation: Floats
    """(2, 2) from eye to sensor; mirrors a right eye."""
    view_centre: Floats
    """The position in the eye that is at the centre of the field of view."""

    def to_pixels(self, places: Floats) -> Floats:
        """Pixel coordinates (..., 2) of places in the eye."""
        return np.asarray(
            (places - self.view_centre) @ self.rotation * self.scale_px + self.centre_px
        )

    def off_centre(self) -> tuple[Planes, Planes]:
        """x and y of every pixel's middle from the middle of the field of view, in pixels."""
        along = np.arange(self.size_px) + 0.5
        x, y = np.meshgrid(along - self.centre_px[0], along - self.centre_px[1])
        return x.astype(np.float32), y.astype(np.float32)

    def to_eye(self) -> tuple[Planes, Planes]:
        """x and y in the eye of every pixel's middle."""
        x, y = (off / np.float32(self.scale_px) for off in self.off_centre())
        (a, b), (c, d) = self.rotation.astype(np.float32)
        middle = self.view_centre.astype(np.float32)
        return a * x + b * y + middle[0], c * x + d * y + middle[1]

    def inside(self, shrink_px: float = 0.0, edge_px: float = 1.0) -> Planes:
        """1 in the field of view, 0 outside, with a slope `edge_px` wide between them."""
        x, y = self.off_centre()
        depth = np.minimum(self.radius_px - np.hypot(x, y), self.cut_px - np.abs(y)) - shrink_px
        return np.clip(depth / edge_px + 0.5, 0, 1).astype(np.float32)


def aim(rng: np.random.Generator, size_px: int) -> tuple[Eye, Frame]:
    """An eye, left or right, and a camera that looks at its disc, its macula or between them."""
    fovea = np.array([rng.uniform(2.35, 2.75), rng.uniform(0.1, 0.5)])
    # From a narrow view of the disc (30 degrees) to a wide one round the macula (60 degrees).
    wide = rng.random()
    towards_fovea = np.clip(rng.normal(0.12 + 0.8 * wide, 0.15), -0.1, 1.1)
    diameter = rng.uniform(4.9, 5.8) * (1 - wide) + rng.uniform(6.4, 9.2) * wide
    view_centre = fovea * towards_fovea + rng.normal(0, 0.15, 2)
    eye = Eye(
        fovea=fovea,
        view_centre=view_centre,
        view_radius=diameter / 2,
        winding=rng.uniform(0.6, 1.5),
        branching=rng.uniform(0.55, 0.95) + 0.8 * wide,
        calibre=rng.uniform(0.8, 1.1) + 0.1 * wide,
    )
    radius_px = size_px * rng.uniform(0.455, 0.485)
    slack_px = size_px / 2 - radius_px
    centre_px = size_px / 2 + rng.uniform(-0.7, 0.7, 2) * slack_px
    is_cut, cut = rng.random() < 0.3, rng.uniform(0.84, 0.96)
    angle, is_right = rng.normal(0, 0.08), rng.random() < 0.5
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    frame = Frame(
        size_px=size_px,
        scale_px=2 * radius_px / diameter,
        centre_px=centre_px,
        radius_px=radius_px,
        cut_px=radius_px * (cut if is_cut else 1.1),
        rotation=rotation * [-1, 1] if is_right else rotation,
        view_centre=view_centre,
    )
    return eye, frame


def coloured(amount: Field, red: float, green: float, blue: float) -> Planes:
    """(H, W, 3): the amount (H, W) times each channel's share of it."""
    return np.asarray(amount[..., None] * np.array([red, green, blue], np.float32), np.float32)


def illuminate(rng: np.random.Generator, light: Planes, frame: Frame) -> Planes:
    """An off-centre illumination that fades to the edge, and stray light from the lens."""
    x, y = (off / np.float32(frame.radius_px) for off in frame.off_centre())
    lamp_x, lamp_y = rng.normal(0, 0.22, 2).astype(np.float32)
    away = np.hypot(x - lamp_x, y - lamp_y)
    fall = rng.uniform(0.1, 0.6) * away ** rng.uniform(2, 4)
    bearing = rng.uniform(0, 2 * np.pi, 2)
    (slope_x, stray_x), (slope_y, stray_y) = np.cos(bearing), np.sin(bearing)
    slope = rng.uniform(0, 0.4) * (x * np.float32(slope_x) + y * np.float32(slope_y))
    tone = coloured(slope - fall, 1.0, rng.uniform(0.75, 1.05), rng.uniform(0.7, 1.1))
    towards = np.clip(x * np.float32(stray_x) + y * np.float32(stray_y), 0, 1)
    stray = np.clip(np.hypot(x, y) - 0.55, 0, None) * towards * rng.uniform(0, 1) ** 3
    return light * np.exp(tone) + coloured(stray, 0.5, 0.4, 0.25)


def expose(rng: np.random.Generator, light: Planes, frame: Frame) -> NDArray[np.uint8]:
    """Simulate the sensor: lens blur, the edge of the aperture mask, clipping and noise."""
    # The aperture mask is imaged slightly out of focus, so its edge is a slope.
    shrink_px = frame.radius_px * rng.uniform(0, 0.008)
    edge_px = 1 + frame.radius_px * rng.uniform(0, 0.015)
    inside = frame.inside(shrink_px, edge_px)[..., None]
    blur_px = max(0.4, frame.size_px * rng.uniform(0.0013, 0.0028))
    light = np.minimum(light * rng.uniform(0.85, 1.2), 1.15)
    light = gaussian_filter(light, (blur_px, blur_px, 0)) * inside
    dark = rng.uniform(0, 0.02, 3).astype(np.float32)
    grain = np.float32(rng.uniform(1.2, 2.4) / 255)
    # Sampled last, because the number of values depends on the size.
    noise = rng.standard_normal(light.shape, np.float32)
    noise = 0.6 * noise + 1.2 * gaussian_filter(noise, (0.7, 0.7, 0))
    level = grain * (0.35 + 0.9 * np.sqrt(np.clip(light, 0, 1)))
    image = light + dark * (1 - inside) + level * noise
    return np.asarray(np.clip(np.rint(255 * image), 0, 255), np.uint8)
