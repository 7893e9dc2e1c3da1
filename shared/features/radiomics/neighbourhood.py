"""Neighbourhood grey tone differences: how a pixel differs from the mean of those around it (NGTDM).

IBSI 3.10 at distance 1: up to eight neighbours in the region; a pixel without any does not count.

Legend: i, j levels that occur · n_i pixels of a level, N all, p_i = n_i/N · s_i sum over its pixels of
|i − mean of the neighbours| · g how many levels occur.
"""

from __future__ import annotations

import numpy as np

from shared.features.radiomics.region import Floats, Ints, Region
from shared.features.radiomics.shares import quotient, sum_by

_COARSEST = 1e6  # IBSI 3.10.1, of a region without differences


def measure(region: Region) -> dict[str, float]:
    """Features by name.

    coarseness (IBSI QCDE) 1/Σ p_i s_i, at most 10⁶ · contrast (65HE) Σ p_i p_j (i − j)² / (g(g − 1)) ·
    Σ s_i/N · busyness (NQ30) Σ p_i s_i / ΣΣ |i p_i − j p_j| · complexity (HDEZ)
    ΣΣ |i − j| (p_i s_i + p_j s_j)/(p_i + p_j) / N · strength (1X9X) ΣΣ (p_i + p_j)(i − j)² / Σ s_i.
    """
    counts, sums = _differences(region.levels, region.n_levels)
    level = np.flatnonzero(counts) + 1.0
    if not level.size:
        return {"coarseness": _COARSEST} | dict.fromkeys(
            ("contrast", "busyness", "complexity", "strength"), 0.0
        )
    s, n, g = sums[counts > 0], counts.sum(), len(level)
    p = counts[counts > 0] / n
    apart = (level[:, None] - level) ** 2
    both = p[:, None] + p
    weighed = p * s
    complexity = np.abs(level[:, None] - level) * (weighed[:, None] + weighed) / both
    return {
        "coarseness": min(1.0 / max(weighed.sum(), 1.0 / _COARSEST), _COARSEST),
        "contrast": quotient((p[:, None] * p * apart).sum(), g * (g - 1.0)) * s.sum() / n,
        "busyness": quotient(weighed.sum(), np.abs((level * p)[:, None] - level * p).sum()),
        "complexity": complexity.sum() / n,
        "strength": quotient((both * apart).sum(), s.sum()),
    }


def _differences(levels: Ints, n_levels: int) -> tuple[Ints, Floats]:
    """n_i and s_i of every level from 1 on: [n] and [n]."""
    around, number = _sum_around(levels), _sum_around((levels > 0).astype(np.int64))
    counted = (levels > 0) & (number > 0)
    level = levels[counted]
    difference = np.abs(level - around[counted] / number[counted])
    counts = np.bincount(level, minlength=n_levels + 1)[1:]
    return counts, sum_by(level, difference, length=n_levels + 1)[1:]


def _sum_around(values: Ints) -> Ints:
    """Sum of each pixel's eight neighbours, nothing beyond the edge: [h,w] -> [h,w]."""
    padded = np.pad(values, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    around: Ints = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - values
    return around
