"""A film whole and small, as it hangs, so that a person sees which part of it a model sees.

It is for the hospital's own page and for nothing that is computed. Imports the exam package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.exam.pixels import Picture
from shared.exam.resize import average, even_edges

OVERVIEW_PIXELS = 96
OVERVIEW_BYTES = OVERVIEW_PIXELS**2
_DARKEST, _BRIGHTEST = 1.0, 99.0  # percentiles that become black and white


def draw_overview(picture: Picture) -> NDArray[np.uint8]:
    """[n, n] grey from 0 to 255 of ``OVERVIEW_PIXELS``, whatever the film's shape; blank: 0."""
    rows, columns = (even_edges(0, edge, OVERVIEW_PIXELS) for edge in picture.pixels.shape)
    means = average(picture.pixels, rows, columns)
    low, high = np.percentile(means, (_DARKEST, _BRIGHTEST))
    if high <= low:
        return np.zeros(means.shape, dtype=np.uint8)
    grey: NDArray[np.uint8] = (np.clip((means - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return grey
