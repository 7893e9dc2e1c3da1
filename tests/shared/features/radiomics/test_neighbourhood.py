"""How a pixel differs from those around it, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from practice_radiomics import region_of

from shared.features.radiomics.neighbourhood import measure


def test_three_pixels_by_hand() -> None:
    # 1 2 4: differences 1, |2 − 5/2| = ½ and 2; every level a third.
    found = measure(region_of([[1, 2, 4]]))
    assert found["coarseness"] == pytest.approx(1 / (3.5 / 3))
    pairs = 2 * (1 + 4 + 9) / 9
    assert found["contrast"] == pytest.approx(pairs / (3 * 2) * 3.5 / 3)
    assert found["busyness"] == pytest.approx((3.5 / 3) / (2 * (1 + 2 + 3) / 3))
    assert found["strength"] == pytest.approx(2 * (2 / 3) * (1 + 4 + 9) / 3.5)


def test_a_pixel_without_neighbours_does_not_count() -> None:
    assert measure(region_of([[1, 2, 0, 6]])) == measure(region_of([[1, 2, 0, 0]]))


def test_an_even_region_and_one_of_lone_pixels_are_as_coarse_as_can_be() -> None:
    for levels in (np.ones((4, 4)), [[1, 0, 2]]):
        found = measure(region_of(levels))
        assert found["coarseness"] == 1e6
        assert found["contrast"] == found["busyness"] == found["strength"] == 0.0
