"""The bone of a cohort's films, where the hospital gave masks of it.

A mask went through its film's geometry: turned, mirrored, cut to the window, made small (nearest).
Imports the cohort folder only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort

Masks = NDArray[np.bool_]


def load_masks(cohort: Cohort) -> Masks | None:
    """Bone of each row of ``cohort.images``, [n_films,h,w], memory-mapped; None where none is given.

    All False: the film has no mask, see ``has_mask``.
    """
    return cohort.masks


def has_mask(cohort: Cohort) -> Masks:
    """Which rows of ``cohort.images`` have a mask, [n_films]; it then marks at least one pixel."""
    if cohort.masks is None:
        return np.zeros(len(cohort.images), dtype=np.bool_)
    return np.asarray(cohort.masks.any(axis=(1, 2)), dtype=np.bool_)
