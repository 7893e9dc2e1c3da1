"""Films with their bone hidden, and with as much else hidden: what an explanation compares.

Each is a function of one film and its mask alone. Imports numpy only.
Legend: n films · h w pixels.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Film = NDArray[np.float16]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_RADIUS = 8  # pixels around one that is hidden, doubled until there is a pixel to take the mean of
_BLUR = 6  # pixels; how smooth the outline of what else is hidden is


def hide_bone(film: Film, mask: Mask) -> Film:
    """The film [h,w] with each pixel of bone replaced by the local mean of what is none."""
    return _filled(film, hidden=mask, source=~mask)


def hide_else(film: Film, mask: Mask) -> Film:
    """The film [h,w] with an area as large as the bone, but of what is none, replaced by that mean.

    Which area follows from the bytes of film and mask. Where bone is more than half of the film, all
    that is none is replaced.
    """
    other = _as_much_else(film, mask)
    source = ~mask & ~other
    return _filled(film, hidden=other, source=source if source.any() else ~other)


def _as_much_else(film: Film, mask: Mask) -> Mask:
    """Pixels of no bone [h,w], as many as are bone: the highest of a smooth random field."""
    digest = hashlib.sha256(film.tobytes() + np.packbits(mask).tobytes()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    field = _window_sums(draw.normal(size=mask.shape), _BLUR)
    order = np.argsort(np.where(mask, np.inf, -field), axis=None, kind="stable")
    chosen = np.zeros(mask.size, dtype=np.bool_)
    chosen[order[: min(int(mask.sum()), int((~mask).sum()))]] = True
    return chosen.reshape(mask.shape)


def _filled(film: Film, *, hidden: Mask, source: Mask) -> Film:
    """The film where not hidden; elsewhere the mean of the source's pixels near by."""
    if not hidden.any():
        return film.copy()
    values = film.astype(np.float64)
    if not source.any():
        return np.where(hidden, values.mean(), values).astype(np.float16)
    found, is_open, radius = values.copy(), hidden.copy(), _RADIUS
    while is_open.any():
        counts = _window_sums(source.astype(np.float64), radius)
        means = _window_sums(np.where(source, values, 0.0), radius) / np.maximum(counts, 1.0)
        reached = is_open & (counts > 0.5)
        found[reached] = means[reached]
        is_open &= ~reached
        radius *= 2
    return found.astype(np.float16)


def _window_sums(values: Floats, radius: int) -> Floats:
    """Sums over the square window about each pixel, cut at the film's edge. [h,w] -> [h,w]."""
    for axis in (0, 1):
        size = values.shape[axis]
        sums = np.concatenate([np.zeros_like(values.take([0], axis)), np.cumsum(values, axis)], axis)
        after = np.minimum(np.arange(size) + radius + 1, size)
        before = np.maximum(np.arange(size) - radius, 0)
        values = sums.take(after, axis) - sums.take(before, axis)
    return values
