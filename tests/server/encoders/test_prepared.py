"""A synthetic film is seen as a hospital's is: worn, and prepared by the schema's own view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from server.encoders.prepared import hip_schema, see_film
from server.synthetic.look import FilmLook
from server.synthetic.physics import draw_public_film
from shared.exam.pixels import Picture, is_mirrored, prepare

BARE = FilmLook(
    **dict.fromkeys(
        ("border", "shutter", "padding", "canvas", "marker", "word", "metal", "unequal_pixels"), 0.0
    ),
    bits=((12, 1.0),),
)


def test_a_film_that_wears_nothing_is_prepared_as_it_is():
    view = hip_schema().views[0]
    for seed in range(4):
        film = draw_public_film(np.random.default_rng(seed))
        seen = see_film(film, BARE, view, 128, np.random.default_rng(0))
        picture = Picture(
            pixels=film.pixels.astype(np.float32), pixel_mm=(film.pixel_mm, film.pixel_mm)
        )
        mirror = is_mirrored(film.side[0].upper())
        plain, framing = prepare(
            picture, 128, anatomy=view.anatomy, window_mm=view.window_mm, mirror=mirror
        )
        assert np.array_equal(seen, plain)
        assert framing.pixel_mm == 1.0


def test_what_tags_undo_is_not_worn_and_the_rest_is():
    view = hip_schema().views[0]
    film = draw_public_film(np.random.default_rng(1))
    undone = replace(BARE, turned=1.0, flipped=1.0, linear=1.0)
    plain = see_film(film, BARE, view, 128, np.random.default_rng(0))
    assert np.array_equal(see_film(film, undone, view, 128, np.random.default_rng(0)), plain)
    marked = see_film(film, replace(BARE, metal=1.0), view, 128, np.random.default_rng(0))
    assert not np.array_equal(marked, plain)
