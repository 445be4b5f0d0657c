"""One drawn fundus photograph: the eye and the camera are drawn by lot, then the light is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, label

from fundus_cli.data.demo_vessels import Eye, Floats, VesselPieces, grow_vessels
from fundus_cli.randomness import Purpose, generator

Planes = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class DemoPhotograph:
    """A photograph and its true structures; vessel is artery or vein."""

    image: NDArray[np.uint8]
    vessel: Bools
    artery: Bools
    vein: Bools
    disc: Bools
    fov: Bools


@dataclass(frozen=True)
class _Frame:
    """Where the eye lies on the sensor: pixels per disc diameter, turn, mirror, round field of view."""

    size_px: int
    scale_px: float
    centre_px: Floats
    radius_px: float
    cut_px: float
    """Half the height that is left of the field of view."""
    turn: Floats
    view_centre: Floats

    def to_pixels(self, points: Floats) -> Floats:
        return np.asarray((points - self.view_centre) @ self.turn * self.scale_px + self.centre_px)

    def to_eye(self) -> tuple[Planes, Planes]:
        """Eye coordinates x and y of every pixel's middle."""
        row, column = np.mgrid[: self.size_px, : self.size_px] + 0.5
        off = np.stack([column, row], axis=-1) - self.centre_px
        eye = off / self.scale_px @ self.turn.T + self.view_centre
        return eye[..., 0].astype(np.float32), eye[..., 1].astype(np.float32)

    def inside(self) -> Planes:
        """Share of every pixel that lies in the field of view."""
        row, column = np.mgrid[: self.size_px, : self.size_px] + 0.5
        x, y = column - self.centre_px[0], row - self.centre_px[1]
        edge = np.minimum(self.radius_px - np.hypot(x, y), self.cut_px - np.abs(y))
        return np.clip(edge + 0.5, 0, 1).astype(np.float32)


def _aim(rng: np.random.Generator, size_px: int) -> tuple[Eye, _Frame]:
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
        branching=rng.uniform(0.6, 1.0) + 0.8 * wide,
        calibre=rng.uniform(0.8, 1.1),
    )
    radius_px = size_px * rng.uniform(0.455, 0.485)
    slack = size_px / 2 - radius_px
    centre_px = size_px / 2 + rng.uniform(-0.7, 0.7, 2) * slack
    is_cut, cut = rng.random() < 0.3, rng.uniform(0.84, 0.96)
    angle, is_right = rng.normal(0, 0.08), rng.random() < 0.5
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    frame = _Frame(
        size_px=size_px,
        scale_px=2 * radius_px / diameter,
        centre_px=centre_px,
        radius_px=radius_px,
        cut_px=radius_px * (cut if is_cut else 1.1),
        turn=turn * [-1, 1] if is_right else turn,
        view_centre=view_centre,
    )
    return eye, frame


def _splat(points: Floats, radius: Floats, value: Floats, side: int) -> Planes:
    """Draw a chord profile, value sqrt(1 - (r / radius)^2), at every point; the highest wins."""
    margin = int(np.ceil(radius.max())) + 1
    padded = side + 2 * margin
    inside = ((points > 0) & (points < side)).all(axis=1)
    cell = points[inside].astype(np.int64) + margin
    flat = cell[:, 1] * padded + cell[:, 0]
    twice = np.maximum(1, np.round(2 * radius[inside]).astype(np.int64))
    value = value[inside].astype(np.float32)
    plane = np.zeros(padded * padded, np.float32)
    for width in np.unique(twice):
        reach = int(width) // 2
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        squared = 4 * (dx**2 + dy**2) / float(width) ** 2
        chord = np.sqrt(np.clip(1 - squared[squared <= 1], 0.08, 1)).astype(np.float32)
        where = flat[twice == width, None] + (dy * padded + dx)[squared <= 1]
        np.maximum.at(plane, where, value[twice == width, None] * chord)
    return plane.reshape(padded, padded)[margin:-margin, margin:-margin]


def _reduce(plane: Planes, factor: int) -> Planes:
    return np.asarray(Image.fromarray(plane).reduce(factor))


