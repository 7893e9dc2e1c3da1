"""One preparation of every film, real or synthetic, for training, validation and reading alike.

Steps: a coarse picture, in which the exposed field is found (``field``) → the landmark of the view's
anatomy in it (``anatomy``) → a window of so many millimetres around it, or the whole exposed field →
mean over the area that each new pixel covers → grey values between two percentiles of what was exposed
become 0 to 1, the rest is clipped, and what was not exposed is 0. Right sides are mirrored first, so
that all look like left ones. Nothing is fitted on a cohort. Imports resize, field and anatomy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.exam.anatomy import ANATOMIES, Found, find_landmark
from shared.exam.field import find_exposed
from shared.exam.resize import average, even_edges

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Changing a step, a constant or a landmark's network changes every score: give it a new name.
PREPROCESSING_VERSION = "exposed-window-1"
LOW_PERCENTILE = 2.0
HIGH_PERCENTILE = 98.0
METAL = 3.5  # so many times the height of bone above soft tissue: a marker or an implant
COARSE_PIXELS = 160  # longer edge, at most, of the picture in which field and landmark are found
LEAST_EXPOSED = 0.6  # of a window
BLANK = "intake.blank-film"
NOT_FOUND = "intake.anatomy-not-found"
CUT_OFF = "intake.anatomy-cut-off"
METAL_THERE = "intake.metal-on-anatomy"
Change = Literal["turned", "flipped", "inverted"]
Turn = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A film's pixels as it hangs on a screen: columns go to the patient's left, rows to the feet.

    Attributes:
        pixels: [h, w], any grey scale, bright where it attenuates.
        pixel_mm: (row, column) spacing, None where the film does not say.
        aspect: height of a pixel over its width, where the spacing is unknown.
        told: [h, w], False where the film says that nothing was exposed; None: it says nothing.
        changes: what its tags made of the stored pixels.
        turns: by what the stored pixels were hung, in order: transposed, or mirrored by numpy.
    """

    pixels: Floats
    pixel_mm: tuple[float, float] | None = None
    aspect: float = 1.0
    told: Mask | None = None
    changes: tuple[Change, ...] = ()
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Framing:
    """What of a film became the image, and how sure that is.

    Attributes:
        window: top, left, bottom, right in pixels of the picture; may reach beyond it.
        shape: rows and columns of the picture; none of a cohort of before.
        exposed: share of the film that was exposed.
        window_exposed: share of the window that was; what was not is 0.
        confidence: of the landmark; 1 for a view without one.
        pixel_mm: of the image; None where nobody knows it.
        is_inverted: bones were dark, against what the film says.
        is_scale_found: the spacing was found in the picture.
        changes: what the film's tags made of the stored pixels.
        flags: codes of why the film should not be read.
    """

    window: tuple[float, float, float, float]
    exposed: float
    confidence: float
    pixel_mm: float | None
    shape: tuple[int, ...] = ()
    window_exposed: float = 1.0
    is_inverted: bool = False
    is_scale_found: bool = False
    changes: tuple[Change, ...] = ()
    flags: tuple[str, ...] = ()


def framing_of(stored: Mapping[str, Any] | None) -> Framing | None:
    """A framing from its JSON values."""
    if stored is None:
        return None
    plain: dict[str, Any] = {
        name: tuple(part) if isinstance(part, list) else part for name, part in stored.items()
    }
    return Framing(**plain)


