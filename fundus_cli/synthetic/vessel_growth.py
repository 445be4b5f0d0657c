"""Grow the vessels of a synthetic eye from the disc around the macula, with forks."""

import numpy as np
from numpy.typing import NDArray

from fundus_cli.synthetic.vessel_tree import (
    STEP,
    Eye,
    Floats,
    VesselPieces,
    heading_of,
    murray_angles,
    murray_diameters,
    rotated,
    unit,
)

THINNEST = 0.011
"""Diameter at which a vessel ends, about 20 micrometres."""
MAX_STEPS = 300
_FEELERS, _FEELER_LENGTHS = np.array([-1.2, 1.2, 0.0]), np.array([0.32, 0.32, 0.3])

_TIP = np.dtype(
    [
        ("position", "f8", 2),
        ("heading", "f8"),
        ("diameter", "f8"),
        ("bend", "f8"),  # curvature, a random walk that decays
        ("lean", "f8"),  # rotation of its outward direction, so that daughters fan out
        ("age", "f8"),  # length since it left its parent
        ("gap", "f8"),  # remaining length to the next fork
        ("route", "i8"),  # row of the waypoints that lead a main vessel, -1 for none
        ("waypoint", "i8"),
        ("is_artery", "?"),
        ("feeds_macula", "?"),
        ("fades", "?"),
    ]
)
Tips = NDArray[np.void]

# (x, y) of the upper arcade and of the upper nasal vessels; the lower ones mirror them.
_TEMPORAL_ROUTE = np.array(
    [(0.04, -0.46), (0.5, -1.15), (1.35, -1.75), (2.5, -2.0), (3.7, -1.8), (4.9, -1.5), (8.5, -1.6)]
)
_NASAL_ROUTE = np.array(
    [(-0.2, -0.45), (-0.75, -1.15), (-1.35, -2.0), (-1.9, -3.0), (-2.5, -4.2), (-3, -5), (-4, -6)]
)


class _Crowd:
    """Density of arteries and veins on a coarse grid, by which vessels repel each other."""

    CELL = 0.08
    REACH = 3

    def __init__(self, eye: Eye) -> None:
        self._side = int(2 * (eye.view_radius + 0.6) / self.CELL) + 2 * self.REACH + 1
        self._corner = eye.view_centre - self._side * self.CELL / 2
        self._grid = np.zeros(2 * self._side**2)
        offsets = np.arange(-self.REACH, self.REACH + 1)
        bell = np.exp(-(offsets**2) / 5.0)
        self._weights = np.outer(bell, bell).ravel() * STEP / 0.075
        self._offsets = np.add.outer(offsets * self._side, offsets).ravel()

    def _cells(self, position: Floats) -> NDArray[np.int64]:
        cell = ((position - self._corner) / self.CELL).astype(np.int64)
        cell = np.clip(cell, self.REACH, self._side - 1 - self.REACH)
        return np.asarray(cell[..., 1] * self._side + cell[..., 0])

    def deposit(self, tips: Tips) -> None:
        cells = self._cells(tips["position"]) + tips["is_artery"] * self._side**2
        where = np.add.outer(cells, self._offsets).ravel()
        # Both flat: ufunc.at of numpy 2.4 reads past the end of values that it must broadcast.
        np.add.at(self._grid, where, np.tile(self._weights, tips.size))

    def around(self, tips: Tips, angles: Floats, distances: Floats) -> tuple[Floats, Floats]:
        """Density (A, N) of the tips' own kind and of the other, at A angles and distances."""
        ways = distances[:, None, None] * unit(tips["heading"] + angles[:, None])
        cells = self._cells(tips["position"] + ways)
        artery, vein = self._grid[cells + self._side**2], self._grid[cells]
        is_artery = tips["is_artery"]
        return np.where(is_artery, artery, vein), np.where(is_artery, vein, artery)