def _sample_path(pieces: VesselPieces, spacing: float) -> tuple[Floats, Floats]:
    """Points (K, 2) along cubic Hermite curves through all pieces, and the diameters there."""
    way = pieces.end - pieces.start
    length = np.hypot(way[:, 0], way[:, 1])[:, None, None]
    t = np.arange(0, 1, min(1.0, spacing / float(length.mean())))[:, None]
    leave, arrive = (
        length * np.stack([np.cos(h), np.sin(h)], axis=-1)[:, None]
        for h in (pieces.heading_start, pieces.heading_end)
    )
    start, end = pieces.start[:, None], pieces.end[:, None]
    points = start * (1 - 3 * t**2 + 2 * t**3) + end * (3 * t**2 - 2 * t**3)
    points = points + leave * (t - 2 * t**2 + t**3) + arrive * (t**3 - t**2)
    first, last = pieces.diameter_start[:, None], pieces.diameter_end[:, None]
    return points.reshape(-1, 2), (first + (last - first) * t[:, 0]).ravel()


def _draw_kind(pieces: VesselPieces, frame: _Frame, reflex: float) -> tuple[Planes, Bools]:
    """Optical depth (1 in the middle of a main vein) and annotation of the arteries or veins."""
    factor = 3 if frame.size_px <= 640 else 2
    side, scale = frame.size_px * factor, frame.scale_px * factor
    points, diameter = _sample_path(pieces, 1.2 / scale)
    points = frame.to_pixels(points) * factor
    width = diameter * scale
    # A vessel too thin for the grid is drawn wider and paler.
    thickness = (diameter / 0.08) ** 0.6 * np.minimum(width, 1)
    depth = _splat(points, width / 2, thickness, side)
    wide = diameter > 0.03
    if wide.any():
        shine = _splat(points[wide], 0.16 * width[wide], np.ones(int(wide.sum())), side)
        depth = depth * (1 - reflex * shine)
    # Observers mark vessels of about a pixel and up, and not thinner than a pencil's line.
    seen = width > max(0.6 * factor, 0.015 * scale)
    marked = np.zeros((side, side), np.float32)
    if seen.any():
        drawn = np.maximum(1.06 * width[seen], 1.3 * factor)
        marked = _splat(points[seen], drawn / 2, np.ones(int(seen.sum())), side)
    mark = _reduce((marked > 0).astype(np.float32), factor) >= 0.5
    return _reduce(depth, factor), mark


def _without_crumbs(mark: Bools) -> Bools:
    """Drop the specks that the edge of the view cuts off; an observer would not mark them."""
    parts, _ = label(mark, np.ones((3, 3)))
    area = np.bincount(parts.ravel())
    return np.asarray(mark & (area[parts] > mark.shape[0] / 12))


def _noise(rng: np.random.Generator, cells: int, size_px: int) -> Planes:
    """A smooth random field of about unit deviation with `cells` bumps across the frame."""
    grid = rng.normal(0, 1.35, (cells + 4, cells + 4)).astype(np.float32)
    box = (2, 2, cells + 2, cells + 2)
    field = Image.fromarray(grid).resize((size_px, size_px), Image.Resampling.BICUBIC, box=box)
    return np.asarray(field)


def _bell(distance: Planes, width: float) -> Planes:
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2), np.float32)


def _tint(amount: Planes, red: float, green: float, blue: float) -> Planes:
    """Factors (H, W, 3) that brighten (amount > 0) or darken each channel."""
    return np.exp(amount[..., None] * np.array([red, green, blue], np.float32))


def _choroid(rng: np.random.Generator, eye: Eye, frame: _Frame) -> Planes:
    """Choroidal vessels: pale and dark streaks that wind away from the macula.

    Noise is smeared along the streaks' course (line integral convolution, Cabral and Leedom 1993).
    """
    side = 224
    zoom = side / frame.size_px
    scale = frame.scale_px * zoom
    noise = gaussian_filter(rng.normal(0, 1, (side, side)), 0.035 * scale)
    row, column = np.mgrid[:side, :side].astype(np.float32)
    fovea_column, fovea_row = frame.to_pixels(eye.fovea) * zoom
    away = np.arctan2(row - fovea_row, column - fovea_column) + 0.4 * _noise(rng, 5, side) + 0.3 * _noise(rng, 14, side)
    along_row, along_column = np.sin(away), np.cos(away)
    step = 0.05 * scale
    streaks = np.zeros_like(noise)
    for sign in (-1, 1):
        r, c = row, column
        for _ in range(9):
            i, j = r.astype(np.int64), c.astype(np.int64)
            streaks += noise[i, j]
            r = np.clip(r + sign * step * along_row[i, j], 0, side - 1)
            c = np.clip(c + sign * step * along_column[i, j], 0, side - 1)
    distance = np.hypot(row - fovea_row, column - fovea_column) / scale
    streaks *= (1 - _bell(distance, 1.8)) * (0.6 + 0.4 * np.tanh(_noise(rng, 3, side)))
    streaks = np.clip(streaks / streaks.std(), -2, 2).astype(np.float32)
    size = (frame.size_px, frame.size_px)
    return np.asarray(Image.fromarray(streaks).resize(size, Image.Resampling.BICUBIC))


