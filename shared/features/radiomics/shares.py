"""What several families take: sums by index, entropy, and a quotient that is always finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# A divisor this small is rounding: the region is constant.
_NOTHING = 1e-15


def sum_by(index: NDArray[np.signedinteger], weights: Floats, *, length: int) -> Floats:
    """Sum of the weights of each index from 0 on, in their order: [p], [p] -> [length]."""
    sums: Floats = np.bincount(index, weights=weights, minlength=length).astype(np.float64)
    return sums


def entropy(shares: Floats) -> float:
    """−Σ p log₂ p, in bits; shares of 0 add nothing."""
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum()) + 0.0


def quotient(above: float, below: float) -> float:
    """``above``/``below``; 0 where ``below`` is no more than rounding."""
    return float(above / below) if abs(below) > _NOTHING else 0.0
