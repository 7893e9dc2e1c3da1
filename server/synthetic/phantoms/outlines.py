"""Projects flat bodies: a smooth outline with a depth along the beam, a rounded rim and a cortex.

What a capsule cannot be: a vertebral body, a carpal bone, a lung. Knows no anatomy. Imports solids of
the package above and numpy.

Legend: h w pixels; lengths in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.synthetic.solids import Array, Chords, Frame, Point

_PER_SPAN = 6  # points of a curve between two that were given
_LEAST_ROUNDING = 0.1  # mm, of the marrow
_FLAT = 1.01  # times the rounding: from there on a body is as deep as it gets


@dataclass(frozen=True)
class Outline:
    """A body seen from its flat side.

    ``points``: its closed rim, in order; ``depth`` along the beam, reached ``rounding`` within the rim
    (half an ellipse); ``cortex`` all around; ``filling`` its trabecular share over its film's.
    """

    points: tuple[Point, ...]
    depth: float
    rounding: float
    cortex: float = 0.0
    filling: float = 1.0


def smooth(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """A closed curve through the points (Catmull and Rom 1974), as more points."""
    at = np.asarray(points, np.float64)
    before, after, last = np.roll(at, 1, 0), np.roll(at, -1, 0), np.roll(at, -2, 0)
    curve = []
    for step in np.arange(_PER_SPAN) / _PER_SPAN:
        linear, square, cube = step * (after - before), step**2, step**3
        curve.append(
            0.5
            * (
                2 * at
                + linear
                + square * (2 * before - 5 * at + 4 * after - last)
                + cube * (3 * at - before - 3 * after + last)
            )
        )
    return tuple((float(x), float(y)) for x, y in np.stack(curve, axis=1).reshape(-1, 2))


def depth_within(points: tuple[Point, ...], x: Array, y: Array, *, reach: float = np.inf) -> Array:
    """How far each place [h,w] lies within a closed polygon, in mm; negative outside.

    Args:
        points: its corners, in order.
        x: of a film's pixels, as ``Frame.grid`` has them.
        y: likewise.
        reach: no place is told to be further from the rim than this, which is faster.
    """
    nearest2 = np.full(x.shape, reach, np.float32) ** 2
    is_inside = np.zeros(x.shape, np.bool_)
    corners, spans = np.asarray(points, np.float32), Spans.of(x, y)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = bx - ax, by - ay
        length2 = max(float(dx * dx + dy * dy), 1e-12)
        part = spans.rows_near(ay, by, reach), spans.columns_near(ax, bx, reach)
        px, py, so_far = x[part] - ax, y[part] - ay, nearest2[part]
        share = np.clip((px * dx + py * dy) / np.float32(length2), 0, 1)
        np.minimum(so_far, (px - share * dx) ** 2 + (py - share * dy) ** 2, out=so_far)
        if dy != 0:
            # a ray to the right crosses this edge
            rows = spans.rows_near(ay, by, 0.0)
            level = y[rows]
            is_inside[rows] ^= ((ay > level) != (by > level)) & (x[rows] < ax + (level - ay) * dx / dy)
    depth: Array = np.where(is_inside, np.sqrt(nearest2), -np.sqrt(nearest2))
    return depth


@dataclass(frozen=True)
class Spans:
    """From where to where y goes within each row of a grid, and x within each column [2,h], [2,w].

    Along a row or a column of a film's grid both are linear: the ends say it.
    """

    rows: Array
    columns: Array

    @classmethod
    def of(cls, x: Array, y: Array) -> Spans:
        """Of a grid of at least one pixel; none, of an empty one."""
        if not x.size:
            return cls(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32))
        return cls(np.sort(y[:, [0, -1]].T, axis=0), np.sort(x[[0, -1]], axis=0))

    def rows_near(self, a: float, b: float, reach: float) -> slice:
        """The rows outside of which no y is this near to what lies between a and b."""
        return _near(self.rows, min(a, b) - reach, max(a, b) + reach)

    def columns_near(self, a: float, b: float, reach: float) -> slice:
        """The same of columns and x."""
        return _near(self.columns, min(a, b) - reach, max(a, b) + reach)


def _near(spans: Array, low: float, high: float) -> slice:
    near = ((spans[1] >= low) & (spans[0] <= high)).nonzero()[0]
    return slice(near[0], near[-1] + 1) if len(near) else slice(0, 0)


def thickness(outline: Outline, x: Array, y: Array) -> Array:
    """Path through the whole body at places of a film [h,w]; looked for only near the body."""
    path = np.zeros(x.shape, np.float32)
    low, high = np.min(outline.points, axis=0), np.max(outline.points, axis=0)
    near = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if len(rows):
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        within = depth_within(outline.points, x[part], y[part], reach=_FLAT * outline.rounding)
        path[part] = _profile(within, outline.depth, outline.rounding)
    return path


def project_outline(outline: Outline, frame: Frame, shape: tuple[int, int]) -> Chords:
    """Path lengths through the body on a film of this shape [h,w]."""
    box = box_of(outline.points, frame, shape)
    reach = _FLAT * max(outline.rounding, outline.cortex + _LEAST_ROUNDING)
    within = depth_within(outline.points, *frame.grid(box), reach=reach)
    inner = max(outline.depth - 2 * outline.cortex, 0.0)
    marrow = _profile(
        within - np.float32(outline.cortex),
        inner,
        max(outline.rounding - outline.cortex, _LEAST_ROUNDING),
    )
    outer = _profile(within, outline.depth, outline.rounding)
    return Chords(box, outer, marrow, marrow * np.float32(outline.filling))


def box_of(points: tuple[Point, ...], frame: Frame, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The pixels of a film of this shape outside of which none of the points lies."""
    at: NDArray[np.float64] = np.array([frame.pixel_of(point) for point in points])
    slices = []
    for low, high, size in zip(at.min(axis=0), at.max(axis=0), shape, strict=True):
        first = int(np.clip(np.floor(low) - 1, 0, size))
        slices.append(slice(first, int(np.clip(np.ceil(high) + 2, first, size))))
    return slices[0], slices[1]


def _profile(within: Array, depth: float, rounding: float) -> Array:
    share = np.clip(within / np.float32(rounding), 0, 1)
    profile: Array = np.float32(depth) * np.sqrt(1 - np.square(1 - share))
    return profile
