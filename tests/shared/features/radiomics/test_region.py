"""Levels divide a region's own range evenly, and only its pixels have one."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import IntakeError
from shared.features.radiomics.region import find_region


def test_levels_divide_the_range_evenly_and_the_largest_has_the_last() -> None:
    region = find_region(np.array([[0.0, 0.24, 0.25], [0.5, 0.99, 1.0]]), n_levels=4)
    assert region.levels.tolist() == [[1, 1, 2], [3, 4, 4]]


def test_the_range_is_that_of_the_region() -> None:
    film = np.array([[10.0, 0.2], [0.4, 0.31]])
    mask = np.array([[False, True], [True, True]])
    region = find_region(film, mask=mask, n_levels=2)
    assert region.levels.tolist() == [[0, 1], [2, 2]]
    assert region.values.tolist() == [0.2, 0.4, 0.31]
    assert region.mask.tolist() == mask.tolist()


def test_equal_pixels_are_of_level_one() -> None:
    assert find_region(np.full((2, 2), 0.7), n_levels=32).levels.tolist() == [[1, 1], [1, 1]]


def test_a_region_without_a_pixel_is_refused() -> None:
    with pytest.raises(IntakeError) as refused:
        find_region(np.zeros((2, 2)), mask=np.zeros((2, 2), dtype=np.bool_), n_levels=2)
    assert refused.value.code == "intake.empty-region"
