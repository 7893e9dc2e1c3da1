"""First order: how grey values are distributed, wherever they lie.

IBSI 3.3 (intensity-based statistics, of the grey values x) and 3.4 (intensity histogram, of the shares
p of the levels). A quotient whose divisor is 0 is 0.
"""

from __future__ import annotations

import numpy as np

from shared.features.radiomics.region import Region
from shared.features.radiomics.shares import entropy, quotient


def measure(region: Region) -> dict[str, float]:
    """Features by name, with m the mean of x and s² = Σ(x − m)²/p its variance.

    mean (IBSI Q4LE) m · variance (ECT3) s² · skewness (KE2A) Σ(x − m)³/p ÷ s³ · kurtosis (IPH6)
    Σ(x − m)⁴/p ÷ s⁴ − 3 · median (Y12H) · p10 (QG58), p90 (8DWT): percentiles ·
    interquartile_range (SALO) P75 − P25 · range (2OJQ) max − min · mean_absolute_deviation (4FUA)
    Σ|x − m|/p · robust_mean_absolute_deviation (1128): the same of x between P10 and P90 ·
    median_absolute_deviation (N72L) Σ|x − median|/p · variation (7TET) s/m · quartile_dispersion
    (9S40) (P75 − P25)/(P75 + P25) · root_mean_square (5ZWQ) √(Σx²/p) · entropy (TLU2) −Σ p log₂ p ·
    uniformity (BJ5W) Σ p².
    """
    values = region.values
    mean, n = values.mean(), len(values)
    away = values - mean
    squared = away * away
    variance = squared.mean()
    p10, p25, median, p75, p90 = np.percentile(values, (10, 25, 50, 75, 90))
    middle = values[(values >= p10) & (values <= p90)]
    shares = np.bincount(region.levels[region.mask], minlength=region.n_levels + 1)[1:] / n
    return {
        "mean": mean,
        "variance": variance,
        "skewness": quotient((squared * away).mean(), variance**1.5),
        "kurtosis": quotient((squared * squared).mean(), variance**2) - 3.0 * (variance > 0),
        "median": median,
        "p10": p10,
        "p90": p90,
        "interquartile_range": p75 - p25,
        "range": values.max() - values.min(),
        "mean_absolute_deviation": np.abs(away).mean(),
        "robust_mean_absolute_deviation": np.abs(middle - middle.mean()).mean() if middle.size else 0.0,
        "median_absolute_deviation": np.abs(values - median).mean(),
        "variation": quotient(np.sqrt(variance), mean),
        "quartile_dispersion": quotient(p75 - p25, p75 + p25),
        "root_mean_square": np.sqrt((values * values).mean()),
        "entropy": entropy(shares),
        "uniformity": (shares * shares).sum(),
    }
