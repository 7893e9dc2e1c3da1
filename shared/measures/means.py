"""Means of bounded values of each patient, with intervals. Imports figures and intervals.

One row: a count, the values and their squares, the squares for the interval.
Legend: n patients · k values of each · m cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shared.measures.figures import why_lacking
from shared.sums.contract import Floats
from shared.sums.estimate import Estimate
from shared.sums.intervals import normal_quantile

# Shares of a row's norm: the count and the squares are needed less exactly than the values.
COUNT, _SQUARES = 0.25, 0.25
# A mean is told from 0 when its interval is no wider than this on either side.
_NARROW = 0.15
# The spread of values, before anything is known.
_EXPECTED_SPREAD = 0.25


@dataclass(frozen=True)
class Means:
    """Cells [1 + 2k]: patients, their values in [−1, 1] and the squares, each part at its weight.

    Attributes:
        names: of the figures [k].
        unit: what a value of 1 stands for.
    """

    names: tuple[str, ...]
    unit: float = 1.0

    @property
    def n_cells(self) -> int:
        """1 + 2k."""
        return 1 + 2 * len(self.names)

    @property
    def norm(self) -> float:
        """√(1 + w² + v²): k values at weight 1/√k, the count at w, squares at v/√k."""
        return math.sqrt(1.0 + COUNT**2 + _SQUARES**2)

    def rows_of(self, values: Floats) -> Floats:
        """Rows [n, 1 + 2k] of values [n,k] in [−1, 1]; what is no number counts as 0."""
        root = math.sqrt(len(self.names))
        held = np.where(np.isfinite(values), values, 0.0)
        count = np.full((len(values), 1), COUNT)
        return np.concatenate([count, held / root, _SQUARES / root * held**2], axis=1)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` patients whose means are 0, of the usual spread."""
        k = len(self.names)
        squares = np.full(k, _SQUARES / math.sqrt(k) * _EXPECTED_SPREAD**2)
        return np.concatenate([[COUNT * n], np.zeros(k), squares * n])

    def count_of(self, total: Floats) -> float:
        """How many patients a total [m] is of."""
        return float(total[0]) / COUNT

    def figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        """The mean of each value in units of ``unit``, by name."""
        k, root, n = len(self.names), math.sqrt(len(self.names)), self.count_of(total)
        why = why_lacking(n, minimum_cell, noise_variance=(sd / COUNT) ** 2, is_expected=is_expected)
        if why:
            return dict.fromkeys(self.names, why)
        found = {}
        for place, name in enumerate(self.names):
            mean = float(total[1 + place]) * root / n
            square = float(total[1 + k + place]) * root / (_SQUARES * n)
            spread = max(square, mean**2) - mean**2
            noise = (sd * root / n) ** 2 + (mean * sd / (COUNT * n)) ** 2
            half = normal_quantile(0.95) * math.sqrt(spread / n + noise)
            value, low, high = (
                min(max(end, -1.0), 1.0) * self.unit for end in (mean, mean - half, mean + half)
            )
            found[name] = Estimate(status="measured", value=value, low=low, high=high)
        return found

    def tells(self, expected: Estimate) -> bool:
        """Whether a mean of public values and noise alone has an interval that tells something."""
        return expected.high is not None and expected.high <= _NARROW * self.unit


def count_tells(expected: Estimate) -> bool:
    """The same of a count: noise moves it by no more than what is expected."""
    return bool(expected.value) and (expected.high or 0.0) <= 2.0 * (expected.value or 0.0)
