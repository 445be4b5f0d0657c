"""Find the field of view on a uniform surround of any colour, inside lines, frames and pages."""

from dataclasses import replace

import numpy as np

from fundus_cli.data.bright_field import Contrast, Field, find_field
from fundus_cli.data.regions import brightest, dilated, median
from fundus_cli.data.surround import MAX_LEVEL, Surround, surrounds_of

MIN_RIM_SHARE, MIN_SHAPE_RIM_SHARE = 0.25, 0.75
"""Share of the frame that the surround touches, around a round field and, inside a frame or page,
around another one; a colour of the retina touches less, and so does a corner of a surround."""
MIN_RING_SHARE = 0.7
"""Share of the ring around the field that is surround."""
BLUR_SHARE = 0.2
"""Difference from the surround in that ring, as a share of the field's."""
MAX_INSIDE_SHARE = 0.5
"""Share of the field that may look like the surround, as in a grey image on grey."""
CLEAN_LEVEL = 1.5
"""Median difference up to which a surround is so clean that no retina can be taken for it."""
MIN_FIELD_SHARE, MIN_NOISY_FIELD_SHARE = 0.02, 0.2
"""Minimum share of the area inside the frames that a field covers, on a clean and on a noisy
surround; an optic disc on a smooth retina is smaller."""
MAX_STRIP_SHARE = 0.015
"""A strip beyond the surround thinner than this is a line, without a closer look."""


def field_on_surround(image: np.ndarray, reduced: np.ndarray, factor: int) -> Field | None:
    """The field of view that stands out of a uniform surround, whatever the surround's colour.

    Every frequent colour of flat places is tried as the surround's. The part of the image in which
    it occurs is cut out, without the lines, frames and pages around it, and the distance from the
    colour is searched for the field as brightness is on a black surround. What is found counts if
    the surround encloses it. A round field is preferred.

    Args:
        image: (H, W, 3) uint8.
        reduced: (h, w, 3) uint8, the same `factor` times smaller.
        factor: 1 or more.

    Returns:
        None where there is no such field.
    """
    fallback = None
    for surround in surrounds_of(reduced):
        field = _field_inside(image, reduced, surround, factor)
        if field is not None and field.circle is not None:
            return field
        fallback = fallback or field
    return fallback


def _field_inside(
    image: np.ndarray, reduced: np.ndarray, surround: Surround, factor: int
) -> Field | None:
    """The field that this surround encloses."""
    rows, columns = (_extent(surround.is_near.max(axis=axis)) for axis in (1, 0))
    rim_share = np.mean(_rim(surround.is_near[rows, columns]))
    if min(rows.stop - rows.start, columns.stop - columns.start) < 8 or rim_share < MIN_RIM_SHARE:
        return None
    rows, columns = _up_to_frames(reduced, rows, columns)
    distance = surround.distance[rows, columns].copy()
    # Bars between two images of one file.
    distance[np.ptp(distance, axis=1) <= MAX_LEVEL] = surround.level
    distance[:, np.ptp(distance, axis=0) <= MAX_LEVEL] = surround.level
    contrast = _contrast(image, distance, surround, (rows.start, columns.start), factor)
    lit = distance > contrast.floor
    if not lit.any():
        return None
    field = find_field(contrast, float(median(distance[lit])))
    if field is None:
        return None
    if not _is_enclosed(field.mask[::factor, ::factor], distance, surround):
        return None
    is_cut_out = distance.shape != reduced.shape[:2]
    if field.circle is None and is_cut_out and rim_share < MIN_SHAPE_RIM_SHARE:
        return None
    mask = np.zeros(image.shape[:2], bool)
    top, left = factor * rows.start, factor * columns.start
    mask[top : top + contrast.hw[0], left : left + contrast.hw[1]] = field.mask
    return replace(field, mask=mask)


def _contrast(
    image: np.ndarray,
    distance: np.ndarray,
    surround: Surround,
    start: tuple[int, int],
    factor: int,
) -> Contrast:
    """The part of the image that begins at this reduced row and column, seen from its surround."""
    width = image.shape[1]
    top, left = (factor * at for at in start)
    part_height = min(image.shape[0] - top, factor * distance.shape[0])
    part_width = min(width - left, factor * distance.shape[1])

    def sample(indices: np.ndarray) -> np.ndarray:
        y, x = np.divmod(indices, part_width)
        y, x = y + top, x + left
        pixels = image.reshape(-1, 3).take(y * width + x, axis=0)
        shift = (factor - 1) / 2
        at = np.stack([np.ones(x.shape), (x - shift) / factor, (y - shift) / factor], axis=-1)
        return brightest(np.abs(pixels - at @ surround.colour))

    return Contrast(
        level=distance.astype(np.float64),
        surround=surround.level,
        noise=surround.noise,
        factor=factor,
        hw=(part_height, part_width),
        sample=sample,
    )


def _up_to_frames(reduced: np.ndarray, rows: slice, columns: slice) -> tuple[slice, slice]:
    """The part of the image in which the surround occurs, extended where retina goes on beyond."""
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    if not _is_frame(reduced[:top, columns]):
        top = 0
    if not _is_frame(reduced[bottom:, columns]):
        bottom = reduced.shape[0]
    if not _is_frame(reduced[top:bottom, :left].swapaxes(0, 1)):
        left = 0
    if not _is_frame(reduced[top:bottom, right:].swapaxes(0, 1)):
        right = reduced.shape[1]
    return slice(top, bottom), slice(left, right)


def _extent(is_there: np.ndarray) -> slice:
    """From the first to the last place that is True."""
    at = np.flatnonzero(is_there)
    return slice(int(at[0]), int(at[-1]) + 1)


def _is_frame(strip: np.ndarray) -> bool:
    """Whether what lies beyond the surround is no part of the retina.

    Args:
        strip: (thickness, length, 3) of the image along one side.
    """
    thickness, length = strip.shape[:2]
    if thickness <= MAX_STRIP_SHARE * length + 1:
        return True
    # Tool bars and captions change from row to row, but most rows have one colour.
    rows = strip[:, :: max(1, length // 100)].swapaxes(1, 2).astype(np.float32)
    difference = np.abs(rows - median(rows)[..., None]).max(axis=1)
    return float(median(median(difference))) <= MAX_LEVEL


def _rim(plane: np.ndarray) -> np.ndarray:
    """The values along the frame."""
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def _is_enclosed(region: np.ndarray, distance: np.ndarray, surround: Surround) -> bool:
    """Whether the surround lies around the region and not in it."""
    least = MIN_FIELD_SHARE if surround.level <= CLEAN_LEVEL else MIN_NOISY_FIELD_SHARE
    if np.count_nonzero(region) < least * region.size:
        return False
    inner = dilated(dilated(region))
    ring = dilated(dilated(dilated(inner))) & ~inner
    if np.count_nonzero(ring) < 24:
        return False
    # JPEG blurs the border, more so the more the field stands out.
    blurred = max(surround.limit, BLUR_SHARE * float(median(distance[region])))
    is_around = np.mean(distance[ring] <= blurred) >= MIN_RING_SHARE
    return bool(is_around and np.mean(distance[region] <= surround.limit) <= MAX_INSIDE_SHARE)
