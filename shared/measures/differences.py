"""Figures beside figures: two AUCs of different patients, and p-values that were tried together.

Imports estimates and intervals only. Two scores on the same patients are compared by
``shared.measure.exact.discrimination``.

Source: Hanley & McNeil 1983 (Radiology 148:839) for two AUCs, whose covariance is none where patients
differ; Holm 1979 (Scand J Stat 6:65).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from shared.sums.estimate import NOT_APPLICABLE, Estimate
from shared.sums.intervals import normal_quantile


@dataclass(frozen=True, kw_only=True)
class AucDifference:
    """a − b with its interval, the normal statistic and its two-sided p; None where there are none."""

    difference: Estimate
    z: float | None
    p: float | None


def difference_of_aucs(
    auc_a: float, variance_a: float, auc_b: float, variance_b: float
) -> AucDifference:
    """The difference of two AUCs of different patients, each with its variance (sampling and noise).

    Not applicable where neither varies: a perfect ranking of few patients has a variance of 0.
    """
    variance = variance_a + variance_b
    if variance <= 0:
        return AucDifference(difference=NOT_APPLICABLE, z=None, p=None)
    value, sd = auc_a - auc_b, math.sqrt(variance)
    margin = normal_quantile(0.95) * sd
    difference = Estimate(
        status="measured", value=value, low=max(value - margin, -1.0), high=min(value + margin, 1.0)
    )
    z = value / sd
    return AucDifference(difference=difference, z=z, p=2 * NormalDist().cdf(-abs(z)))


def adjust_by_holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values that may be held against one level together, in the order given (step-down).

    The smallest of m is multiplied by m, the next by m − 1, and so on; none falls below one before it.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(float(each) for each in adjusted)
