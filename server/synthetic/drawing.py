"""Draws on grey levels what is on films beside anatomy: unexposed borders, lead, metal, shutters.

Every function takes and returns arrays; none knows a body part or a tag. Grey levels are float32,
bright where the beam is attenuated, so that lead, metal and what was never exposed are bright.
Imports numpy and scipy.

Legend: h w pixels; places are row and column in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.synthetic.solids import Array, Point

Mask = NDArray[np.bool_]
SAMPLE = 4  # every fourth pixel of an axis is enough for a film's grey scale

_GLYPHS = {
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "B": ("11110", "10001", "10001", "11110", "10001", "10001", "11110"),
    "C": ("01110", "10001", "10000", "10000", "10000", "10001", "01110"),
    "E": ("11111", "10000", "10000", "11110", "10000", "10000", "11111"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "O": ("01110", "10001", "10001", "10001", "10001", "10001", "01110"),
    "P": ("11110", "10001", "10001", "11110", "10000", "10000", "10000"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "S": ("01111", "10000", "10000", "01110", "00001", "00001", "11110"),
    "T": ("11111", "00100", "00100", "00100", "00100", "00100", "00100"),
    "U": ("10001", "10001", "10001", "10001", "10001", "10001", "01110"),
}
WORDS = ("AP", "SUP", "ERECT", "SCT AP")


@dataclass(frozen=True)
class Scale:
    """A film's own grey scale: where its dark and bright ends lie, and the SD of its noise."""

    low: float
    high: float
    noise: float


def measure_scale(grey: Array) -> Scale:
    """The grey scale of a film [h,w]; noise from the differences of neighbours."""
    low, high = np.percentile(grey[::SAMPLE, ::SAMPLE], (2, 99.5))
    steps = np.abs(np.diff(grey[::SAMPLE], axis=1))
    return Scale(float(low), float(high), float(np.median(steps)) / (0.6745 * 2**0.5))


def inside_rectangle(
    shape: tuple[int, ...], corners: NDArray[np.float64], tilt_degrees: float
) -> Array:
    """How deep each pixel lies within a tilted rectangle [h,w], in pixels; negative outside.

    Shapes: corners is [2,2], upper left and lower right.
    """
    centre, half = corners.mean(axis=0), (corners[1] - corners[0]) / 2
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(centre[1])
    cosine, sine = (np.float32(f(np.deg2rad(tilt_degrees))) for f in (np.cos, np.sin))
    down, across = cosine * rows + sine * columns, cosine * columns - sine * rows
    depth: Array = np.minimum(np.float32(half[0]) - np.abs(down), np.float32(half[1]) - np.abs(across))
    return depth


def cover_border(grey: Array, inside_mm: Array, scale: Scale, rng: np.random.Generator) -> Array:
    """The film with everything outside of the collimator unexposed but for scatter, edge blurred."""
    span = scale.high - scale.low
    level = scale.high + rng.uniform(0.1, 0.5) * span
    scatter = rng.uniform(0.1, 0.4) * span
    border = rng.standard_normal(grey.shape, np.float32)
    border *= np.float32(scale.noise * rng.uniform(0.5, 1.3))
    border += np.float32(level)
    reach_mm = np.float32(rng.uniform(4.0, 15.0))
    border -= np.float32(scatter) * np.exp(np.minimum(inside_mm, 0) / reach_mm)
    share = np.clip(0.5 + inside_mm / np.float32(rng.uniform(0.6, 2.0)), 0, 1)
    return np.asarray(border + share * (grey - border), np.float32)


