"""Rules that a minority of bad sites cannot move far: median, trimmed mean, geometric median.

What they take is per declared patient: a site's change of the weights, or its sum of gradients over the
size that it declares in public. Sites count alike, since a size is a site's own word. A coordinate's
rule sees one block of coordinates [s, block] at a time; the geometric median is a mean whose shares
follow from whole updates, found in passes over the same blocks, so memory is flat in their length. All
is post-processing of what left the sites: ε does not change. Imports the settings of a strategy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np

from shared.contract.protocol import Vector
from shared.contract.stages import Fold, StrategySettings

Block = np.ndarray[tuple[int], np.dtype[np.float64]]
BLOCK = 1 << 16  # float64 accumulator and products of one block stay in the processor's cache
# Weiszfeld's steps end where no share moves further, or after so many.
_STEADY, _MOST_STEPS = 1e-7, 100
# Of the middle distance: nobody is nearer, so that steps do not stop at a site (ν of Pillutla et al.).
_NEAREST = 1e-3


def weighted_mean(updates: Sequence[Vector], shares: Sequence[float]) -> Block:
    """Σ share·update. Source: McMahan et al. 2017, arXiv 1602.05629, Algorithm 1."""
    total = np.zeros(updates[0].size)
    product = np.empty_like(total)
    for update, share in zip(updates, shares, strict=True):
        total += np.multiply(update, share, out=product, dtype=np.float64)
    return total


def median(updates: Sequence[Vector]) -> Block:
    """Coordinate-wise median, sites alike. Source: Yin et al. 2018, arXiv 1803.01498, Algorithm 1."""
    middle: Block = np.median(np.stack(updates).astype(np.float64), axis=0)
    return middle


def trimmed_mean(updates: Sequence[Vector], *, fraction: float) -> Block:
    """Coordinate-wise mean without the ⌊fraction·s⌋ lowest and highest. Source: Yin et al. 2018."""
    ordered = np.sort(np.stack(updates).astype(np.float64), axis=0)  # [s, n]
    trimmed = int(fraction * len(updates))
    mean: Block = ordered[trimmed : len(updates) - trimmed].mean(axis=0)
    return mean


def geometric_shares(updates: Sequence[Vector]) -> tuple[float, ...]:
    """Shares by which the mean of updates [p] is their geometric median; sites alike.

    Weiszfeld's steps from the coordinate-wise median: a share is one over the distance from the centre.
    Where most updates are the same one, that is the median and has all.

    Source: Pillutla, Kakade & Harchaoui 2022, IEEE Trans. Signal Process. 70:1142, Algorithm 2.
    """
    shares = _by_nearness(_distances(updates, median))
    for _ in range(_MOST_STEPS):
        before, centre = shares, _mean_by(shares)
        shares = _by_nearness(_distances(updates, centre))
        if max(abs(new - old) for new, old in zip(shares, before, strict=True)) < _STEADY:
            break
    return shares


def per_declared(totals: Sequence[Vector], declared: Sequence[int], *, fold: Fold) -> list[Vector]:
    """What sites sent, each [p] for one declared patient: what a robust rule compares.

    A change of the weights is that already, since a site divides its sums by its declared size.
    """
    if fold == "site":
        return list(totals)
    return [total / n_patients for total, n_patients in zip(totals, declared, strict=True)]


def kept_shares(updates: Sequence[Vector], strategy: StrategySettings) -> tuple[float, ...]:
    """How much of each update [p] a robust rule kept, as shares of 1, in the same order.

    Of the geometric median its shares; of a rule by coordinates, in how many of them the site's value
    is one of those that were kept (equal values count alike).

    Source: DECISIONS D-165.
    """
    if strategy.name == "geometric_median":
        return geometric_shares(updates)
    n_sites = len(updates)
    trimmed = int(strategy.trimmed_fraction * n_sites)
    low = (n_sites - 1) // 2 if strategy.name == "median" else trimmed
    kept = np.zeros(n_sites)
    for part in blocks_of(updates[0].size):
        rows = np.stack([update[part] for update in updates])  # [s, n]
        ordered = np.sort(rows, axis=0)
        is_kept = (rows >= ordered[low]) & (rows <= ordered[n_sites - 1 - low])
        kept += (is_kept / is_kept.sum(axis=0)).sum(axis=1)
    return tuple(float(each) for each in kept / kept.sum())


def blocks_of(length: int) -> list[slice]:
    """The blocks of a vector, in order."""
    return [slice(start, start + BLOCK) for start in range(0, length, BLOCK)]


def _mean_by(shares: Sequence[float]) -> Callable[[Sequence[Vector]], Block]:
    return lambda updates: weighted_mean(updates, shares)


def _distances(
    updates: Sequence[Vector], centre: Callable[[Sequence[Vector]], Block]
) -> tuple[float, ...]:
    """Euclidean distance of each update from a centre that is computed block by block."""
    squared = [0.0] * len(updates)
    with np.errstate(over="ignore"):  # whoever is infinitely far has a share of about nothing
        for part in blocks_of(updates[0].size):
            block = [update[part] for update in updates]
            middle = centre(block)
            for place, update in enumerate(block):
                squared[place] += _sum_in_halves((update - middle) ** 2)
    return tuple(min(math.sqrt(each), sys.float_info.max) for each in squared)


def _by_nearness(distances: Sequence[float]) -> tuple[float, ...]:
    """Shares by one over each distance, with a least distance; by being the centre where most are."""
    middle = sorted(distances)[(len(distances) - 1) // 2]
    if middle == 0.0:
        near = [float(distance == 0.0) for distance in distances]
    else:
        near = [middle / max(distance, _NEAREST * middle) for distance in distances]
    total = math.fsum(near)
    return tuple(each / total for each in near)


def _sum_in_halves(values: Block) -> float:
    """A sum whose order no processor changes, so that an auditor's machine finds the same bits."""
    while values.size > 1:
        half = values.size // 2
        rest = values[2 * half :]
        values = values[:half] + values[half : 2 * half]
        values[: rest.size] += rest
    return float(values.sum())
