"""Boxes and masks go where their film goes, checked on pictures that were turned by other means."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from shared.exam.pixels import Picture
from shared.exam.regions import box_of, cut_mask, grow, hang_box, hang_mask, stored_shape

TURNS = [
    turns
    for n in range(4)
    for turns in product((np.transpose, np.fliplr, np.flipud), repeat=n)
    if len(set(turns)) == n
]


def hung(stored: np.ndarray, turns: tuple) -> Picture:
    """A stored film as a picture."""
    for turn in turns:
        stored = turn(stored)
    return Picture(pixels=stored.astype(np.float32), turns=turns)


@pytest.mark.parametrize("turns", TURNS, ids=lambda turns: "-".join(turn.__name__ for turn in turns))
def test_a_box_and_its_mask_are_found_where_its_pixels_went(turns):
    stored = np.zeros((30, 50))
    stored[4:9, 12:31] = 1  # rows 4 to 9, columns 12 to 31
    picture = hung(stored, turns)
    assert stored_shape(picture) == (30, 50)
    window = hang_box((12, 4, 31, 9), picture)
    assert window == box_of(picture.pixels > 0)
    assert np.array_equal(hang_mask(stored > 0, picture), picture.pixels > 0)


def test_a_margin_is_a_share_of_each_side_and_lies_on_either_end():
    assert grow((10.0, 20.0, 20.0, 60.0), 0.15) == (8.5, 14.0, 21.5, 66.0)


def test_a_mask_in_the_whole_window_is_itself_and_in_half_of_it_is_doubled():
    mask = np.arange(64).reshape(8, 8) % 3 == 0
    assert np.array_equal(cut_mask(mask, (0, 0, 8, 8), 8), mask)
    assert np.array_equal(cut_mask(mask, (2, 2, 6, 6), 8), np.kron(mask[2:6, 2:6], np.ones((2, 2))) > 0)
    assert np.array_equal(cut_mask(mask, (0, 0, 8, 8), 8, mirror=True), mask[:, ::-1])


def test_beyond_the_film_nothing_is_marked():
    cut = cut_mask(np.ones((4, 4), dtype=bool), (-4, -2, 4, 6), 8)
    assert cut[4:, 2:6].all()
    assert cut.sum() == 16
