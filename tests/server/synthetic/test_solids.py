"""Path lengths through bones: known chords, joints without walls, boxes that lose nothing."""

import numpy as np
import pytest

from server.synthetic.solids import Frame, Solid, project

BALL = Solid((0.0, 0.0), (0.0, 0.0), (10.0, 10.0), (2.0, 2.0), (0.2, 0.2))


def centred(shape, pixel_mm=1.0):
    """A frame whose origin is the middle of the film."""
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2]) * pixel_mm
    return Frame(np.eye(2) * pixel_mm, -middle)


def on_film(chords, layer, shape):
    film = np.zeros(shape, np.float32)
    film[chords.box] = layer
    return film


def test_a_hollow_ball_has_the_chords_of_its_two_spheres():
    chords = project((BALL,), centred((41, 41)), (41, 41))
    outer, marrow, spongy = (
        on_film(chords, layer, (41, 41)) for layer in (chords.outer, chords.marrow, chords.spongy)
    )
    assert outer[20, 20] == 20.0
    assert outer[20, 26] == pytest.approx(16.0)  # 2·√(10² − 6²)
    assert marrow[20, 20] == 16.0
    assert spongy[20, 20] == pytest.approx(0.2 * 16.0)
    assert outer[20, 31] == marrow[20, 29] == 0.0


def test_a_cortex_thicker_than_its_bone_leaves_no_marrow():
    solid = Solid((0.0, 0.0), (0.0, 0.0), (10.0, 10.0), (14.0, 14.0), (0.2, 0.2))
    chords = project((solid,), centred((41, 41)), (41, 41))
    assert chords.outer.max() == 20.0
    assert chords.marrow.max() == chords.spongy.max() == 0.0


def test_joined_solids_have_no_wall_between_them():
    rod = Solid((0.0, 0.0), (15.0, 0.0), (10.0, 10.0), (2.0, 2.0), (0.2, 0.2))
    chords = project((BALL, rod), centred((41, 61)), (41, 61))
    cortex = on_film(chords, chords.outer - chords.marrow, (41, 61))
    assert cortex[20, 30:46] == pytest.approx(4.0)


@pytest.mark.parametrize("turn", [0.0, 0.7, 2.5])
@pytest.mark.parametrize("pixel_mm", [0.3, 1.1])
def test_a_bone_lies_within_its_box_and_a_film_cuts_it(turn, pixel_mm):
    rod = Solid((-8.0, 3.0), (12.0, 30.0), (6.0, 4.0), (1.0, 1.0), (0.2, 0.2))
    cosine, sine = np.cos(turn), np.sin(turn)
    small, large = (90, 100), (390, 400)
    shifted = Frame(centred(small, pixel_mm).matrix, centred(small, pixel_mm).offset - 150 * pixel_mm)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    near = project((rod,), centred(small, pixel_mm).then(rotation), small)
    far = project((rod,), shifted.then(rotation), large)
    cut = on_film(far, far.outer, large)[150:240, 150:250]
    assert on_film(near, near.outer, small) == pytest.approx(cut, abs=0.1)
    assert on_film(far, far.outer, large).max() == pytest.approx(12.0, abs=0.4)
    # the bone's whole area is there: none of it was outside of the box
    area_mm2 = (far.outer > 0).sum() * pixel_mm**2
    length = float(np.hypot(20.0, 27.0))
    assert area_mm2 == pytest.approx(length * 10.0 + np.pi * (36 + 16) / 2, rel=0.04)


def test_a_bone_beside_the_film_leaves_an_empty_box():
    away = Frame(np.eye(2), np.array([500.0, 500.0]))
    chords = project((BALL,), away, (41, 41))
    assert chords.outer.size == 0


def test_a_point_is_found_where_the_grid_has_its_coordinates():
    frame = centred((50, 60), 0.8).then(np.array([[0.0, -1.0], [1.0, 0.0]]), about=(3.0, 4.0))
    x, y = frame.grid((slice(0, 50), slice(0, 60)))
    row, column = frame.pixel_of((float(x[17, 23]), float(y[17, 23])))
    assert (row, column) == pytest.approx((17.0, 23.0), abs=1e-3)
