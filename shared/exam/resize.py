"""Pictures made smaller: the mean over the area that each new pixel covers, so that no texture aliases.

Rows are read once and added in order: quicker than a matrix product, and equal to the last digit
whatever the number of threads. Sums of few rows keep to 1e-6 in their own precision. Imports
numpy only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Edges = NDArray[np.float64]

_FEW_ROWS = 64  # of a new pixel


def even_edges(low: float, high: float, n: int) -> Edges:
    """The edges of n equal parts of a line."""
    edges: Edges = low + np.arange(n + 1, dtype=np.float64) * ((high - low) / n)
    return edges


def average(pixels: NDArray[Any], row_edges: Edges, column_edges: Edges) -> NDArray[np.float32]:
    """Means of [h,w] between rising edges, in pixels: [len(row_edges) − 1, len(column_edges) − 1].

    Where no pixel lies between two edges, because they are beyond the picture, the nearest one counts.
    """
    rows = _average_rows(pixels, row_edges)  # [r, w] of the columns that are needed
    columns = _average_rows(np.ascontiguousarray(rows.T), column_edges)
    return np.ascontiguousarray(columns.T, dtype=np.float32)


def _average_rows(pixels: NDArray[Any], edges: Edges) -> NDArray[np.float64]:
    """[n,w] → [len(edges) − 1, w]: whole rows between two edges are added, rows at edges in part."""
    n_in = len(pixels)
    inside = np.clip(edges, 0, n_in)
    whole = np.minimum(inside.astype(np.int64), n_in - 1)
    part = (inside - whole)[:, None]
    # row ``whole[i]`` counts for the cell before an edge by its part above, and is taken from the next
    sums = np.diff(part * pixels[whole].astype(np.float64), axis=0)
    is_few = pixels.dtype.kind == "f" and np.diff(whole).max(initial=0) <= _FEW_ROWS
    dtype = pixels.dtype if is_few else np.float64
    for row, (first, end) in enumerate(pairwise(whole)):
        if end > first:
            sums[row] += pixels[first:end].sum(axis=0, dtype=dtype)
    covered = np.diff(inside)[:, None]
    nearest = pixels[np.clip(inside[:-1].astype(np.int64), 0, n_in - 1)]
    return np.where(covered > 1e-9, sums / np.maximum(covered, 1e-9), nearest)