def prepare(
    picture: Picture,
    out_pixels: int,
    *,
    anatomy: str = "",
    window_mm: float = 0.0,
    mirror: bool = False,
) -> tuple[Floats, Framing]:
    """A film as [out_pixels, out_pixels] float32 in [0, 1], and what of it that is.

    A film that is blank (it becomes zeros) or cannot be trusted is prepared all the same, with flags.

    Args:
        picture: the film.
        out_pixels: edge of the result.
        anatomy: a key of ``ANATOMIES``; empty: the whole exposed field.
        window_mm: edge of the window around the landmark.
        mirror: whether to flip left and right.
    """
    coarse = _Coarse(picture, mirror)
    exposed = find_exposed(coarse.grey, coarse.told)
    if anatomy and float(np.ptp(coarse.grey)) > 0:
        found = find_landmark(
            coarse.grey, exposed, spacing=coarse.spacing, is_known=coarse.is_known, anatomy=anatomy
        )
        window = coarse.window_at(found, window_mm)
        pixel_mm: float | None = window_mm / out_pixels
        flags: tuple[str, ...] = (
            () if found.confidence >= ANATOMIES[anatomy].least_confidence else (NOT_FOUND,)
        )
    else:
        window, found, flags = coarse.window_of(exposed), None, ()
        pixel_mm = _spacing(picture, window, out_pixels)
    grey = coarse.cut(window, out_pixels)
    is_inverted = found is not None and found.is_inverted
    grey = -grey if is_inverted else grey
    inside = coarse.cut_mask(exposed, window, out_pixels)
    metal = _metal(grey, inside)
    if anatomy and inside.mean() < LEAST_EXPOSED:
        flags += (CUT_OFF,)
    if anatomy and metal[_middle(out_pixels)].mean() > 0.25:
        flags += (METAL_THERE,)
    image = _scale_grey(grey, inside, metal)
    if not image.any():
        flags = (BLANK, *flags)
    return image, Framing(
        window=coarse.as_stored(window),
        exposed=float(exposed.mean()),
        confidence=found.confidence if found else 1.0,
        pixel_mm=pixel_mm,
        shape=picture.pixels.shape,
        window_exposed=float(inside.mean()),
        is_inverted=is_inverted,
        is_scale_found=found is not None and picture.pixel_mm is None,
        changes=picture.changes,
        flags=flags,
    )


def find_field(picture: Picture) -> tuple[Floats, Mask]:
    """The coarse picture [h', w'] of a film, and what of it was exposed."""
    coarse = _Coarse(picture, mirror=False)
    return coarse.grey, find_exposed(coarse.grey, coarse.told)


def is_mirrored(laterality: str | None) -> bool:
    """Whether a film of this side is flipped: right ones are, left, both and unknown are not."""
    return laterality == "R"


Window = tuple[float, float, float, float]  # top, left, bottom, right in pixels of the turned film


