"""Grey level size zones: how large the patches of one level are (GLSZM).

IBSI 3.8, zones of pixels of one level that touch at a side or a corner: zone emphases (P001, 48P8,
XMSY, 5GN9), normalised non-uniformities (Y1RO, VB3A), zone percentage (P30P), variances (BYLV, 3NSA),
entropy (GU8N); formulas in ``sizes``.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from shared.features.radiomics.region import Ints, Region
from shared.features.radiomics.run_lengths import end_rows, starts_of_runs
from shared.features.radiomics.shares import sum_by
from shared.features.radiomics.sizes import measure_sizes


def measure(region: Region) -> dict[str, float]:
    """Features by name, as ``measure_sizes`` of the zones."""
    levels, sizes = find_zones(region.levels)
    return measure_sizes(levels, sizes, n_levels=region.n_levels, n_pixels=len(region.values))


def find_zones(levels: Ints) -> tuple[Ints, Ints]:
    """Level and size of every zone of one level above 0: [z] and [z].

    Args:
        levels: [h,w].
    """
    rows = end_rows(levels)
    is_start = starts_of_runs(rows.ravel())
    run = (np.cumsum(is_start) - 1).reshape(rows.shape)  # number of each pixel's run along its row
    n_runs = int(run[-1, -1]) + 1
    pairs = np.concatenate([_touching(rows, run, right) for right in (-1, 0, 1)], axis=1)
    links = sparse.coo_matrix(
        (np.ones(pairs.shape[1], dtype=np.int8), (pairs[0], pairs[1])), shape=(n_runs, n_runs)
    )
    n_zones, zone = csgraph.connected_components(links, directed=False)
    lengths = np.diff(np.flatnonzero(is_start), append=rows.size)
    sizes = sum_by(zone, lengths.astype(np.float64), length=n_zones).astype(np.int64)
    level = np.zeros(n_zones, dtype=rows.dtype)
    level[zone] = rows.ravel()[is_start]
    inside = level > 0
    return level[inside], sizes[inside]


def _touching(rows: Ints, run: Ints, right: int) -> Ints:
    """Runs of one level of which a pixel of the second lies below one of the first: [2,e].

    Args:
        rows: levels [h,w+1].
        run: each pixel's run [h,w+1].
        right: columns from the upper pixel to the lower one.
    """
    upper = slice(max(0, -right), rows.shape[1] - max(0, right))
    lower = slice(max(0, right), rows.shape[1] + min(0, right))
    touches = rows[:-1, upper] == rows[1:, lower]
    first, second = run[:-1, upper][touches], run[1:, lower][touches]
    is_new = np.ones(len(first), dtype=np.bool_)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return np.stack([first[is_new], second[is_new]])
