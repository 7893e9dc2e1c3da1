"""The exposed field of a film, found in the picture: where the beam reached the detector.

What lies around it (a collimator's shadow, a black shutter, padding, the canvas of a turned film) is
flat, touches the edge, ends sharply, is brighter or darker than what it surrounds, and leaves a convex
field: soft tissue beside a bone does not. Nothing is fitted on a cohort. Imports numpy and scipy only.
Legend: h w pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, KDTree

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

_PATCH = 3  # edge of a place where a border is looked for
_FLAT = 0.12  # its spread at most, as a share of the picture's own
_TOLERANCE = 0.08  # how far a border may wander from its level, likewise
_EXACT = 1e-3  # below this a place is no noise of a detector but one stored number
_STEP = 0.22  # how steep a border ends: mean step over 2 pixels, likewise
_MOST = 0.85  # no border covers more of a picture
_LEAST_AREA = 0.002  # smaller ones are left
_BEYOND = 0.03  # share of the rest of a picture that is as bright, or as dark, as its border
_CONVEX = 0.94  # what a border surrounds, over its convex hull
_ROUGHLY_CONVEX = 0.75  # likewise by rows and columns, markers in the border not yet left out


def find_exposed(picture: Grey, told: Mask | None = None) -> Mask:
    """Which pixels were exposed.

    Args:
        picture: [h,w], bright where it attenuates, some hundred pixels wide.
        told: [h,w], False where the film's tags say that nothing was exposed.

    Returns:
        [h,w]; one connected field without holes, so that a marker inside it stays.
    """
    exposed = np.ones(picture.shape, dtype=np.bool_) if told is None else told.copy()
    low, high = np.percentile(picture[exposed], (2, 98)) if exposed.any() else (0.0, 0.0)
    spread = float(high - low)
    if spread <= 0:
        return exposed
    looked_at = np.zeros(picture.shape, dtype=np.bool_)  # what turned out to be no border
    for place in _edge_places(exposed):
        if exposed[place].any() and not looked_at[place].all():
            border, others = _border_at(picture, exposed, place, spread)
            exposed &= ~border
            looked_at |= others
    return _largest(exposed)


def _edge_places(exposed: Mask) -> Iterator[tuple[slice, slice]]:
    """Patches along the edge of what the tags leave: corners first, then along each side."""
    rows, columns = np.flatnonzero(exposed.any(axis=1)), np.flatnonzero(exposed.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    tall, wide = max(_PATCH, bottom - top), max(_PATCH, right - left)
    for share in (0.0, 1.0, 0.5, 0.25, 0.75):
        row, column = top + int(share * (tall - _PATCH)), left + int(share * (wide - _PATCH))
        for y, x in ((row, left), (row, right - _PATCH), (top, column), (bottom - _PATCH, column)):
            yield slice(max(0, y), y + _PATCH), slice(max(0, x), x + _PATCH)


def _border_at(
    picture: Grey, exposed: Mask, place: tuple[slice, slice], spread: float
) -> tuple[Mask, Mask]:
    """The border that begins at a place, and what begins there and is none."""
    nothing, others = np.zeros((2, *picture.shape), dtype=np.bool_)
    values = picture[place][exposed[place]]
    level, own = float(np.median(values)), float(np.percentile(values, 90) - np.percentile(values, 10))
    if own > _FLAT * spread:
        return nothing, nothing
    width = max(_TOLERANCE * spread, 1.5 * own)
    sides = [picture >= level - width, picture <= level + width]
    if own <= _EXACT * spread:  # one stored number: a border even between light and dark
        sides.append(np.abs(picture - level) <= max(_EXACT * spread, own))
    for index, side in enumerate(sides):
        # an extreme: hardly anything of the picture lies beyond it without being part of it
        border = _connected(side & exposed, place)
        n, rest = int(border.sum()), exposed & ~border
        if not _LEAST_AREA * border.size <= n <= _MOST * int(exposed.sum()):
            continue
        is_extreme = side[rest].mean() <= _BEYOND
        ends = index == 2 or (is_extreme and _step(picture, border, rest) >= _STEP * spread)
        if ends and _is_convex(rest):
            return border, nothing
        others |= border
    return nothing, others


def _connected(mask: Mask, place: tuple[slice, slice]) -> Mask:
    """What of a mask hangs together with a place, a thread of one pixel cut."""
    opened = ndimage.binary_opening(mask, np.ones((2, 2), dtype=np.bool_))
    labels, _ = ndimage.label(opened)
    found = np.unique(labels[place])
    return np.isin(labels, found[found > 0])


def _is_convex(rest: Mask) -> bool:
    """Whether the field that a border leaves is convex; first roughly, by rows and columns."""
    if _line_convexity(rest) < _ROUGHLY_CONVEX:
        return False
    field = _largest(rest)
    if field.sum() < 16 or _line_convexity(field) < _CONVEX:
        return False
    edge = np.argwhere(field & ~ndimage.binary_erosion(field))
    corners = np.concatenate([edge + shift for shift in ((0, 0), (0, 1), (1, 0), (1, 1))])
    return int(field.sum()) >= _CONVEX * float(ConvexHull(corners).volume)


def _line_convexity(field: Mask) -> float:
    """Area of a field over what its rows, or its columns, span from first to last pixel."""
    area, worst = int(field.sum()), 1.0
    for turned in (field, field.T):
        lines = turned[turned.any(axis=1)]
        spans = lines.shape[1] - lines.argmax(axis=1) - lines[:, ::-1].argmax(axis=1)
        worst = min(worst, area / max(1, int(spans.sum())))
    return worst


def _step(picture: Grey, border: Mask, rest: Mask) -> float:
    """Median difference between a border and what lies 2 pixels inside it, along their line."""
    near = ndimage.binary_dilation(border, iterations=3) & rest
    near &= ~ndimage.binary_dilation(border)
    if near.sum() < 4:
        return 0.0
    edge = ndimage.binary_erosion(border, border_value=1) ^ border
    rows, columns = np.nonzero(near)
    _, nearest = KDTree(np.argwhere(edge)).query(np.stack([rows, columns], axis=1))
    outside = picture[edge][nearest]
    return float(np.median(np.abs(picture[near] - outside)))


def _largest(exposed: Mask) -> Mask:
    """The largest connected part, holes filled, without the pixels that lie half in a border."""
    if exposed.all():
        return exposed
    labels, n_parts = ndimage.label(ndimage.binary_opening(exposed, np.ones((3, 3), dtype=np.bool_)))
    if n_parts == 0:
        return exposed
    sizes = np.bincount(labels.ravel())[1:]
    part = labels == int(np.argmax(sizes)) + 1
    whole: Mask = ndimage.binary_fill_holes(part)
    outside = ndimage.binary_dilation(~whole, np.ones((3, 3), dtype=np.bool_))
    inner: Mask = whole & ~outside
    return inner if inner.any() else whole
