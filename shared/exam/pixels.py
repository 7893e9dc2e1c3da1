"""One preprocessing for every film, real or synthetic: size, grey scale, side.

Steps: average over areas to ``out_pixels`` on the longer edge, keeping the aspect → grey values
between two percentiles of the film itself become 0 to 1, the rest is clipped → films of right sides
are mirrored, so that all look like left ones → the shorter edge is padded evenly with 0. Nothing is
fitted on a cohort. Imports numpy only.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Changing a step or a constant changes every score: give it a new name.
PREPROCESSING_VERSION = "area-percentile-1"
LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.0
_FEW_ROWS = 64  # of a new pixel


def normalise(
    pixels: NDArray[np.float32], out_pixels: int, *, mirror: bool = False
) -> NDArray[np.float32]:
    """A film as [out_pixels, out_pixels] float32 in [0, 1]; a blank film becomes zeros.

    Args:
        pixels: [h, w], any grey scale, bright where it attenuates.
        out_pixels: edge of the result.
        mirror: whether to flip left and right.
    """
    small = resize_area(pixels, out_pixels)
    low, high = np.percentile(small, (LOW_PERCENTILE, HIGH_PERCENTILE))
    # The mean of equal numbers may differ in its last digits: that is no contrast.
    has_contrast = high - low > 1e-5 * max(abs(low), abs(high))
    scaled = np.clip((small - low) / (high - low), 0, 1) if has_contrast else small * 0
    if mirror:
        scaled = scaled[:, ::-1]
    height, width = scaled.shape
    top, left = (out_pixels - height) // 2, (out_pixels - width) // 2
    square = np.zeros((out_pixels, out_pixels), dtype=np.float32)
    square[top : top + height, left : left + width] = scaled
    return square


def is_mirrored(laterality: str | None) -> bool:
    """Whether a film of this side is flipped: right ones are, left, both and unknown are not."""
    return laterality == "R"


def resize_area(pixels: NDArray[np.float32], longer_edge: int) -> NDArray[np.float64]:
    """Mean over the area that each new pixel covers, so that fine texture does not alias."""
    height, width = pixels.shape
    scale = longer_edge / max(height, width)
    rows = _average_rows(pixels, max(1, round(height * scale)))  # [out_h, w]
    columns = np.ascontiguousarray(rows.T)  # [w, out_h]
    return _average_rows(columns, max(1, round(width * scale))).T  # [out_h, out_w]


def _average_rows(pixels: NDArray[np.float32] | NDArray[np.float64], n_out: int) -> NDArray[np.float64]:
    """[n_in, w] → [n_out, w]: whole rows of a new cell are added, rows at its edges in part.

    Every row is read once and added in order: a matrix product takes longer, and its last digits may
    follow the number of threads. Sums of few rows keep to 1e-6 in their own precision, and are exact
    for whole numbers as detectors give them.
    """
    n_in = len(pixels)
    edges = np.arange(n_out + 1) * (n_in / n_out)
    whole = np.minimum(edges.astype(np.int64), n_in - 1)
    part = (edges - whole)[:, None]
    # Row ``whole[i]`` counts for the cell before an edge by its part above, and is taken from the next.
    sums = np.diff(part * pixels[whole], axis=0)
    dtype = pixels.dtype if n_in <= _FEW_ROWS * n_out else np.float64
    for row, (first, end) in enumerate(pairwise(whole)):
        sums[row] += pixels[first:end].sum(axis=0, dtype=dtype)
    return sums * (n_out / n_in)
