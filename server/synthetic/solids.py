"""Projects bones: unions of hollow tapered solids, seen along the beam, on any film.

Owns the solid, the frame that says where a bone's millimetres lie on the film, and the path lengths
through a union. Knows no anatomy. Imports numpy only.

Legend: h w pixels; lengths in mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Point = tuple[float, float]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Solid:
    """A tapered hollow capsule: axis a → b, outer radii, cortex and filling at both ends."""

    a: Point
    b: Point
    radius: tuple[float, float]
    cortex: tuple[float, float]
    filling: tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """A bone's own millimetres: (x, y) = matrix · (column, row) + offset."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def then(self, matrix: NDArray[np.float64], about: Point = (0.0, 0.0)) -> Frame:
        """The frame of what lies turned or mirrored by ``matrix`` [2,2] about a point of this one."""
        centre = np.asarray(about)
        return Frame(matrix @ self.matrix, matrix @ (self.offset - centre) + centre)

    def pixel_of(self, point: Point) -> Point:
        """Row and column of a point, in pixels from the centre of the first one."""
        column, row = np.linalg.solve(self.matrix, np.asarray(point) - self.offset)
        return float(row), float(column)

    def grid(self, box: Box) -> tuple[Array, Array]:
        """x and y of the pixels of a box, [h,w] each."""
        rows = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None]
        columns = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None, :]
        matrix, offset = self.matrix.astype(np.float32), self.offset.astype(np.float32)
        x = matrix[0, 0] * columns + (matrix[0, 1] * rows + offset[0])
        y = matrix[1, 0] * columns + (matrix[1, 1] * rows + offset[1])
        return x, y

    def box_of(self, solids: tuple[Solid, ...], shape: tuple[int, int]) -> Box:
        """The pixels of a film of this shape [h,w] outside of which none of the solids lies."""
        (xc, xr), (yc, yr) = self.matrix.tolist()
        determinant = xc * yr - xr * yc
        rows, columns = [], []
        for solid in solids:
            reach = max(solid.radius) / abs(determinant) ** 0.5 + 1.0  # in pixels
            for end in (solid.a, solid.b):
                x, y = end[0] - self.offset[0], end[1] - self.offset[1]
                row, column = (xc * y - yc * x) / determinant, (yr * x - xr * y) / determinant
                rows += [row - reach, row + reach]
                columns += [column - reach, column + reach]
        return _between(rows, shape[0]), _between(columns, shape[1])


@dataclass(frozen=True)
class Chords:
    """Path lengths [h,w] on the pixels of a box: outer (mm), marrow (mm), marrow times filling."""

    box: Box
    outer: Array
    marrow: Array
    spongy: Array


def project(solids: tuple[Solid, ...], frame: Frame, shape: tuple[int, int]) -> Chords:
    """Path lengths through the union of the solids on a film of this shape [h,w].

    Taking the largest chord per layer joins the solids without inner walls.
    """
    whole = frame.box_of(solids, shape)
    layers = [
        np.zeros((whole[0].stop - whole[0].start, whole[1].stop - whole[1].start), np.float32)
        for _ in range(3)
    ]
    for solid in solids:
        box = frame.box_of((solid,), shape)
        part = tuple(
            slice(axis.start - first.start, axis.stop - first.start)
            for axis, first in zip(box, whole, strict=True)
        )
        outer, marrow, spongy = (layer[part] for layer in layers)
        share, distance2 = _along(solid, *frame.grid(box))
        radius = _taper(solid.radius, share)
        inner = radius - _taper(solid.cortex, share)
        np.maximum(outer, radius * radius - distance2, out=outer)
        # a cortex thicker than the bone leaves no marrow
        hollow = np.maximum(inner, 0) ** 2 - distance2
        np.maximum(marrow, hollow, out=marrow)
        hollow *= np.square(_taper(solid.filling, share))
        np.maximum(spongy, hollow, out=spongy)
    for half_chord2 in layers:
        np.sqrt(half_chord2, out=half_chord2)
        half_chord2 *= 2
    return Chords(whole, *layers)


def _between(pixels: list[float], size: int) -> slice:
    """The part of an axis of this size from the least to the greatest of some places on it."""
    low = min(max(math.floor(min(pixels)), 0), size)
    return slice(low, max(low, min(math.ceil(max(pixels)) + 1, size)))


def _along(solid: Solid, x: Array, y: Array) -> tuple[Array | np.float32, Array]:
    """Where along the axis each pixel lies (0 at a, 1 at b), and its squared distance from it."""
    (ax, ay), (bx, by) = solid.a, solid.b
    dx, dy = x - np.float32(ax), y - np.float32(ay)
    across = np.float32(bx - ax), np.float32(by - ay)
    length2 = across[0] ** 2 + across[1] ** 2
    share: Array | np.float32 = np.float32(0)
    if length2 > 0:
        share = dx * (across[0] / length2)
        share += dy * (across[1] / length2)
        np.clip(share, 0, 1, out=share)
        dx -= share * across[0]
        dy -= share * across[1]
    dx *= dx
    dy *= dy
    dx += dy
    return share, dx


def _taper(ends: tuple[float, float], share: Array | np.float32) -> Array | np.float32:
    if ends[0] == ends[1]:
        return np.float32(ends[0])
    return np.float32(ends[0]) + np.float32(ends[1] - ends[0]) * share
