"""Grey level co-occurrence: which levels lie beside each other (GLCM).

IBSI 3.6, one symmetric matrix of all four directions at distance 1 (in the plane: "2D, slice-merged").
A region in which no pixels are neighbours has no matrix: its features are 0.

Legend: i, j levels · P the matrix of shares [n,n] · p_x its margin · p_d, p_s shares of the
differences |i − j| and the sums i + j · m, v mean and variance of a margin.
"""

from __future__ import annotations

import numpy as np

from shared.features.radiomics.region import Floats, Ints, Region
from shared.features.radiomics.shares import entropy, quotient, sum_by

_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def measure(region: Region) -> dict[str, float]:
    """Features by name.

    joint_maximum (IBSI GYBY) max P · joint_variance (UR99) Σ P(i − m)² · joint_entropy (TU9B) ·
    difference_average (TF7R) Σ d p_d · difference_variance (D3YU) · difference_entropy (NTRS) ·
    sum_entropy (P6QZ) · angular_second_moment (8ZQL) Σ P² · contrast (ACUI) Σ P(i − j)² ·
    inverse_difference (IB1Z) Σ P/(1 + |i − j|) · inverse_variance (E8JP) Σ P/(i − j)² over i ≠ j ·
    correlation (NI2N) Σ P(i − m)(j − m)/v, 1 where v is 0 · cluster_tendency (DG8W), cluster_shade
    (7NFM), cluster_prominence (AE86) Σ P(i + j − 2m)^k for k 2, 3, 4 · information_correlation_1
    (R8DG) (H_xy − H_1)/H_x · information_correlation_2 (JN9H) √(1 − e^(−2(H_2 − H_xy))), in bits as
    IBSI takes them, with H_1 = −Σ P log p_x p_y and H_2 = −Σ p_x p_y log p_x p_y.
    """
    matrix = _shares(region.levels, region.n_levels)
    n = len(matrix)
    level = np.arange(1.0, n + 1.0)
    margin = matrix.sum(axis=1)
    mean = (level * margin).sum()
    variance = ((level - mean) ** 2 * margin).sum()
    i, j = np.indices((n, n))
    difference = sum_by(np.abs(i - j).ravel(), matrix.ravel(), length=n)
    total = sum_by((i + j).ravel(), matrix.ravel(), length=2 * n - 1)
    d, about = np.arange(float(n)), np.arange(2.0, 2.0 * n + 1.0) - 2.0 * mean
    average, contrast = (d * difference).sum(), (d * d * difference).sum()
    joint = entropy(matrix)
    return {
        "joint_maximum": matrix.max(),
        "joint_variance": variance,
        "joint_entropy": joint,
        "difference_average": average,
        "difference_variance": (((d - average) ** 2) * difference).sum(),
        "difference_entropy": entropy(difference),
        "sum_entropy": entropy(total),
        "angular_second_moment": (matrix * matrix).sum(),
        "contrast": contrast,
        "inverse_difference": (difference / (1.0 + d)).sum(),
        "inverse_variance": (difference[1:] / d[1:] ** 2).sum(),
        # Σ P(i − j)² = 2v − 2 Σ P(i − m)(j − m).
        "correlation": 1.0 - contrast / (2.0 * variance) if variance > 0 else margin.sum(),
        "cluster_tendency": (about**2 * total).sum(),
        "cluster_shade": (about**3 * total).sum(),
        "cluster_prominence": (about**4 * total).sum(),
        **_information(margin, joint),
    }


def _shares(levels: Ints, n_levels: int) -> Floats:
    """P [n,n]; zeros where no two pixels are neighbours."""
    size = n_levels + 1
    counts = np.zeros(size * size, dtype=np.int64)
    h, w = levels.shape
    for down, right in _DIRECTIONS:
        here = levels[: h - down, max(0, -right) : w - max(0, right)]
        there = levels[down:, max(0, right) : w + min(0, right)]
        counts += np.bincount((here * size + there).ravel(), minlength=size * size)
    one_way = counts.reshape(size, size)[1:, 1:]
    both = (one_way + one_way.T).astype(np.float64)
    shares: Floats = both / max(both.sum(), 1.0)
    return shares


def _information(margin: Floats, joint: float) -> dict[str, float]:
    """The two measures of information correlation; P is symmetric, so H_1 = H_2 = 2 H_x."""
    alone = entropy(margin)
    shared = 2.0 * alone - joint  # at least 0, by up to rounding
    return {
        "information_correlation_1": quotient(-shared, alone),
        "information_correlation_2": float(np.sqrt(1.0 - np.exp(-2.0 * max(shared, 0.0)))),
    }
