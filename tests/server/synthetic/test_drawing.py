"""Borders, lead, metal and shutters: where they lie, how bright they are, what they leave alone."""

import numpy as np
import pytest
from scipy import ndimage

from server.synthetic import drawing
from server.synthetic.phantoms.exams import MARKER_WORD


def flat(shape=(120, 100), level=1000.0, noise=20.0):
    rng = np.random.default_rng(1)
    return (level + noise * rng.standard_normal(shape)).astype(np.float32)


def test_a_films_scale_tells_its_ends_and_its_noise():
    scale = drawing.measure_scale(flat() + np.linspace(0, 800, 100, dtype=np.float32))
    assert scale.noise == pytest.approx(20.0, rel=0.1)
    assert scale.low == pytest.approx(1000.0, abs=60)
    assert scale.high == pytest.approx(1800.0, abs=60)


def test_depth_in_a_rectangle_is_counted_from_its_nearest_edge():
    corners = np.array([(10.0, 20.0), (50.0, 80.0)])
    depth = drawing.inside_rectangle((60, 100), corners, 0.0)
    assert depth[10, 50] == depth[30, 20] == 0.0
    assert depth[15, 50] == 5.0
    assert depth[4, 50] == -6.0
    tilted = drawing.inside_rectangle((60, 100), corners, 3.0)
    assert tilted[30, 50] == depth[30, 50]  # turned about its middle
    # sin 3° over 40 columns is 2.1 rows
    assert abs(tilted[10, 30] - tilted[10, 70]) == pytest.approx(2.1, abs=0.1)


def test_an_unexposed_border_is_brighter_than_the_film_and_darkest_at_its_edge():
    grey = flat()
    scale = drawing.measure_scale(grey + np.linspace(0, 800, 100, dtype=np.float32))
    inside = drawing.inside_rectangle(grey.shape, np.array([(20.0, -99.0), (300.0, 300.0)]), 0.0)
    for seed in range(5):
        covered = drawing.cover_border(grey, inside, scale, np.random.default_rng(seed))
        assert covered[23:] == pytest.approx(grey[23:], rel=1e-5)  # the blurred edge is 1 pixel at most
        assert covered[:15].mean() > 1800.0
        assert covered[14:18].mean() < covered[:4].mean()  # scatter from the exposed side
        assert covered[:4].std() > 5.0


def test_metal_hides_what_lies_behind_it_and_nothing_else():
    grey = flat()
    scale = drawing.measure_scale(grey)
    drawn = drawing.draw_rods(
        grey, (((60.0, 10.0), (60.0, 90.0), 5.0),), scale, np.random.default_rng(2)
    )
    assert drawn[60, 15:85].min() > scale.high - 3 * scale.noise
    assert np.array_equal(drawn[:50], grey[:50])
    assert np.array_equal(drawn[:, 98:], grey[:, 98:])


@pytest.mark.parametrize("letter", ["L", "R"])
def test_a_lead_letter_has_a_frame_and_can_be_told_from_the_other(letter):
    drawn = drawing.lead_letter(letter, 60.0, np.random.default_rng(3))
    assert 55 < drawn.shape[0] < 95
    holes, n_parts = ndimage.label(drawn > 0.3, structure=np.ones((3, 3)))
    assert n_parts == 2  # frame and letter
    # an R has a closed counter, an L has none
    frame, glyph = sorted((holes == 1, holes == 2), key=lambda part: -np.ptp(np.nonzero(part)[0]))
    filled = ndimage.binary_fill_holes(glyph).sum() - glyph.sum()
    assert bool(filled > 20) is (letter == "R")
    assert ndimage.binary_fill_holes(frame).sum() > frame.sum()


def test_a_stamp_only_brightens_and_is_cut_at_the_edge():
    grey = flat()
    stamped = drawing.stamp(grey, np.ones((10, 10), np.float32), (0.0, 99.0), 3000.0)
    assert (stamped[:5, 95:] == 3000.0).all()
    assert np.array_equal(stamped[6:], grey[6:])
    assert np.array_equal(drawing.stamp(grey, np.ones((4, 4), np.float32), (50.0, 50.0), 0.0), grey)


def test_every_word_is_written_with_letters_that_exist():
    for word in drawing.WORDS:
        drawn = drawing.burned_word(word, 14.0)
        letters = drawn.reshape(14, len(word), -1).sum(axis=(0, 2))
        assert (letters > 0).tolist() == [letter != " " for letter in word]


def test_a_polygon_holds_what_lies_between_its_sides_whichever_way_round():
    corners = np.array([(10.0, 20.0), (10.0, 60.0), (40.0, 60.0), (40.0, 20.0)])
    for vertices in (corners, corners[::-1]):
        within = drawing.is_in_polygon((60, 100), vertices)
        assert within.sum() == 31 * 41
        assert within[10, 20]
        assert within[40, 60]
        assert not within[41, 60]


def test_a_disc_has_its_area():
    assert drawing.is_in_circle((100, 100), (50.0, 40.0), 30.0).sum() == pytest.approx(
        np.pi * 900, rel=0.01
    )


def test_a_lead_word_is_whole_whatever_its_letters():
    word = drawing.lead_word(MARKER_WORD, 20.0, np.random.default_rng(1))
    assert word.shape[1] > 5 * word.shape[0]
    for letter in set(MARKER_WORD):
        assert drawing.burned_word(letter, 7.0).any(), letter
    assert word.max() == 1.0
