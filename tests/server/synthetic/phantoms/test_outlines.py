"""Outlines: depth within a rim, and paths through a body, as geometry says."""

import numpy as np
import pytest

from server.synthetic.phantoms.outlines import (
    Outline,
    box_of,
    depth_within,
    project_outline,
    smooth,
    thickness,
)
from server.synthetic.solids import Frame

SQUARE = ((-10.0, -10.0), (10.0, -10.0), (10.0, 10.0), (-10.0, 10.0))
FRAME = Frame(np.eye(2) * 0.5, np.array([-20.0, -20.0]))  # 80 x 80 pixels of half a millimetre
SHAPE = (80, 80)


def test_depth_within_a_square_is_the_distance_to_its_nearest_side() -> None:
    x = np.array([[0.0, 7.0, 12.0, 13.0]], np.float32)
    y = np.array([[0.0, 2.0, 0.0, 14.0]], np.float32)
    assert depth_within(SQUARE, x, y)[0].tolist() == pytest.approx([10.0, 3.0, -2.0, -5.0])


def test_a_smooth_rim_passes_through_its_points_and_stays_near_them() -> None:
    curve = smooth(SQUARE)
    assert len(curve) == 6 * len(SQUARE)
    assert set(SQUARE) <= set(curve)
    assert np.abs(curve).max() < 13.0


def test_a_body_is_as_deep_as_it_says_within_its_rounding_and_rounded_at_its_rim() -> None:
    body = Outline(SQUARE, depth=30.0, rounding=5.0)
    x = np.array([[-30.0, -11.0, -10.0, -7.5, -5.0, 0.0]], np.float32)
    path = thickness(body, x, np.zeros_like(x))[0]
    assert path.tolist() == pytest.approx([0.0, 0.0, 0.0, 30 * 0.75**0.5, 30.0, 30.0])


def test_cortex_lies_around_marrow_on_all_sides() -> None:
    chords = project_outline(Outline(SQUARE, 30.0, 5.0, cortex=1.0, filling=0.5), FRAME, SHAPE)
    middle = tuple(size // 2 for size in chords.outer.shape)
    assert chords.outer[middle] == pytest.approx(30.0)
    assert chords.marrow[middle] == pytest.approx(28.0)
    assert chords.spongy[middle] == pytest.approx(14.0)
    cortex = chords.outer - chords.marrow
    assert cortex.max() > 5 * cortex[middle], "the rim is seen edge-on"
    assert (chords.marrow <= chords.outer).all()


def test_the_area_of_a_projected_square_is_its_own() -> None:
    chords = project_outline(Outline(SQUARE, 30.0, 5.0), FRAME, SHAPE)
    assert (chords.outer > 0).sum() * 0.25 == pytest.approx(400.0, rel=0.06)


def test_a_box_holds_its_points_and_is_cut_at_the_film() -> None:
    rows, columns = box_of(((-19.0, -19.0), (500.0, 3.0)), FRAME, SHAPE)
    assert (rows.start, columns.start) == (1, 1)
    assert columns.stop == 80
    assert 47 <= rows.stop <= 49
