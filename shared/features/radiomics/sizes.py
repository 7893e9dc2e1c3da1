"""What runs and zones have in common: pieces of one grey level, counted by level and size.

IBSI 3.7 and 3.8 define the same features on both matrices, and so does this file once.

Legend: i level · s size in pixels · r(i, s) share of the pieces · r_i, r_s its margins.
"""

from __future__ import annotations

import numpy as np

from shared.features.radiomics.region import Floats, Ints
from shared.features.radiomics.shares import entropy


def measure_sizes(levels: Ints, sizes: Ints, *, n_levels: int, n_pixels: int) -> dict[str, float]:
    """Features of some pieces by name.

    short_emphasis Σ r_s/s² · long_emphasis Σ r_s s² · low_level_emphasis Σ r_i/i² ·
    high_level_emphasis Σ r_i i² · level_non_uniformity Σ r_i² · size_non_uniformity Σ r_s² (both
    normalised) · percentage: pieces per ``n_pixels`` · level_variance · size_variance · entropy
    −Σ r log₂ r.

    Args:
        levels: of each piece, 1 to ``n_levels``.
        sizes: of each piece in pixels, ≥ 1.
        n_levels: how many levels.
        n_pixels: how many pieces there could be.
    """
    n, longest = len(sizes), int(sizes.max())
    counts = np.bincount((levels - 1) * longest + sizes - 1, minlength=n_levels * longest)
    shares = counts.reshape(n_levels, longest) / n
    by_level, by_size = shares.sum(axis=1), shares.sum(axis=0)
    level, size = np.arange(1.0, n_levels + 1.0), np.arange(1.0, longest + 1.0)
    return {
        "short_emphasis": (by_size / size**2).sum(),
        "long_emphasis": (by_size * size**2).sum(),
        "low_level_emphasis": (by_level / level**2).sum(),
        "high_level_emphasis": (by_level * level**2).sum(),
        "level_non_uniformity": (by_level**2).sum(),
        "size_non_uniformity": (by_size**2).sum(),
        "percentage": n / n_pixels,
        "level_variance": _variance(by_level, level),
        "size_variance": _variance(by_size, size),
        "entropy": entropy(shares),
    }


def _variance(shares: Floats, values: Floats) -> float:
    mean = (shares * values).sum()
    return float((shares * (values - mean) ** 2).sum())
