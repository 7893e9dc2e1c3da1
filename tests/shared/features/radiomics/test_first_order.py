"""First order counts what values there are; an even region has no spread and no shape of one."""

from __future__ import annotations

import numpy as np
import pytest

from shared.features.radiomics.first_order import measure
from shared.features.radiomics.region import find_region


def test_where_a_pixel_lies_changes_nothing() -> None:
    film = np.arange(12.0).reshape(3, 4)
    assert measure(find_region(film, n_levels=4)) == pytest.approx(
        measure(find_region(film[::-1].T, n_levels=4))
    )


def test_four_values_by_hand() -> None:
    found = measure(find_region(np.array([[0.0, 0.0], [0.0, 4.0]]), n_levels=2))
    assert found["mean"] == 1.0
    assert found["variance"] == 3.0  # (1 + 1 + 1 + 9)/4
    assert found["skewness"] == pytest.approx(6.0 / 3.0**1.5)  # (−3 + 27)/4
    assert found["kurtosis"] == pytest.approx(21.0 / 9.0 - 3.0)  # (3 + 81)/4
    assert found["uniformity"] == 0.75**2 + 0.25**2
    assert found["root_mean_square"] == 2.0


def test_an_even_region_has_no_spread() -> None:
    found = measure(find_region(np.full((3, 3), 0.1), n_levels=8))
    for name in ("variance", "skewness", "kurtosis", "entropy", "variation", "quartile_dispersion"):
        assert found[name] == pytest.approx(0.0, abs=1e-12)
