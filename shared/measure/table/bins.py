"""How many score bins a table should have: a constant of the plan, from noise that is known beforehand.

Fewer bins tie patients whose scores differ, which pulls an AUC towards 0.5; more bins add noise.
Nothing that was measured is looked at. Imports what is expected of patients only.
"""

from __future__ import annotations

import math

from shared.measures.figures import PREVALENCE

CHOICES = (4, 8, 16, 32, 64)
EXACT_BINS = 64
# The AUC of bins falls by about this over bins²: means of .035, .010 and .004 at 4, 8 and 16 bins over
# the populations of docs/coverage.md (400,000 patients of each, 2026-11-26), as are the next three.
TIED = 0.6
# Mean over bins of (share of the other class that a bin beats − AUC)², bins of positives and negatives
BEATEN = (0.09, 0.19)
PAIRED = 0.38  # mean over pairs of bins of (1, ½ or 0 − AUC)²


def bins_for(
    *,
    noise_multiplier: float,
    sensitivity: float,
    weight: float,
    n_patients: float,
    prevalence: float = PREVALENCE,
) -> int:
    """Bins with the least expected |bias| + noise SD of the AUC; ``EXACT_BINS`` without noise.

    Args:
        noise_multiplier: of the table; 0 when it is exact.
        sensitivity: largest L2 norm of a row.
        weight: of a patient in a cell of the ranking.
        n_patients: whose table is read, as declared: a site's, or all sites' together.
        prevalence: share of positives that is expected, between 0 and 1.
    """
    if noise_multiplier == 0:
        return EXACT_BINS
    cell_sd = noise_multiplier * sensitivity / weight
    sizes = max(prevalence * n_patients, 1.0), max((1 - prevalence) * n_patients, 1.0)
    return min(CHOICES, key=lambda bins: TIED / bins**2 + auc_noise_sd(bins, cell_sd, sizes))


def auc_noise_sd(bins: int, cell_sd: float, sizes: tuple[float, float]) -> float:
    """Expected SD of the noise of an AUC from histograms of an ordinary model.

    Args:
        bins: per class.
        cell_sd: noise SD of a bin, in patients.
        sizes: positives and negatives.
    """
    first = sum(beaten / size**2 for beaten, size in zip(BEATEN, sizes, strict=True))
    both = PAIRED * (bins * cell_sd**2 / (sizes[0] * sizes[1])) ** 2
    return math.sqrt(bins * cell_sd**2 * first + both)