def draw_rods(
    grey: Array,
    rods: tuple[tuple[Point, Point, float], ...],
    scale: Scale,
    rng: np.random.Generator,
) -> Array:
    """The film with metal rods (from, to, radius), behind which hardly anything is seen."""
    metal = np.zeros_like(grey)
    for start, end, radius in rods:
        rows = np.arange(grey.shape[0], dtype=np.float32)[:, None] - np.float32(start[0])
        columns = np.arange(grey.shape[1], dtype=np.float32)[None, :] - np.float32(start[1])
        down, across = end[0] - start[0], end[1] - start[1]
        length = float(np.hypot(down, across))
        down, across = down / length, across / length
        along = np.float32(down) * rows + np.float32(across) * columns
        beside = np.float32(across) * rows - np.float32(down) * columns
        past = np.maximum(np.maximum(-along, along - np.float32(length)), 0)
        chord = np.sqrt(np.maximum(1 - (beside * beside + past * past) / np.float32(radius**2), 0))
        np.maximum(metal, chord, out=metal)
    level = scale.high + rng.uniform(0.15, 0.5) * (scale.high - scale.low)
    noisy = np.float32(level) + np.float32(scale.noise) * rng.standard_normal(grey.shape, np.float32)
    share = ndimage.gaussian_filter(np.minimum(2 * metal, 1), 0.6)
    return np.asarray(grey + share * np.maximum(noisy - grey, 0), np.float32)


def lead_letter(letter: str, height: float, rng: np.random.Generator) -> Array:
    """A letter in its frame [h,w], 0 to 1, about ``height`` pixels high, slightly turned."""
    plate = np.zeros((13, 11), np.float32)
    plate[[1, -2], 1:-1] = 1
    plate[1:-1, [1, -2]] = 1
    plate[3:-3, 3:-3] = _glyph(letter)
    enlarged = ndimage.zoom(plate, height / 11.0, order=1, grid_mode=True, mode="nearest")
    turned = ndimage.rotate(enlarged, rng.uniform(-12.0, 12.0), order=1)
    return np.asarray(np.clip(turned, 0, 1), np.float32)


def lead_word(word: str, height: float, rng: np.random.Generator) -> Array:
    """A word of lead letters [h,w], 0 to 1, ``height`` pixels high before it is slightly turned."""
    turned = ndimage.rotate(burned_word(word, height), rng.uniform(-6.0, 6.0), order=1)
    return np.asarray(np.clip(turned, 0, 1), np.float32)


def burned_word(word: str, height: float) -> Array:
    """A word as the machine's software writes it [h,w], 0 to 1."""
    gap = np.zeros((7, 1), np.float32)
    cells = [part for letter in word for part in (_glyph(letter), gap)]
    return np.asarray(
        ndimage.zoom(np.hstack(cells), height / 7.0, order=0, grid_mode=True, mode="nearest"),
        np.float32,
    )


def stamp(grey: Array, drawn: Array, place: Point, level: float) -> Array:
    """The film with a drawing, centred at a place, as bright as ``level``; cut at the film's edges."""
    top, left = (round(at - size / 2) for at, size in zip(place, drawn.shape, strict=True))
    rows = slice(max(top, 0), min(top + drawn.shape[0], grey.shape[0]))
    columns = slice(max(left, 0), min(left + drawn.shape[1], grey.shape[1]))
    share = drawn[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    stamped = grey.copy()
    under = stamped[rows, columns]
    under += share * np.maximum(np.float32(level) - under, 0)
    return stamped


def is_in_circle(shape: tuple[int, ...], centre: Point, radius: float) -> Mask:
    """The pixels [h,w] of a disc."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(centre[1])
    within: Mask = rows * rows + columns * columns <= np.float32(radius**2)
    return within


def is_in_polygon(shape: tuple[int, ...], vertices: NDArray[np.float64]) -> Mask:
    """The pixels [h,w] of a convex polygon.

    Shapes: vertices is [n,2], in either order of travel.
    """
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    columns = np.arange(shape[1], dtype=np.float32)[None, :]
    side = np.zeros((2, *shape), np.bool_)
    for (row, column), (to_row, to_column) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        turn = (to_column - column) * (rows - row) - (to_row - row) * (columns - column)
        side[0] |= turn < 0
        side[1] |= turn > 0
    within: Mask = ~(side[0] & side[1])
    return within


def _glyph(letter: str) -> Array:
    rows = _GLYPHS.get(letter, ("00000",) * 7)
    return np.array([[float(cell) for cell in row] for row in rows], np.float32)