def _sprout(rng: np.random.Generator, eye: Eye) -> tuple[Tips, Floats]:
    """The vessels at the disc, and the waypoints (R, P, 2) of the main ones."""
    routes: list[Floats] = []
    tips = np.zeros(8 + int(rng.integers(6, 12)), _TIP)
    hub = np.array([-0.1, 0.0]) + rng.normal(0, [0.05, 0.06])
    for upper in (1.0, -1.0):
        for course, spread in ((_TEMPORAL_ROUTE, 0.13), (_NASAL_ROUTE, 0.16)):
            shared = course * [1, upper] * rng.uniform(0.85, 1.12)
            shared = shared + rng.normal(0, spread, course.shape)
            if course is _NASAL_ROUTE:
                shared = rotated(shared, rng.uniform(-0.35, 0.35))
            aside = unit(heading_of(np.gradient(shared, axis=0)) + np.pi / 2)
            # An artery and its vein run side by side, and mostly change sides once.
            sides = np.where(np.arange(len(course)) < rng.integers(1, len(course)), 1, -1)
            for is_artery in (True, False):
                own = rng.normal(0, 0.08, course.shape)
                own += aside * sides[:, None] * (0.1 if is_artery else -0.1)
                own[0] *= 0.6
                tip = tips[len(routes)]
                tip["position"] = hub + rng.normal(0, 0.04, 2) - [0, 0.03 * upper]
                tip["is_artery"], tip["route"] = is_artery, len(routes)
                main = 0.082 if course is _TEMPORAL_ROUTE else 0.064
                tip["diameter"] = main * (0.74 if is_artery else 1.0) * rng.uniform(0.85, 1.15)
                tip["heading"] = heading_of(shared[0] + own[0] - tip["position"])
                tip["gap"] = rng.uniform(0.7, 1.3)
                routes.append(shared + own)
    small = tips[8:]
    angle = rng.uniform(-np.pi, np.pi, small.size)
    small["position"] = unit(angle) * rng.uniform(0.05, 0.3, (small.size, 1)) + hub
    small["heading"] = angle + rng.normal(0, 0.3, small.size)
    small["route"] = -1
    small["is_artery"] = rng.random(small.size) < 0.5
    small["diameter"] = rng.uniform(0.018, 0.048, small.size)
    small["feeds_macula"] = np.abs(angle) < 0.9
    small["gap"] = rng.uniform(0.4, 1.0, small.size)
    tips["diameter"] *= eye.calibre
    return tips, np.array(routes)


def _steer(rng: np.random.Generator, tips: Tips, eye: Eye, routes: Floats, crowd: _Crowd) -> None:
    """Update the heading and the diameter of every tip, in place, for the next step."""
    position, heading = tips["position"], tips["heading"]
    led = tips["route"] >= 0
    from_fovea = position - eye.fovea
    fovea_distance = np.hypot(from_fovea[:, 0], from_fovea[:, 1])
    outwards = 0.6 * position / (np.hypot(position[:, 0], position[:, 1])[:, None] + 0.1)
    outwards += 0.4 * from_fovea / (fovea_distance[:, None] + 0.1)
    outwards = rotated(outwards, tips["lean"])
    goal = np.where(tips["feeds_macula"][:, None], -from_fovea, outwards)
    goal[led] = routes[tips["route"][led], tips["waypoint"][led]] - position[led]
    gain = np.where(led, 2.4, 0.9)
    curvature = gain * np.sin(heading_of(goal) - heading)

    (left, right, ahead), (left_other, right_other, _) = crowd.around(
        tips, _FEELERS, _FEELER_LENGTHS
    )
    push = left - right + 0.5 * (left_other - right_other)
    curvature += np.where(led, 0.15, 1.8) * np.tanh(push)

    thinness = np.clip(0.05 / tips["diameter"], 1, 2.2)
    tips["bend"] *= np.exp(-STEP / 0.22)
    tips["bend"] += rng.normal(0, 0.8, tips.size) * eye.winding * thinness
    tips["age"] += STEP
    tips["heading"] = heading + (curvature + tips["bend"]) * STEP

    thin = tips["diameter"] < 0.045
    squeezed = np.maximum(ahead / 1.5, (left + right) / 4)
    squeezed[tips["feeds_macula"]] *= 0.6
    tips["fades"] |= ~led & thin & (squeezed > 1) & (tips["age"] > 0.45)
    tips["fades"] |= fovea_distance < 0.75
    taper = np.where(tips["fades"], 2.5, np.where(thin & ~led, 0.08, 0.03))
    tips["diameter"] *= np.exp(-taper * STEP)


