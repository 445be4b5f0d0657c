"""Render one synthetic fundus image: retina, optic disc and vessels, seen by a camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, label

from fundus_cli.runtime.randomness import Purpose, generator
from fundus_cli.synthetic.camera import Field, Frame, Planes, aim, coloured, expose, illuminate
from fundus_cli.synthetic.vessel_growth import grow_vessels
from fundus_cli.synthetic.vessel_tree import Eye, Floats, VesselPieces

Bools = NDArray[np.bool_]
BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class SyntheticImage:
    """An image (H, W, 3) and its structures (H, W); vessel is artery or vein."""

    image: NDArray[np.uint8]
    vessel: Bools
    artery: Bools
    vein: Bools
    disc: Bools
    fov: Bools


def render_image(seed: int, index: int, size_px: int, *, test: bool = False) -> SyntheticImage:
    """Render image `index` of the train or test split of `seed`.

    The same eye is rendered at every size. Vessels below about a pixel fade and are not annotated.
    """
    rng = generator(Purpose.demo, seed, epoch=int(test), index=index)
    eye, frame = aim(rng, size_px)
    pieces = grow_vessels(rng, eye)
    x, y = frame.to_eye()
    light, disc = _add_disc(rng, _ground(rng, eye, frame, x, y), x, y)
    # Blood absorbs green light most; how much red and blue is absorbed differs between cameras.
    strength, red, blue = rng.uniform([0.45, 0.03, 0.1], [1.0, 0.35, 1.5])
    artery_share = rng.uniform(0.6, 0.85)
    artery_depth, artery = _render_vessels(pieces.of_kind(True), frame, rng.uniform(0.25, 0.8))
    vein_depth, vein = _render_vessels(pieces.of_kind(False), frame, rng.uniform(0.1, 0.6))
    tone = coloured(vein_depth * np.float32(-strength), red, 1.0, blue)
    tone += coloured(artery_depth * np.float32(-strength * artery_share), 0.5 * red, 1.0, blue)
    image = expose(rng, illuminate(rng, light * np.exp(tone), frame), frame)
    fov = frame.inside() >= 0.5
    artery, vein = _without_crumbs(artery & fov), _without_crumbs(vein & fov)
    return SyntheticImage(image, artery | vein, artery, vein, disc & fov, fov)


def smooth_noise(rng: np.random.Generator, cells: int, size_px: int) -> Planes:
    """(size_px, size_px) of about zero mean and unit deviation, `cells` bumps across."""
    grid = rng.normal(0, 1.35, (cells + 4, cells + 4)).astype(np.float32)
    box = (2, 2, cells + 2, cells + 2)
    return np.asarray(Image.fromarray(grid).resize((size_px, size_px), BICUBIC, box=box))


def _bell(distance: Field, width: float) -> Planes:
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2), np.float32)


def _choroid(rng: np.random.Generator, eye: Eye, frame: Frame) -> Planes:
    """Choroidal vessels: pale and dark streaks that wind away from the macula.

    Noise is smeared along the streaks' course (line integral convolution, Cabral and Leedom 1993).
    """
    side = 176
    zoom = side / frame.size_px
    scale = np.float32(frame.scale_px * zoom)
    noise = gaussian_filter(rng.standard_normal((side, side), np.float32), 0.035 * scale)
    column, row = np.meshgrid(*2 * [np.arange(side, dtype=np.float32)])
    fovea_column, fovea_row = (frame.to_pixels(eye.fovea) * zoom).astype(np.float32)
    course = np.arctan2(row - fovea_row, column - fovea_column)
    course += 0.4 * smooth_noise(rng, 5, side) + 0.3 * smooth_noise(rng, 14, side)
    row_step, column_step = (0.05 * scale * f(course).ravel() for f in (np.sin, np.cos))
    streaks = np.zeros(side * side, np.float32)
    for sign in (-1, 1):
        r, c = row.ravel(), column.ravel()
        for _ in range(9):
            here = r.astype(np.int64) * side + c.astype(np.int64)
            streaks += noise.ravel()[here]
            r = np.clip(r + sign * row_step[here], 0, side - 1)
            c = np.clip(c + sign * column_step[here], 0, side - 1)
    distance = np.hypot(row - fovea_row, column - fovea_column) / scale
    patchy = (1 - _bell(distance, 1.8)) * (0.6 + 0.4 * np.tanh(smooth_noise(rng, 3, side)))
    shown = streaks.reshape(side, side) * patchy
    shown = np.clip(shown / shown.std(), -2, 2).astype(np.float32)
    return np.asarray(Image.fromarray(shown).resize((frame.size_px, frame.size_px), BICUBIC))


def _ground(rng: np.random.Generator, eye: Eye, frame: Frame, x: Planes, y: Planes) -> Planes:
    """Light (H, W, 3) reflected by the fundus, without disc and vessels."""
    size = frame.size_px
    fovea_x, fovea_y = eye.fovea.astype(np.float32)
    fovea_distance, disc_distance = np.hypot(x - fovea_x, y - fovea_y), np.hypot(x, y)
    red = rng.uniform(0.55, 0.92)
    green = red * rng.uniform(0.26, 0.46)
    blue = green * rng.uniform(0.08, 0.62)

    pigment = smooth_noise(rng, 3, size) + smooth_noise(rng, 6, size) / 2
    pigment += smooth_noise(rng, 12, size) / 3
    tone = coloured(pigment * rng.uniform(0.3, 1), 0.05, 0.1, 0.12)
    streaks = _choroid(rng, eye, frame) * rng.uniform(0, 1) ** 1.5
    tone += coloured(streaks, 0.05, 0.11, 0.1)
    grain = smooth_noise(rng, 60, size) + 0.8 * smooth_noise(rng, 120, size)
    grain += 0.6 * smooth_noise(rng, 250, size)
    tone += coloured(grain * rng.uniform(0.3, 1), 0.012, 0.03, 0.035)
    macula = rng.uniform(0.4, 1) * _bell(fovea_distance, rng.uniform(0.4, 0.7))
    macula += rng.uniform(0.2, 0.8) * _bell(fovea_distance, rng.uniform(0.12, 0.2))
    tone -= coloured(macula, 0.16, 0.32, 0.3)
    # Nerve fibres shimmer around the disc, most above and below it.
    fibres = _bell(disc_distance - 0.4, 0.5) * (0.5 + 0.5 * (y / (disc_distance + 0.1)) ** 2)
    tone += coloured(fibres * rng.uniform(0, 1.2), 0.02, 0.2, 0.25)
    return np.array([red, green, blue], np.float32) * np.exp(tone)


def _add_disc(
    rng: np.random.Generator, light: Planes, x: Planes, y: Planes
) -> tuple[Planes, Bools]:
    """Add the optic disc with its cup, and possibly a crescent beside it, to the light."""
    tall, lean = rng.uniform(1.0, 1.16) ** 0.5, rng.normal(0, 0.06)
    u, v = (x + lean * y) * tall, y / tall
    uneven = 1 + 0.03 * np.sin(2 * np.arctan2(v, u) + rng.uniform(0, 6))
    distance = np.hypot(u, v) / (0.5 * uneven)
    crescent = _bell(distance - 1.08, 0.12) * np.clip(0.2 + u, 0, None)
    light = light * np.exp(coloured(crescent * rng.normal(0, 0.7), 0.3, 0.5, 0.5))

    # The nerve is yellow to white; its blue never outdoes its green.
    rim = light.mean(axis=(0, 1)) * rng.uniform([1.15, 1.9, 1.8], [1.4, 2.5, 2.8])
    rim += [0.03, 0.04, rng.uniform(0, 0.06)]
    cup = rim * rng.uniform([1.08, 1.2, 1.3], [1.08, 1.4, 2.0]) + [0.03, 0.05, 0.04]
    rim[2], cup[2] = min(rim[2], 0.8 * rim[1]), min(cup[2], 0.85 * cup[1])
    cup_size, softness = rng.uniform(0.25, 0.65), rng.uniform(0.035, 0.1)
    # The cup lies a little towards the temple, where the rim is thinner and paler.
    cup_distance = np.hypot(u - 0.06, v - 0.01) / 0.5
    in_disc = 0.5 - 0.5 * np.tanh((distance - 1) / (2 * softness))
    in_cup = 0.5 - 0.5 * np.tanh((cup_distance - cup_size) / (3 * softness))
    colour = coloured((1 + 0.16 * u) * (1 - in_cup), *rim) + coloured(in_cup, *cup)
    cover = (in_disc * rng.uniform(0.8, 0.97))[..., None]
    return light + (colour - light) * cover, distance <= 1


def _render_vessels(pieces: VesselPieces, frame: Frame, reflex: float) -> tuple[Planes, Bools]:
    """Optical depth (1 in the middle of a main vein) and annotation of the arteries or veins.

    Args:
        pieces: arteries or veins.
        frame: their position on the sensor.
        reflex: how much of the depth the light reflex along the middle of a wide vessel hides.
    """
    factor = 3 if frame.size_px <= 640 else 2
    side, scale = frame.size_px * factor, frame.scale_px * factor
    places, diameter = pieces.sample(spacing=1.2 / scale)
    points, width = frame.to_pixels(places) * factor, diameter * scale
    # Light is absorbed along its path through the blood; a vessel below a pixel becomes paler.
    thickness = (diameter / 0.08) ** 0.6 * np.minimum(width, 1)
    depth = splat(points, width, thickness, side)
    wide = diameter > 0.03
    shine = splat(points[wide], 0.36 * width[wide], np.ones(int(wide.sum())), side)
    depth = depth * (1 - reflex * shine)
    # Annotators mark vessels of about a pixel or more, a little too wide; on a tiny image they
    # still mark the main vessels.
    seen = width > min(max(0.7 * factor, 0.016 * scale), 0.04 * scale)
    pencil = np.maximum(1.06 * width[seen], 1.3 * factor)
    marked = splat(points[seen], pencil, np.ones(int(seen.sum())), side) > 0
    share = Image.fromarray(marked.astype(np.float32)).reduce(factor)
    return np.asarray(Image.fromarray(depth).reduce(factor)), np.asarray(share) >= 0.5


def splat(points: Floats, width: Floats, value: Floats, side: int) -> Planes:
    """Stamp round profiles of a tube, value * sqrt(1 - (r / radius)^2), and keep the maximum.

    Args:
        points: (K, 2) x and y in pixels; those outside the plane are ignored.
        width: (K,) diameter in pixels, rounded to whole pixels, at least 1.
        value: (K,) at the centre.
        side: the plane is (side, side).
    """
    on_plane = ((points > 0) & (points < side)).all(axis=1)
    pixels = np.maximum(1, np.rint(width[on_plane])).astype(np.int64)
    margin = int(pixels.max(initial=1))
    padded = side + 2 * margin
    cell = points[on_plane].astype(np.int64) + margin
    flat, value = cell[:, 1] * padded + cell[:, 0], value[on_plane].astype(np.float32)
    plane = np.zeros(padded * padded, np.float32)
    for diameter in np.unique(pixels):
        reach = int(diameter) // 2
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        squared = 4 * (dx**2 + dy**2) / float(diameter) ** 2
        profile = np.sqrt(np.clip(1 - squared[squared <= 1], 0.08, 1)).astype(np.float32)
        mine = pixels == diameter
        where = np.add.outer(flat[mine], (dy * padded + dx)[squared <= 1])
        np.maximum.at(plane, where.ravel(), np.outer(value[mine], profile).ravel())
    return plane.reshape(padded, padded)[margin:-margin, margin:-margin]


def _without_crumbs(mark: Bools) -> Bools:
    """Drop the specks that the edge of the view cuts off; an annotator would not mark them."""
    parts, _ = label(mark, np.ones((3, 3)))
    area = np.bincount(parts.ravel())
    return np.asarray(mark & (area[parts] > mark.shape[0] / 12))
