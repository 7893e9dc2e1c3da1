"""The exposed field is found in the picture: borders of every kind go, anatomy and markers stay."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from server.synthetic.physics import draw_public_film
from shared.exam.field import find_exposed
from shared.exam.pixels import Picture, find_field

N_FILMS = 8


@cache
def films() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(11)
    return tuple(draw_public_film(rng, is_usual=True).pixels.astype(np.float32) for _ in range(N_FILMS))


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    return float((found & true).sum() / (found | true).sum())


def coarse(film: np.ndarray) -> np.ndarray:
    """At most 160 pixels wide, as ``prepare`` sees it."""
    return find_field(Picture(pixels=film))[0]


def bordered(film: np.ndarray, share: float, level: float, noise: float) -> tuple:
    """A film with an unexposed margin on all sides, and where it was exposed."""
    margin = round(share * film.shape[1] / 2)
    wide = np.pad(film, margin, constant_values=level)
    exposed = np.pad(np.ones(film.shape, bool), margin)
    rough = np.random.default_rng(1).normal(0, noise, wide.shape).astype(np.float32)
    return np.where(exposed, wide, wide + rough), exposed


def test_a_film_without_a_border_is_exposed_all_over():
    shares = [find_exposed(coarse(film)).mean() for film in films()]
    assert min(shares) > 0.97


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("noise", [0.0, 25.0])
@pytest.mark.parametrize("side", ["bright", "dark"])
def test_a_collimators_border_is_left_out_to_within_a_pixel(share, noise, side):
    for film in films():
        level = film.max() + 200 if side == "bright" else film.min() - 200
        picture, exposed = bordered(film, share, level, noise)
        found, true = find_exposed(coarse(picture)), coarse(exposed.astype(np.float32)) > 0.99
        assert not (found & ~true).any()
        lost = ndimage.binary_erosion(true, iterations=3) & ~found
        assert not lost.any()


def test_an_exact_border_between_light_and_dark_is_left_out():
    overlaps = []
    for film in films():
        picture, exposed = bordered(film, 0.2, float(np.median(film)), 0.0)
        true = coarse(exposed.astype(np.float32)) > 0.99
        overlaps.append(overlap(find_exposed(coarse(picture)), true))
    assert min(overlaps) > 0.9


def test_a_tilted_and_a_round_field_are_found():
    for film in films()[:6]:
        turned = ndimage.rotate(film, 7, order=1, cval=0)
        true = ndimage.rotate(np.ones(film.shape), 7, order=1, cval=0) > 0.99
        found = find_exposed(coarse(turned))
        assert overlap(found, coarse(true.astype(np.float32)) > 0.99) > 0.9
        rows, columns = np.mgrid[: film.shape[0], : film.shape[1]]
        middle = np.array(film.shape) / 2
        true = np.hypot(rows - middle[0], columns - middle[1]) < 0.47 * min(film.shape)
        found = find_exposed(coarse(np.where(true, film, 0).astype(np.float32)))
        assert overlap(found, coarse(true.astype(np.float32)) > 0.99) > 0.9


def test_a_marker_in_the_border_is_no_field_and_one_inside_stays():
    for film in films()[:6]:
        picture, exposed = bordered(film, 0.4, film.min() - 200, 10.0)
        picture[4:12, 4:12] = film.max()
        row, column = np.argwhere(exposed)[0] + 12
        picture[row : row + 8, column : column + 8] = film.max() + 900
        found = find_exposed(coarse(picture))
        true = coarse(exposed.astype(np.float32)) > 0.99
        assert not (found & ~true).any()
        assert overlap(found, true) > 0.9


def test_soft_tissue_beside_a_bone_is_no_border():
    # a dark flat half beside a bright one: flat, at the edge, sharp, but not convex what it leaves
    picture = np.full((120, 120), 100, np.float32)
    rows, columns = np.mgrid[:120, :120]
    bone = np.hypot(rows - 60, columns - 75) < 22
    bone |= (columns > 66) & (columns < 84) & (rows > 60)
    picture[bone] = 400
    picture += np.random.default_rng(0).normal(0, 4, picture.shape).astype(np.float32)
    assert find_exposed(picture).mean() > 0.95


def test_what_the_tags_leave_out_is_never_exposed():
    film = films()[0]
    told = np.ones(coarse(film).shape, bool)
    told[:, :30] = False
    found = find_exposed(coarse(film), told)
    assert not found[:, :30].any()
    assert found[:, 35:].mean() > 0.95


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_a_blank_film_has_no_border(value):
    assert find_exposed(np.full((40, 60), value, np.float32)).all()