def _follow_routes(tips: Tips, routes: Floats) -> None:
    """Advance to the next waypoint where one is reached; past the last, a tip grows freely."""
    led = np.flatnonzero(tips["route"] >= 0)
    way = routes[tips["route"][led], tips["waypoint"][led]] - tips["position"][led]
    past = (way * unit(tips["heading"][led])).sum(axis=1) < 0.15
    tips["waypoint"][led[past]] += 1
    done = tips["waypoint"] >= routes.shape[1]
    tips["route"][done] = -1
    tips["waypoint"][done] = 0


def _fork(rng: np.random.Generator, tips: Tips, eye: Eye) -> Tips:
    """Fork the tips that are due: the larger daughter continues, the smaller is returned."""
    tips["gap"] -= STEP
    forking = (tips["gap"] <= 0) & ~tips["fades"] & (tips["diameter"] > 1.35 * THINNEST)
    which = np.flatnonzero(forking)
    parent = tips[which]
    count = which.size
    led = parent["route"] >= 0
    to_fovea = eye.fovea - parent["position"]
    fovea_side = np.sign(np.sin(heading_of(to_fovea) - parent["heading"]))
    on_arcade = led & (parent["position"][:, 0] > 0.3)
    is_major = led & (rng.random(count) < 0.18)
    side = np.where(rng.random(count) < np.where(led, 0.65, 0.5), fovea_side, -fovea_side)
    # Large branches of an arcade leave it outwards: none crosses the macula.
    side = np.where(is_major & on_arcade, -fovea_side, side)
    inwards = on_arcade & (side == fovea_side) & (np.hypot(*to_fovea.T) < 2.7)

    ratio = np.where(led, rng.uniform(0.25, 0.5, count), rng.uniform(0.4, 1.0, count))
    ratio = np.where(inwards, rng.uniform(0.38, 0.62, count), ratio)
    ratio = np.where(is_major, rng.uniform(0.55, 0.85, count), ratio)
    larger, smaller = murray_diameters(parent["diameter"], ratio)
    larger_angle, smaller_angle = murray_angles(ratio)
    children = parent.copy()
    children["heading"] += side * smaller_angle * rng.uniform(0.75, 1.1, count)
    children["diameter"] = smaller
    children["bend"] = children["age"] = 0
    children["lean"] += side * rng.uniform(0.1, 0.5, count)
    children["route"] = -1
    children["feeds_macula"] |= inwards
    tips["heading"][which] -= side * larger_angle * np.where(led, 0.4, 0.9)
    tips["diameter"][which] = larger
    sparse = np.where(on_arcade, 0.55, np.where(parent["feeds_macula"], 0.8, 1.6))
    tips["gap"][which] = rng.uniform(0.25, 0.95, count) * sparse / eye.branching
    sparse = np.where(children["feeds_macula"], 0.8, 1.6)
    children["gap"] = rng.uniform(0.3, 1.1, count) * sparse / eye.branching
    return children


def grow_vessels(rng: np.random.Generator, eye: Eye) -> VesselPieces:
    """Grow all vessels of an eye that pass through the camera's view.

    All tips advance together, one step at a time. Each is steered along its route (along an arcade,
    towards the macula, outwards), is repelled by its neighbours, and thins until it ends.
    """
    tips, routes = _sprout(rng, eye)
    crowd = _Crowd(eye)
    befores: list[Tips] = []
    afters: list[Tips] = []
    for _ in range(MAX_STEPS):
        if not tips.size:
            break
        before = tips.copy()
        _steer(rng, tips, eye, routes, crowd)
        tips["position"] += STEP * unit((before["heading"] + tips["heading"]) / 2)
        befores.append(before)
        afters.append(tips.copy())
        _follow_routes(tips, routes)
        crowd.deposit(tips)
        off_centre = tips["position"] - eye.view_centre
        off_fovea = tips["position"] - eye.fovea
        alive = tips["diameter"] > THINNEST
        alive &= np.hypot(off_centre[:, 0], off_centre[:, 1]) < eye.view_radius + 0.15
        alive &= np.hypot(off_fovea[:, 0], off_fovea[:, 1]) > 0.3
        tips = tips[alive]
        children = _fork(rng, tips, eye)
        if children.size:
            tips = np.concatenate([tips, children])
    start, end = np.concatenate(befores), np.concatenate(afters)
    return VesselPieces(
        start=start["position"],
        end=end["position"],
        heading_start=start["heading"],
        heading_end=end["heading"],
        diameter_start=start["diameter"],
        diameter_end=end["diameter"],
        is_artery=start["is_artery"],
    )
