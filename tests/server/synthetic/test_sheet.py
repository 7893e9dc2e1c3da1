"""Whatever happens to a sheet, a named place stays on the pixel that it named."""

import numpy as np
import pytest

from server.synthetic.sheet import Sheet


def dotted(shape=(41, 30), at=(7, 22)):
    """A dark sheet with one bright pixel, which is its bone and its named place."""
    grey = np.zeros(shape, np.float32)
    grey[at] = 100.0
    return Sheet(grey, grey > 0, {"dot": np.array([at], float)}, (0.5, 0.8))


def brightest(sheet):
    return np.unravel_index(int(sheet.grey.argmax()), sheet.grey.shape)


@pytest.mark.parametrize(
    "move",
    [
        lambda sheet: sheet.turn_left(),
        lambda sheet: sheet.turn_left().turn_left(),
        lambda sheet: sheet.flip(),
        lambda sheet: sheet.flip().turn_left(),
        lambda sheet: sheet.paste(np.array([3.0, 0.0, 5.7, 2.0]), fill=9.0),
        lambda sheet: sheet.stretch_rows(3.0),
    ],
)
def test_place_and_bone_move_with_their_pixel(move):
    moved = move(dotted())
    assert moved.places["dot"][0] == pytest.approx(brightest(moved), abs=0.5)
    assert moved.bone[brightest(moved)]
    assert moved.bone.shape == moved.grey.shape


def test_four_turns_and_two_flips_change_nothing():
    sheet = dotted()
    again = sheet.turn_left().turn_left().turn_left().turn_left().flip().flip()
    assert np.array_equal(again.grey, sheet.grey)
    assert again.places["dot"] == pytest.approx(sheet.places["dot"])
    assert again.pixel_mm == sheet.pixel_mm


def test_a_turn_takes_the_spacing_of_rows_to_columns():
    assert dotted().turn_left().pixel_mm == (0.8, 0.5)


def test_stretched_rows_keep_the_size_in_millimetres():
    sheet = dotted()
    stretched = sheet.stretch_rows(1.13)
    assert stretched.grey.shape == (46, 30)
    assert stretched.size * stretched.pixel_mm == pytest.approx(sheet.size * sheet.pixel_mm)


def test_a_pasted_sheet_has_margins_of_whole_pixels_and_one_grey():
    pasted = dotted().paste(np.array([3.0, 1.9, 5.7, 2.0]), fill=9.0)
    assert pasted.grey.shape == (41 + 3 + 1, 30 + 5 + 2)
    assert (pasted.grey == 9.0).sum() == 45 * 37 - 41 * 30
