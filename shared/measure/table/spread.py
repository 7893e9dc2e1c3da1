"""How much sums of squares vary from sample to sample, from what a table holds of errors and targets.

A table has no fourth moments and no Σu·v. The kurtosis of errors is read from their mean absolute
value, the covariance of error and target from how widely the score histogram spreads; the target is
taken as a multiple of its error plus an independent normal rest. Both enter variances only, never a
figure. Imports the rows only.

Source: Geary 1935 (Biometrika 27:310), mean absolute deviation over SD as a measure of kurtosis;
Isserlis 1918 (Biometrika 12:134), Cov(e², y²) = 2·Cov(e, y)² of normal e and y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from shared.measure.table.rows import TableSpec

Floats = NDArray[np.float64]
# κ = 3·ratio^−6: of densities exp(−|x|^b) the power is −5.7 near the normal one; 6.2 fits a uniform
GEARY_POWER = 6.0
KURTOSIS_RANGE = (1.8, 9.0)  # of a uniform variable, of t with 5 degrees of freedom
GEARY_NOISE = 0.05  # noise SD of the ratio at which half of what it says is believed
SPREADS = 101  # candidate spreads of predictions


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Distribution of errors, in one unit: mean, variance about it, kurtosis (3 when normal)."""

    mean: float
    variance: float
    kurtosis: float

    def scaled(self, factor: float) -> Errors:
        """The same errors in another unit."""
        variance = self.variance * factor**2
        return Errors(mean=self.mean * factor, variance=variance, kurtosis=self.kurtosis)

    @property
    def square_variance(self) -> float:
        """Var(e²) = (κ − 1)σ⁴ + 4b²σ², without skewness."""
        return (self.kurtosis - 1) * self.variance**2 + 4 * self.mean**2 * self.variance

    @property
    def covariance(self) -> float:
        """Cov(e, e²) = 2bσ², without skewness."""
        return 2 * self.mean * self.variance


def error_kurtosis(mean: float, mean_absolute: float, variance: float, *, noise_sd: float) -> float:
    """Kurtosis of errors from their mean absolute value, drawn to 3 where noise is what it shows.

    Args:
        mean: of the errors.
        mean_absolute: mean of |error|.
        variance: about the mean, above 0.
        noise_sd: of ``mean_absolute``, by privacy noise.
    """
    sd = math.sqrt(variance)
    # E|e| of a normal error with this mean: σ·√(2/π)·exp(−b²/2σ²) + b·(1 − 2Φ(−b/σ))
    normal = sd * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * variance))
    normal += mean * math.erf(mean / (sd * math.sqrt(2)))
    ratio = max(mean_absolute / normal, 0.5)
    believed = 1 / (1 + (noise_sd / normal / GEARY_NOISE) ** 2)
    low, high = KURTOSIS_RANGE
    kurtosis: float = min(max(3 * ratio**-GEARY_POWER, low), high)
    return 3 + believed * (kurtosis - 3)


def error_target_covariance(
    histogram: Floats,
    spec: TableSpec,
    *,
    prediction_mean: float,
    error_variance: float,
    target_variance: float,
) -> float:
    """Covariance of error and target, in the target's unit squared, from how widely scores spread.

    Var(prediction) = Var(target) + Var(error) + 2·Cov: the spread is that of the normal distribution
    around ``prediction_mean`` that comes nearest to the histogram's cumulated shares, among those
    that a correlation between −1 and 1 allows.

    Args:
        histogram: patients per score bin, both classes together, may be noisy.
        spec: edges of the bins; the score is the prediction.
        prediction_mean: mean target and mean error.
        error_variance: of prediction − target.
        target_variance: of the target.

    Shapes: histogram [bins].
    """
    low, high = (abs(math.sqrt(target_variance) + s * math.sqrt(error_variance)) for s in (-1, 1))
    total = float(histogram.sum())
    if total <= 0:  # nothing but noise: as if the prediction were calibrated
        return -min(error_variance, math.sqrt(error_variance * target_variance))
    spreads = np.linspace(max(low, 1e-3 * high), high, SPREADS)
    expected = ndtr((spec.inner_edges - prediction_mean) / spreads[:, None])  # [spreads, bins − 1]
    share = np.cumsum(histogram)[:-1] / total
    nearest = spreads[int(np.argmin(np.square(expected - share).sum(axis=1)))]
    return float(nearest**2 - target_variance - error_variance) / 2


def target_square_variance(target_variance: float, errors: Errors, covariance: float) -> float:
    """Var(y²) = 2σ_y⁴ + (κ − 3)·β⁴σ_e⁴ with y = β·e + a normal rest."""
    return 2 * target_variance**2 + (errors.kurtosis - 3) * (covariance**2 / errors.variance) ** 2


def squares_covariance(errors: Errors, covariance: float) -> float:
    """Cov(e², y²) = (κ − 1)·Cov(e, y)² with y = β·e + a normal rest."""
    return (errors.kurtosis - 1) * covariance**2
