"""Zones of one level, beside a label by label search of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from shared.features.radiomics.zones import find_zones


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (9, 13), (30, 20)])
@pytest.mark.parametrize("n_levels", [1, 3])
def test_zones_are_those_that_scipy_labels(shape: tuple[int, int], n_levels: int) -> None:
    levels = np.random.default_rng(5).integers(0, n_levels + 1, shape)
    expected = []
    for level in range(1, n_levels + 1):
        zone, _ = ndimage.label(levels == level, structure=np.ones((3, 3)))
        expected += [(level, int(size)) for size in np.bincount(zone.ravel())[1:]]
    found = zip(*(each.tolist() for each in find_zones(levels)), strict=True)
    assert sorted(found) == sorted(expected)


def test_pixels_that_touch_at_a_corner_are_one_zone() -> None:
    levels, sizes = find_zones(np.array([[1, 0, 1], [0, 1, 0], [2, 0, 0]]))
    assert dict(zip(levels.tolist(), sizes.tolist(), strict=True)) == {1: 3, 2: 1}
