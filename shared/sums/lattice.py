"""The public lattice on which rows are added: integers, so that a patient moves a total by that row.

A bounded row is truncated towards zero to multiples of a public spacing, a power of two, and rows are
added as 64-bit integers: the total does not depend on the order, and adding a patient changes it by
exactly that patient's row. Noise is drawn on the same lattice. Imports nothing of the project.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Spacing = bound · 2^-30 to a power of two: 2^33 patients fit into 64 bits, and truncation takes at
# most 1e-6 of the bound from a row of a million cells.
LATTICE_BITS = 30
# A row that is scaled down ends a hair below the bound, so that rounding cannot lift it above.
_BELOW = 1.0 - 2.0**-40


def spacing_of(bound: float, *, bits: int = LATTICE_BITS) -> float:
    """Distance of two lattice points for rows of an L2 norm of at most ``bound``: a power of two."""
    return float(2.0 ** (math.floor(math.log2(bound)) - bits))


def bound_rows(rows: Floats, *, bound: float) -> Floats:
    """Rows [n, m] scaled down to a norm of at most ``bound``; one that is not finite becomes zeros."""
    # In one layout, so that a row's norm is added up in one order whatever made the rows.
    rows = np.ascontiguousarray(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt((rows * rows).sum(axis=1))  # [n]
    is_finite = np.isfinite(norms)
    factors = np.ones_like(norms)
    is_long = is_finite & (norms > bound)
    factors[is_long] = bound * _BELOW / norms[is_long]
    bounded: Floats = np.where(is_finite[:, None], rows, 0.0) * factors[:, None]
    return bounded


def to_lattice(rows: Floats, *, spacing: float) -> Integers:
    """Rows [n, m] in units of ``spacing``, truncated towards zero."""
    # A power of two divides without rounding, so equal rows give equal integers.
    return np.trunc(rows / spacing).astype(np.int64)


def from_lattice(total: Integers, *, spacing: float) -> Floats:
    """A total [m] in its own unit, float64: exact below 2^53 units."""
    return total.astype(np.float64) * spacing
