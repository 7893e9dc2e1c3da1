"""Shape in the plane, of regions whose outline is counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from practice_radiomics import region_of

from shared.features.radiomics.shape import measure


def test_a_square_by_hand() -> None:
    found = measure(region_of(np.ones((3, 3))))
    # Squares between pixel centres: 4 of four corners, 8 of two, 4 of one.
    assert found["area"] == 4 * 1.0 + 8 * 0.5 + 4 * 0.125
    assert found["perimeter"] == pytest.approx(8 + 4 * math.sqrt(0.5))
    assert found["major_axis"] == found["minor_axis"] == pytest.approx(4 * math.sqrt(2 / 3))
    assert found["elongation"] == 1.0


def test_a_disc_is_as_round_as_pixels_allow_and_a_bar_is_not() -> None:
    y, x = np.indices((41, 41)) - 20
    disc = measure(region_of(np.hypot(x, y) < 18))
    bar = measure(region_of(np.ones((2, 40))))
    assert disc["sphericity"] > 0.93
    assert disc["elongation"] == pytest.approx(1.0)
    assert bar["sphericity"] < 0.5
    assert bar["elongation"] < 0.1


def test_opposite_corners_are_two_pieces() -> None:
    two, apart = np.eye(2), np.zeros((2, 5))
    apart[0, 0] = apart[1, 4] = 1
    for name in ("area", "perimeter"):
        assert measure(region_of(two))[name] == pytest.approx(measure(region_of(apart))[name])
