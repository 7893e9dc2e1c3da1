"""Noisy counts of classes or groups as they are displayed: whole, none below zero, adding up.

Figures are read from the cells as they came out, never from these. Imports estimates and intervals.
Legend: c classes or groups.

Source: Duchi et al. 2008 (ICML, p. 272) for the projection on a simplex; largest remainders, as of
seats, for whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.sums.contract import Floats
from shared.sums.estimate import SUPPRESSED, Estimate
from shared.sums.intervals import normal_quantile

SUPPORT = "n, "  # how the name of a count begins


def add_up(counts: Floats, total: float) -> Floats:
    """Whole numbers, none below 0, that add up to the rounded total and lie nearest to the counts.

    Shapes: [c] -> [c].
    """
    whole_total = max(round(total), 0)
    if whole_total == 0:
        return np.zeros_like(counts)
    falling = np.sort(counts)[::-1]
    levels = (np.cumsum(falling) - whole_total) / np.arange(1, counts.size + 1)
    nearest = np.maximum(counts - levels[np.flatnonzero(falling > levels)[-1]], 0.0)
    whole: Floats = np.floor(nearest)
    left = round(whole_total - float(whole.sum()))
    whole[np.argsort(whole - nearest, kind="stable")[:left]] += 1.0
    return whole


def counted(count: float, margin: float, *, displayed: float) -> Estimate:
    """A count as it is displayed, and the interval about what came out, never below none; 0: exact."""
    if margin == 0:
        return Estimate(status="measured", value=displayed, low=displayed, high=displayed)
    return Estimate(
        status="measured",
        value=displayed,
        low=min(max(count - margin, 0.0), displayed),
        high=max(count + margin, displayed),
    )


def support_of(
    names: Sequence[str],
    counts: Floats,
    sd: float,
    minimum_cell: int,
    *,
    total: float | None = None,
) -> dict[str, Estimate]:
    """How many patients are of each class or group [c], adding up to ``total``, or to their own sum."""
    margin = normal_quantile(0.95) * sd
    displayed = add_up(counts, float(counts.sum()) if total is None else total)
    return {
        f"{SUPPORT}{name}": counted(float(count), margin, displayed=float(whole))
        if sd or not 0.5 <= count < minimum_cell
        else SUPPRESSED
        for name, count, whole in zip(names, counts, displayed, strict=True)
    }
