"""Features of pieces counted by level and size, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared.features.radiomics.sizes import measure_sizes


def test_three_pieces_by_hand() -> None:
    found = measure_sizes(np.array([1, 1, 3]), np.array([2, 2, 4]), n_levels=3, n_pixels=8)
    assert found == pytest.approx(
        {
            "short_emphasis": (2 / 4 + 1 / 16) / 3,
            "long_emphasis": (2 * 4 + 16) / 3,
            "low_level_emphasis": (2 + 1 / 9) / 3,
            "high_level_emphasis": (2 + 9) / 3,
            "level_non_uniformity": (2 / 3) ** 2 + (1 / 3) ** 2,
            "size_non_uniformity": (2 / 3) ** 2 + (1 / 3) ** 2,
            "percentage": 3 / 8,
            "level_variance": 2 / 9 * 2**2,
            "size_variance": 2 / 9 * 2**2,
            "entropy": -(2 / 3) * np.log2(2 / 3) - (1 / 3) * np.log2(1 / 3),
        }
    )
