"""The whole film beside what a model sees: all of it, as it hangs, dark to bright."""

from __future__ import annotations

import numpy as np

from client.intake.overview import OVERVIEW_PIXELS, draw_overview
from shared.exam.pixels import Picture


def test_a_film_of_any_shape_fills_a_square_from_edge_to_edge():
    pixels = np.zeros((240, 480), np.float32)
    pixels[:60], pixels[:, 360:] = 1000, 2000  # a quarter at the top, a quarter on the right
    drawn = draw_overview(Picture(pixels=pixels))
    quarter = OVERVIEW_PIXELS // 4
    assert drawn.shape == (OVERVIEW_PIXELS, OVERVIEW_PIXELS)
    assert (drawn[:quarter, : 3 * quarter] == 127).all()
    assert (drawn[:, 3 * quarter :] == 255).all()
    assert (drawn[quarter:, : 3 * quarter] == 0).all()


def test_a_speck_of_metal_leaves_the_rest_as_bright_as_it_was():
    pixels = np.tile(np.linspace(0, 100, 200, dtype=np.float32), (200, 1))
    marked = pixels.copy()
    marked[:8, :8] = 1e6
    plain, drawn = draw_overview(Picture(pixels=pixels)), draw_overview(Picture(pixels=marked))
    assert drawn[:3, :3].min() == 255
    assert np.abs(plain[20:].astype(int) - drawn[20:]).max() <= 3


def test_a_blank_film_is_black():
    assert not draw_overview(Picture(pixels=np.full((50, 30), 7, np.float32))).any()
