"""Shape of a region in the plane, in pixels of the prepared film; of a whole film it is a constant.

Outline and area are those of the polygon between pixel centres (marching squares), as IBSI 3.1 takes
them of a mesh in space.
"""

from __future__ import annotations

import math

import numpy as np

from shared.features.radiomics.region import Floats, Mask, Region
from shared.features.radiomics.shares import quotient

# By how many of a square's four corners lie inside; of two, by whether they share a side.
_LENGTH = {1: math.sqrt(0.5), 2: 1.0, 3: math.sqrt(0.5)}
_AREA = {1: 0.125, 2: 0.5, 3: 0.875, 4: 1.0}
# Two opposite corners are two pieces.
_LENGTH_OPPOSITE, _AREA_OPPOSITE = 2 * _LENGTH[1], 2 * _AREA[1]


def measure(region: Region) -> dict[str, float]:
    """Features by name, with A the area and L the length of the outline.

    area A · perimeter L · perimeter_per_area L/A · sphericity 2√(πA)/L, 1 for a disc (in the plane
    what IBSI QCFX is in space) · major_axis (IBSI TDIC) 4√λ₁ · minor_axis (P9VJ) 4√λ₂ · elongation
    (Q3CK) √(λ₂/λ₁), with λ₁ ≥ λ₂ the variances of the pixels' centres along their principal axes; of
    one pixel 1.
    """
    area, perimeter = _outline(region.mask)
    first, second = _axes(region.mask)
    return {
        "area": area,
        "perimeter": perimeter,
        "perimeter_per_area": quotient(perimeter, area),
        "sphericity": quotient(2.0 * math.sqrt(math.pi * area), perimeter),
        "major_axis": 4.0 * math.sqrt(first),
        "minor_axis": 4.0 * math.sqrt(second),
        "elongation": math.sqrt(quotient(second, first)) if first else 1.0,
    }


def _outline(mask: Mask) -> tuple[float, float]:
    """Area and length of the outline, summed over the squares between four pixel centres."""
    padded = np.pad(mask, 1).astype(np.int64)
    corners = padded[:-1, :-1] + padded[:-1, 1:] + padded[1:, :-1] + padded[1:, 1:]
    opposite = (corners == 2) & (padded[:-1, :-1] == padded[1:, 1:])
    n_opposite = int(opposite.sum())
    n = np.bincount(corners.ravel(), minlength=5)
    n[2] -= n_opposite
    area = sum(share * int(n[inside]) for inside, share in _AREA.items())
    length = sum(each * int(n[inside]) for inside, each in _LENGTH.items())
    return area + _AREA_OPPOSITE * n_opposite, length + _LENGTH_OPPOSITE * n_opposite


def _axes(mask: Mask) -> tuple[float, float]:
    """Variances of pixel centres along their principal axes, the larger first."""
    rows, columns = np.nonzero(mask)
    down, across = _centred(rows), _centred(columns)
    a, b, c = (down * down).mean(), (across * across).mean(), (down * across).mean()
    middle, half = (a + b) / 2.0, math.hypot((a - b) / 2.0, c)
    return float(middle + half), float(max(middle - half, 0.0))


def _centred(places: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Floats:
    centred: Floats = places - places.mean()
    return centred
