"""How much sums of squares vary from sample to sample, from what a table holds of errors and targets.

A table has no fourth moments. The kurtosis of errors is read from their mean absolute value; the target
is taken as a multiple of its error plus an independent normal rest. Both enter variances only, never a
figure. Imports nothing of the project.

Source: Geary 1935 (Biometrika 27:310), mean absolute deviation over SD as a measure of kurtosis;
Isserlis 1918 (Biometrika 12:134), Cov(e², y²) = 2·Cov(e, y)² of normal e and y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# κ = 3·ratio^−6: of densities exp(−|x|^b) the power is −5.7 near the normal one; 6.2 fits a uniform
GEARY_POWER = 6.0
KURTOSIS_RANGE = (1.8, 9.0)  # of a uniform variable, of t with 5 degrees of freedom
GEARY_NOISE = 0.05  # noise SD of the ratio at which half of what it says is believed
CROSS_NOISE = 0.5  # noise SD of a correlation at which half of what it says is believed


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
    found: float, *, error_variance: float, target_variance: float, noise_sd: float
) -> float:
    """Covariance of error and target, drawn to that of a calibrated prediction where noise hides it.

    Args:
        found: as the table has it, may be noisy.
        error_variance: of prediction − target.
        target_variance: of the target, in the same unit squared, as all here.
        noise_sd: of ``found``, by privacy noise.
    """
    most = math.sqrt(error_variance * target_variance)
    believed = 1 / (1 + (noise_sd / most / CROSS_NOISE) ** 2)
    calibrated = -min(error_variance, most)  # Cov(error, target) = −Var(error)
    return calibrated + believed * (min(max(found, -most), most) - calibrated)


def target_square_variance(target_variance: float, errors: Errors, covariance: float) -> float:
    """Var(y²) = 2σ_y⁴ + (κ − 3)·β⁴σ_e⁴ with y = β·e + a normal rest."""
    return 2 * target_variance**2 + (errors.kurtosis - 3) * (covariance**2 / errors.variance) ** 2


def squares_covariance(errors: Errors, covariance: float) -> float:
    """Cov(e², y²) = (κ − 1)·Cov(e, y)² with y = β·e + a normal rest."""
    return (errors.kurtosis - 1) * covariance**2