def _retina(rng: np.random.Generator, eye: Eye, frame: _Frame, x: Planes, y: Planes) -> Planes:
    """Light (H, W, 3) that comes back from the eye's ground, without disc and vessels."""
    size = x.shape[0]
    fovea_distance = np.hypot(x - eye.fovea[0], y - eye.fovea[1]).astype(np.float32)
    disc_distance = np.hypot(x, y)
    red = rng.uniform(0.55, 0.92)
    green = red * rng.uniform(0.26, 0.46)
    blue = green * rng.uniform(0.08, 0.62)
    ground = np.array([red, green, blue], np.float32)

    pigment = sum(_noise(rng, cells, size) / (1 + i) for i, cells in enumerate((3, 6, 12)))
    light = ground * _tint(np.asarray(pigment) * rng.uniform(0.3, 1), 0.05, 0.1, 0.12)
    streaks = _choroid(rng, eye, frame) * rng.uniform(0, 1) ** 1.5
    light *= _tint(streaks, 0.05, 0.11, 0.1)
    grain = _noise(rng, 60, size) + 0.8 * _noise(rng, 120, size) + 0.6 * _noise(rng, 250, size)
    light *= _tint(grain * rng.uniform(0.3, 1), 0.012, 0.03, 0.035)

    macula = rng.uniform(0.4, 1.0) * _bell(fovea_distance, rng.uniform(0.4, 0.7))
    macula += rng.uniform(0.2, 0.8) * _bell(fovea_distance, rng.uniform(0.12, 0.2))
    light *= _tint(-macula, 0.16, 0.32, 0.3)
    # Nerve fibres shimmer around the disc, most above and below it.
    fibres = _bell(disc_distance - 0.4, 0.5) * (0.5 + 0.5 * (y / (disc_distance + 0.1)) ** 2)
    light *= _tint(fibres * rng.uniform(0, 1.2), 0.02, 0.2, 0.25)
    return np.asarray(light, np.float32)


def _add_disc(rng: np.random.Generator, light: Planes, x: Planes, y: Planes) -> tuple[Planes, Bools]:
    """Lay the optic disc with its cup, and sometimes a crescent at its temporal edge, on the ground."""
    stretch, lean = rng.uniform(1.0, 1.16), rng.normal(0, 0.06)
    u, v = (x + lean * y) * np.sqrt(stretch), y / np.sqrt(stretch)
    wobble = 1 + 0.03 * np.sin(2 * np.arctan2(v, u) + rng.uniform(0, 6))
    distance = np.hypot(u, v) / (0.5 * wobble)
    crescent = _bell(distance - 1.08, 0.12) * np.clip(0.2 + u, 0, None) * 2
    light = light * _tint(crescent * rng.normal(0, 0.35), 0.3, 0.5, 0.5)

    glow = light.mean(axis=(0, 1))
    rim = glow * [rng.uniform(1.15, 1.4), rng.uniform(1.9, 2.5), rng.uniform(1.8, 2.8)]
    rim = rim + [0.03, 0.04, rng.uniform(0, 0.06)]
    cup = rim * [1.08, rng.uniform(1.2, 1.4), rng.uniform(1.3, 2.0)] + [0.03, 0.05, 0.04]
    cup_size, softness = rng.uniform(0.25, 0.65), rng.uniform(0.05, 0.1)
    cup_distance = np.hypot(u - 0.06, v - 0.01) / 0.5
    in_disc = 1 / (1 + np.exp(np.clip((distance - 1) / softness, -30, 30)))
    in_cup = 1 / (1 + np.exp(np.clip((cup_distance - cup_size) / (1.6 * softness), -30, 30)))
    rim[2], cup[2] = min(rim[2], 0.8 * rim[1]), min(cup[2], 0.85 * cup[1])
    # The temporal rim is paler than the nasal one, which the vessels' fibres cross.
    colour = rim * (1 + 0.16 * u[..., None]) * (1 - in_cup[..., None]) + cup * in_cup[..., None]
    alpha = (in_disc * rng.uniform(0.8, 0.97))[..., None]
    return np.asarray(light * (1 - alpha) + colour * alpha, np.float32), distance <= 1


