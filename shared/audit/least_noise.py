"""Does a total hold the noise that was promised, whatever else is in it? One statistic, for any total.

A total is X = S + Z: S of patients, unknown; Z noise of the promised SD in each of n numbers, drawn
afresh. Let g be anything that is known without this draw: zeros, a total of an earlier round, one of
another site, other numbers of the same total. Given all that, X − g is normal about S − g, and
|X − g|² in promised variances is χ² of n degrees about some centre: never stochastically smaller than
χ²_n about zero. So P(|X − g|² ≤ x) ≤ P(χ²_n ≤ x), and what is added over rounds, each given all before
it, is held to the degrees of all. What patients add, and how training follows from earlier noise, can
hide missing noise and can never feign it: a promise is refuted by too small a square alone, of a true
one in a share Φ(−6) of cases at most. A good g takes the patients' part off: rounds that follow each
other differ little. A g that holds the same noise takes noise off: noise that was used twice is too
small a square too.

How far it sees: all by which a square exceeds noise is taken as the patients', at the upper end of a
99 % interval; the power is the chance that noise of a share of the promised SD, with as much of
patients, would have been refuted. Imports nothing of the project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri_exp
from scipy.stats import chi2

Floats = NDArray[np.float64]

REFUTED_BELOW = -6.0
SURE = 0.99
# Below it a chance is no number in float64 any more.
_LOWEST = -38.0
_UPPER_END = 2.3263  # Φ⁻¹(.99)


@dataclass(frozen=True)
class Residual:
    """What is left of ``n`` numbers when something known before is taken off.

    Attributes:
        square: sum of squares, in promised variances.
        n: how many numbers.
        known_noise: noise in what was taken off, in promised variances of a number.
    """

    square: float
    n: int
    known_noise: float = 0.0

    @property
    def mean_square(self) -> float:
        """In promised variances."""
        return self.square / self.n if self.n else math.nan

    @property
    def z(self) -> float:
        """Φ⁻¹ of the largest chance of so small a square; 0 of no numbers."""
        if not self.n:
            return 0.0
        found = float(ndtri_exp(chi2.logcdf(self.square, self.n)))
        return min(max(found, _LOWEST), -_LOWEST)

    @property
    def is_refuted(self) -> bool:
        """Whether less noise is in it than was promised."""
        return self.z < REFUTED_BELOW

    def power(self, share: float) -> float:
        """Chance that noise of ``share`` of the promised SD would have been refuted here.

        What was taken off is held to have the same share of its noise.
        """
        if not self.n:
            return 0.0
        most = chi2.ppf(ndtr(REFUTED_BELOW), self.n) / self.n
        added = max(0.0, self.mean_square - 1.0 - self.known_noise)
        own = 1.0 + self.known_noise
        added += _UPPER_END * math.sqrt(2.0 * own * (own + 2.0 * added) / self.n)
        noise = share**2 * own
        sd = math.sqrt((2.0 * noise**2 + 4.0 * noise * added) / self.n)
        return float(ndtr((most - noise - added) / max(sd, 1e-12)))

    def __add__(self, other: Residual) -> Residual:
        """Both, where the later is judged given the earlier."""
        n = self.n + other.n
        known = (self.n * self.known_noise + other.n * other.known_noise) / max(n, 1)
        return Residual(self.square + other.square, n, known)


NONE = Residual(0.0, 0)


def residual(values: Floats, taken_off: Floats | float = 0.0, *, known_noise: float = 0.0) -> Residual:
    """What is left of ``values`` [n], in promised SDs, when ``taken_off`` [n] is."""
    left = values - taken_off
    return Residual(float(left @ left), values.size, known_noise)


def of_halves(values: Floats) -> Residual:
    """The second half of ``values`` [n] when the first is taken off; draws come in such pairs."""
    half = (values.size + 1) // 2
    second = values[half:]
    return residual(second, values[: second.size], known_noise=1.0)
