"""The families of radiomics by name, in the order of their columns: where a new one is added.

Imports every family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from shared.features.radiomics import (
    cooccurrence,
    first_order,
    neighbourhood,
    run_lengths,
    shape,
    zones,
)
from shared.features.radiomics.region import Floats, Mask, Region, find_region

# Bumped when a feature's formula changes. The public constants are of one version; a plan names their
# hash, and so does the name of every block that a hospital keeps of its films.
RADIOMICS_VERSION = 1

FAMILIES: Mapping[str, Callable[[Region], Mapping[str, float]]] = {
    "first_order": first_order.measure,
    "shape": shape.measure,
    "cooccurrence": cooccurrence.measure,
    "run_lengths": run_lengths.measure,
    "zones": zones.measure,
    "neighbourhood": neighbourhood.measure,
}


@cache
def feature_names(families: Sequence[str]) -> tuple[str, ...]:
    """``family.feature`` of each column of some families, in order."""
    point = find_region(np.zeros((1, 1)), n_levels=1)
    return tuple(f"{family}.{name}" for family in families for name in FAMILIES[family](point))


def measure_radiomics(
    film: NDArray[np.floating], *, mask: Mask | None = None, families: Sequence[str], n_levels: int
) -> Floats:
    """Features of a film's region in the order of ``feature_names``, [f], all finite.

    Args:
        film: [h,w], prepared, in [0, 1].
        mask: [h,w], True in the region; None: the whole film.
        families: of ``FAMILIES``, in order.
        n_levels: grey levels that divide the region's range.

    Raises:
        IntakeError: ``empty-region``.
    """
    region = find_region(film, mask=mask, n_levels=n_levels)
    return np.array([value for family in families for value in FAMILIES[family](region).values()])
