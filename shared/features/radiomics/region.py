"""A film's region with its grey levels: what every family of radiomics is measured on.

Fixed bin number (IBSI, arXiv 1612.07003v11, 2.7): levels divide the region's own range evenly. Films
come clipped between two public percentiles of what was exposed (``shared.exam.pixels``), so that no
single pixel stretches that range. Imports errors.

Legend: h w pixels of a film · p pixels of its region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import IntakeError

Floats = NDArray[np.float64]
Ints = NDArray[np.signedinteger]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Region:
    """The part of a film that is measured.

    Shapes:
        values [p]: grey values, row by row. levels [h,w]: 1 to ``n_levels`` in the region, 0 outside.
    """

    values: Floats
    levels: Ints
    n_levels: int

    @property
    def mask(self) -> Mask:
        """[h,w], True in the region."""
        return self.levels > 0


def find_region(film: NDArray[np.floating], *, mask: Mask | None = None, n_levels: int) -> Region:
    """Grey values and levels of a film's region; where all its pixels are equal, of level 1.

    Args:
        film: [h,w], finite.
        mask: [h,w], True in the region; None: the whole film.
        n_levels: how many levels, ≥ 1.

    Raises:
        IntakeError: ``empty-region``: no pixel is in the region.
    """
    pixels = np.asarray(film, dtype=np.float64)
    inside = np.ones(pixels.shape, dtype=np.bool_) if mask is None else mask
    values = pixels[inside]
    if not values.size:
        raise IntakeError(
            "empty-region",
            "a region must have at least one pixel, not 0",
            hint="look at the film's mask or box: it lies beside the film, or is black",
        )
    low, high = values.min(), values.max()
    levels = np.zeros(pixels.shape, dtype=np.int32)
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    levels[inside] = np.minimum((n_levels * share).astype(np.int32) + 1, n_levels)
    return Region(values=values, levels=levels, n_levels=n_levels)
