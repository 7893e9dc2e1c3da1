"""Which levels lie beside each other, of regions counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from practice_radiomics import region_of

from shared.features.radiomics.cooccurrence import measure


def test_four_pixels_by_hand() -> None:
    # 1 1 / 2 2: two pairs alike along rows, two down and two across of levels 1 and 2.
    found = measure(region_of([[1, 1], [2, 2]], n_levels=2))
    assert found["contrast"] == pytest.approx(4 / 6)
    assert found["joint_maximum"] == pytest.approx(2 / 6)
    assert found["angular_second_moment"] == pytest.approx(2 * (1 / 6) ** 2 + 2 * (2 / 6) ** 2)
    assert found["correlation"] == pytest.approx(-1 / 3)


def test_a_pair_counts_from_both_ends() -> None:
    turned = [measure(region_of(levels, n_levels=3)) for levels in ([[1, 3]], [[3, 1]], [[1], [3]])]
    assert turned[0] == pytest.approx(turned[1])
    assert turned[0] == pytest.approx(turned[2])


def test_an_even_region_agrees_with_itself_and_lone_pixels_have_no_pairs() -> None:
    even, alone = measure(region_of(np.ones((3, 3)))), measure(region_of([[1, 0, 2]]))
    assert even["correlation"] == even["joint_maximum"] == 1.0
    assert set(alone.values()) == {0.0}