def _illuminate(rng: np.random.Generator, light: Planes, frame: _Frame) -> Planes:
    """Vignette, a lamp that is off the middle, and stray light from the lens."""
    size = frame.size_px
    row, column = (np.mgrid[:size, :size] + 0.5).astype(np.float32)
    x = (column - frame.centre_px[0]) / frame.radius_px
    y = (row - frame.centre_px[1]) / frame.radius_px
    lamp_x, lamp_y = rng.normal(0, 0.22, 2)
    away = np.hypot(x - lamp_x, y - lamp_y).astype(np.float32)
    fall = rng.uniform(0.1, 0.6) * away ** rng.uniform(2, 4)
    side = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.4) * (x * np.cos(side) + y * np.sin(side))
    light = light * _tint(slope - fall, 1.0, rng.uniform(0.75, 1.05), rng.uniform(0.7, 1.1))
    veil = np.clip(np.hypot(x, y) - 0.55, 0, None) * np.clip(x * np.cos(side + 1) + y * np.sin(side + 1), 0, 1)
    stray = np.array([0.5, 0.4, 0.25], np.float32) * rng.uniform(0, 1) ** 3
    return np.asarray(light + veil[..., None].astype(np.float32) * stray, np.float32)


def _expose(rng: np.random.Generator, light: Planes, frame: _Frame) -> NDArray[np.uint8]:
    """Lens blur, the field of view's edge, sensor noise and clipping."""
    inside = frame.inside()[..., None]
    blur_px = max(0.4, frame.size_px * rng.uniform(0.0013, 0.0028))
    light = np.minimum(light * rng.uniform(0.85, 1.2), 1.15) * inside
    light = gaussian_filter(light, (blur_px, blur_px, 0))
    dark = rng.uniform(0, 0.02, 3)
    grain = np.float32(rng.uniform(1.2, 2.4) / 255)
    # Last of all draws: their number depends on the size.
    noise = rng.standard_normal(light.shape, np.float32)
    noise = 0.6 * noise + gaussian_filter(noise, (0.7, 0.7, 0)) * 1.2
    level = grain * (0.35 + 0.9 * np.sqrt(np.clip(light, 0, 1)))
    image = light * inside + dark * (1 - inside) + level * noise
    return np.asarray(np.clip(np.rint(255 * image), 0, 255), np.uint8)


def draw_photograph(seed: int, index: int, size_px: int, *, test: bool = False) -> DemoPhotograph:
    """Draw photograph `index` of the train or test split of `seed`; the same eye at every size.

    Arrays are (size_px, size_px), the image (size_px, size_px, 3). Vessels thinner than about a
    pixel fade in the image and are not annotated.
    """
    rng = generator(Purpose.demo, seed, epoch=int(test), index=index)
    eye, frame = _aim(rng, size_px)
    pieces = grow_vessels(rng, eye)
    x, y = frame.to_eye()
    light, disc = _add_disc(rng, _retina(rng, eye, frame, x, y), x, y)
    fov = frame.inside() >= 0.5
    marks = {}
    strength = rng.uniform(0.45, 1.0)
    hue = rng.uniform([0.03, 0.1], [0.35, 1.5])
    for is_artery in (False, True):
        kind = pieces.of_kind(is_artery)
        depth, marks[is_artery] = _draw_kind(kind, frame, rng.uniform(0.15, 0.6))
        darkness = -strength * (rng.uniform(0.6, 0.85) if is_artery else 1.0)
        light = light * _tint(depth * darkness, hue[0] * (0.5 if is_artery else 1), 1.0, hue[1])
    image = _expose(rng, _illuminate(rng, light, frame), frame)
    artery, vein = (_without_crumbs(marks[kind] & fov) for kind in (True, False))
    return DemoPhotograph(image, artery | vein, artery, vein, disc & fov, fov)