class _Coarse:
    """A film, mirrored where its side says so, and its means over small blocks."""

    def __init__(self, picture: Picture, mirror: bool) -> None:
        self._mirror = mirror
        self._pixels = picture.pixels[:, ::-1] if mirror else picture.pixels
        told = picture.told
        self._told = told[:, ::-1] if told is not None and mirror else told
        self._mm = picture.pixel_mm or (picture.aspect, 1.0)
        self.is_known = picture.pixel_mm is not None
        height, width = picture.pixels.shape
        edge = max(height * self._mm[0], width * self._mm[1]) / COARSE_PIXELS
        self._block = tuple(max(1, math.ceil(edge / mm)) for mm in self._mm)

    @cached_property
    def grey(self) -> Floats:
        """[h', w'] means over blocks."""
        return _block_means(self._pixels, self._block, self._told)

    @cached_property
    def told(self) -> Mask | None:
        """[h', w'] blocks of which the film says that they were exposed, whole."""
        if self._told is None:
            return None
        return _block_means(self._told.astype(np.float32), self._block, None) > 0.99

    @property
    def spacing(self) -> tuple[float, float]:
        """(row, column) spacing of the coarse picture in mm, or relative where it is unknown."""
        return self._mm[0] * self._block[0], self._mm[1] * self._block[1]

    def window_at(self, found: Found, window_mm: float) -> Window:
        """A square of so many millimetres around a landmark."""
        row, column = found.row * self._block[0], found.column * self._block[1]
        tall, wide = (window_mm / (mm * found.scale) / 2 for mm in self._mm)
        return row - tall, column - wide, row + tall, column + wide

    def window_of(self, exposed: Mask) -> Window:
        """The smallest square, in millimetres, around what was exposed."""
        rows, columns = np.flatnonzero(exposed.any(axis=1)), np.flatnonzero(exposed.any(axis=0))
        height, width = self._pixels.shape
        top, left = rows[0] * self._block[0], columns[0] * self._block[1]
        bottom = height if rows[-1] + 1 == len(exposed) else (rows[-1] + 1) * self._block[0]
        right = width if columns[-1] + 1 == exposed.shape[1] else (columns[-1] + 1) * self._block[1]
        edge = max((bottom - top) * self._mm[0], (right - left) * self._mm[1])
        middle = (top + bottom) / 2, (left + right) / 2
        tall, wide = (edge / mm / 2 for mm in self._mm)
        return middle[0] - tall, middle[1] - wide, middle[0] + tall, middle[1] + wide

    def cut(self, window: Window, out_pixels: int) -> Floats:
        """[n, n] means of a window; beyond the film its nearest pixels are repeated."""
        top, left, bottom, right = window
        # columns that no part of the window reaches are not read
        first = int(np.clip(np.floor(left), 0, self._pixels.shape[1] - 1))
        last = int(np.clip(np.ceil(right), first + 1, self._pixels.shape[1]))
        rows = even_edges(top, bottom, out_pixels)
        columns = even_edges(left - first, right - first, out_pixels)
        return average(self._pixels[:, first:last], rows, columns)

    def cut_mask(self, exposed: Mask, window: Window, out_pixels: int) -> Mask:
        """[n, n]: which pixels of a window were exposed, as the coarse picture says."""
        places = []
        for low, high, block, n, whole in (
            (window[0], window[2], self._block[0], exposed.shape[0], self._pixels.shape[0]),
            (window[1], window[3], self._block[1], exposed.shape[1], self._pixels.shape[1]),
        ):
            middle = low + (np.arange(out_pixels) + 0.5) * (high - low) / out_pixels
            at = np.clip((middle // block).astype(np.int64), 0, n - 1)
            places.append((at, (middle >= 0) & (middle < whole)))
        (rows, is_row), (columns, is_column) = places
        inside: Mask = exposed[np.ix_(rows, columns)] & is_row[:, None] & is_column[None, :]
        return inside

    def as_stored(self, window: Window) -> Window:
        """A window in pixels of the picture as it was before it was mirrored."""
        top, left, bottom, right = (float(edge) for edge in window)
        if self._mirror:
            width = self._pixels.shape[1]
            left, right = width - right, width - left
        return top, left, bottom, right


def _block_means(pixels: Floats, block: tuple[int, ...], told: Mask | None) -> Floats:
    """Means over whole blocks; a rest at the lower and right edge is left out."""
    edges = [
        np.arange(n // size + 1, dtype=np.float64) * size
        for n, size in zip(pixels.shape, block, strict=True)
    ]
    means = average(pixels, edges[0], edges[1])
    if told is None:
        return means
    # what was not exposed does not mix in where a block holds both
    shares = average(told, edges[0], edges[1])
    inside = average(np.where(told, pixels, 0), edges[0], edges[1])
    return np.where(shares > 0, inside / np.maximum(shares, 1e-6), means).astype(np.float32)


def _spacing(picture: Picture, window: Window, out_pixels: int) -> float | None:
    if picture.pixel_mm is None:
        return None
    return (window[2] - window[0]) * picture.pixel_mm[0] / out_pixels


def _middle(out_pixels: int) -> tuple[slice, slice]:
    third = out_pixels // 3
    return slice(third, -third), slice(third, -third)


def _metal(grey: Floats, inside: Mask) -> Mask:
    """What is far brighter than bone: markers and implants, which must not set the grey scale."""
    if not inside.any():
        return inside
    tissue, bone = np.percentile(grey[inside], (50, 90))
    metal: Mask = inside & (grey > tissue + METAL * max(float(bone - tissue), 1e-6))
    return metal


def _scale_grey(grey: Floats, inside: Mask, metal: Mask) -> Floats:
    seen = inside & ~metal
    if not seen.any():
        return np.zeros_like(grey)
    low, high = np.percentile(grey[seen], (LOW_PERCENTILE, HIGH_PERCENTILE))
    # The mean of equal numbers may differ in its last digits: that is no contrast.
    if high - low <= 1e-5 * max(abs(low), abs(high)):
        return np.zeros_like(grey)
    scaled: Floats = (np.clip((grey - low) / (high - low), 0, 1) * inside).astype(np.float32)
    return scaled
