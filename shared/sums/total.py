"""The total of a sum over some patients: rows, bounded, on the public lattice, added as integers.

Rows are made in chunks of one public size, and as many chunks as a public number of places needs. What
patients do not fill is filled with stand-ins, whose rows are left out: every kernel meets one shape, a
row can depend neither on how many patients there are nor on where its patient stands, and the work
tells the places and not the patients, of whom there may be none. Noise comes as a function from
outside, so that this room needs no source of randomness. Imports the contract and the lattice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import SupportsFloat, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.sums.contract import Floats, Patients, State, Sum
from shared.sums.lattice import Integers, bound_rows, spacing_of, to_lattice

CHUNK = 128
AnyOf = TypeVar("AnyOf", bound=Patients)
# n standard normals as anything that numpy reads, for example ``shared.privacy.noise.NoiseStream``.
DrawNormals = Callable[[int], "SupportsFloat | NDArray[np.float64]"]


def total_of(
    asked: Sum[AnyOf], state: State, patients: AnyOf, *, chunk: int = CHUNK, places: int = 0
) -> Integers:
    """The exact total [m] of the next sum, in units of ``spacing_of(asked.bound(state))``.

    Args:
        asked: the sum.
        state: before it.
        patients: of one site; none at all give zeros.
        chunk: rows made at once, a constant of the code and the device, never of the cohort.
        places: patients for whom there is work at least, a constant of the plan; above those there are,
            rows are made and left out.
    """
    total = np.zeros(asked.length(state), dtype=np.int64)
    for rows in lattice_rows(asked, state, patients, chunk=chunk, places=places):
        total += rows.sum(axis=0)
    return total


def lattice_rows(
    asked: Sum[AnyOf], state: State, patients: AnyOf, *, chunk: int = CHUNK, places: int = 0
) -> Iterator[Integers]:
    """Each patient's row as it is added, [≤ chunk, m] at a time, in the patients' order."""
    bound = asked.bound(state)
    spacing = spacing_of(bound)
    for rows in _chunks(asked, state, patients, chunk, places):
        yield to_lattice(bound_rows(rows, bound=bound), spacing=spacing)


def exact_total_of(
    asked: Sum[AnyOf], state: State, patients: AnyOf, *, chunk: int = CHUNK, places: int = 0
) -> Floats:
    """The total [m] without a lattice, float64, added in the patients' order: for privacy off."""
    bound = asked.bound(state)
    total = np.zeros(asked.length(state))
    for rows in _chunks(asked, state, patients, chunk, places):
        for row in bound_rows(rows, bound=bound):
            total += row
    return total


def noised(
    total: Integers, *, bound: float, noise_multiplier: float, draw_normals: DrawNormals
) -> Integers:
    """The total [m] with Gaussian noise of SD ``noise_multiplier``·``bound`` on the same lattice.

    Args:
        total: as from ``total_of``.
        bound: of its rows.
        noise_multiplier: σ of this sum, above 0.
        draw_normals: independent standard normals, from the operating system's randomness.
    """
    spacing = spacing_of(bound)
    normals = np.asarray(draw_normals(total.size), dtype=np.float64)
    noise = np.rint(normals * (noise_multiplier * bound / spacing)).astype(np.int64)
    return total + noise


def _chunks(
    asked: Sum[AnyOf], state: State, patients: AnyOf, chunk: int, places: int
) -> Iterator[Floats]:
    """The patients' rows [≤ chunk, m], each chunk made at one shape; of stand-ins none is left."""
    n = len(patients)
    for start in range(0, max(n, places), chunk):
        held = range(start, min(start + chunk, n))
        yield asked.rows(state, patients.select(held).filled(chunk))[: len(held)]
