"""Grey level run lengths: how far one goes along a line before the level changes (GLRLM).

IBSI 3.7, the runs of all four directions in one matrix ("2D, slice-merged"): run emphases (22OV, W4KF,
V3SW, G3QZ), normalised non-uniformities (OVBL, IC23), run percentage (9ZK5), variances (8CE5, SXLW),
entropy (HJ9O); formulas in ``sizes``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shared.features.radiomics.region import Ints, Mask, Region
from shared.features.radiomics.sizes import measure_sizes


def measure(region: Region) -> dict[str, float]:
    """Features by name, as ``measure_sizes`` of the runs; each pixel lies in four runs."""
    found = [find_runs(lines) for lines in _lines(region.levels)]
    levels = np.concatenate([levels for levels, _ in found])
    sizes = np.concatenate([sizes for _, sizes in found])
    n_pixels = len(found) * len(region.values)
    return measure_sizes(levels, sizes, n_levels=region.n_levels, n_pixels=n_pixels)


def find_runs(lines: Ints) -> tuple[Ints, Ints]:
    """Level and length of every run of one level above 0: [l] and [l].

    Args:
        lines: levels one after the other, 0 between two lines.
    """
    starts = np.flatnonzero(starts_of_runs(lines))
    levels, lengths = lines[starts], np.diff(starts, append=len(lines))
    inside = levels > 0
    return levels[inside], lengths[inside]


def starts_of_runs(lines: Ints) -> Mask:
    """Whether a level is another than the one before it, [p]; the first one is."""
    is_start = np.ones(len(lines), dtype=np.bool_)
    np.not_equal(lines[1:], lines[:-1], out=is_start[1:])
    return is_start


def _lines(levels: Ints) -> Iterator[Ints]:
    """The lines of each direction, each followed by a 0: along rows, columns and both diagonals."""
    yield end_rows(levels).ravel()
    yield end_rows(levels.T).ravel()
    for each in (levels, levels[:, ::-1]):
        ended = end_rows(each)
        row, column = (np.arange(size) for size in ended.shape)
        # Row y begins y places later, so that diagonals stand upright; the 0 lies where one wraps.
        slanted = ended[row[:, None], (column + row[:, None]) % len(column)]
        yield end_rows(slanted.T).ravel()


def end_rows(rows: Ints) -> Ints:
    """Rows with a 0 after each: [h,w] -> [h,w+1]."""
    ended = np.zeros((rows.shape[0], rows.shape[1] + 1), dtype=rows.dtype)
    ended[:, :-1] = rows
    return ended
