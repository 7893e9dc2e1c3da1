"""The most that any attack on one patient can reach under what a claim says was done to the patient.

Exact for full batches; for sampled ones an upper bound from points of δ(ε). Imports the accountant.

Source: trade-off functions, Dong, Roth, Su 2022.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from shared.privacy.accountant import epsilon_of, squared_mu
from shared.privacy.events import GaussianEvent, is_full_batch

Floats = NDArray[np.float64]

# Where a sampled run's δ(ε) is read; its trade-off function lies above all these lines.
_DELTAS = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3)


def auc_ceiling(events: Sequence[GaussianEvent]) -> float:
    """Largest AUC that any attack on one patient can reach: Φ(μ/√2) for full batches.

    Sampled batches: the area under ``true_rate_ceiling``, from above to 1e-4.
    """
    if is_full_batch(events):
        return float(ndtr(math.sqrt(squared_mu(events) / 2)))
    grid = np.linspace(0.0, 1.0, 20_001)[1:]  # right ends of a rising function
    return float(_envelope(grid, events).mean())


def true_rate_ceiling(false_rate: float, events: Sequence[GaussianEvent]) -> float:
    """Largest true positive rate at a false positive rate: Φ(Φ⁻¹(α) + μ) for full batches.

    Sampled batches: the least of the lines δ + e^ε·α and 1 − e^−ε·(1 − δ − α) over points of δ(ε).
    """
    if is_full_batch(events):
        return float(ndtr(ndtri(false_rate) + math.sqrt(squared_mu(events))))
    return float(_envelope(np.array([false_rate]), events)[0])


def _envelope(false_rate: Floats, events: Sequence[GaussianEvent]) -> Floats:
    """True positive rates [k] that the δ(ε) of ``events`` allows at ``false_rate`` [k]."""
    limit = np.ones_like(false_rate)
    for delta, growth in _privacy_lines(tuple(events)):
        limit = np.minimum(limit, delta + growth * false_rate)
        limit = np.minimum(limit, 1 - (1 - delta - false_rate) / growth)
    return limit


@functools.lru_cache(maxsize=16)
def _privacy_lines(events: tuple[GaussianEvent, ...]) -> tuple[tuple[float, float], ...]:
    """(δ, e^ε) that hold for ``events``; half a second each for sampled ones."""
    epsilons = [max(0.0, epsilon_of(events, delta)) for delta in _DELTAS]
    return tuple(
        (delta, math.exp(min(epsilon, 700.0))) for delta, epsilon in zip(_DELTAS, epsilons, strict=True)
    )
