"""One preparation of every film, with expectations computed by hand."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from server.synthetic.physics import Film, draw_public_film
from shared.exam.anatomy import ANATOMIES, _weights
from shared.exam.pixels import (
    CUT_OFF,
    NOT_FOUND,
    PREPROCESSING_VERSION,
    Framing,
    Picture,
    find_field,
    framing_of,
    is_mirrored,
    prepare,
)
from shared.signing.canonical import sha256_hex


@pytest.fixture
def film() -> np.ndarray:
    return np.random.default_rng(3).normal(1000, 200, (150, 90)).astype(np.float32)


@cache
def hips() -> tuple[Film, ...]:
    rng = np.random.default_rng(5)
    return tuple(draw_public_film(rng, is_usual=True) for _ in range(8))


def whole(pixels: np.ndarray, edge: int, **given: object) -> np.ndarray:
    return prepare(Picture(pixels=pixels), edge, **given)[0]


def hip(film: Film, pixels: np.ndarray | None = None, **given: object):
    """A film's window around the hip."""
    shown = film.pixels.astype(np.float32) if pixels is None else pixels
    picture = Picture(pixels=shown, pixel_mm=(film.pixel_mm, film.pixel_mm), **given)
    return prepare(picture, 128, anatomy="hip", window_mm=128.0, mirror=film.side == "right")


def test_gain_and_offset_of_the_detector_change_nothing(film):
    assert np.allclose(whole(film, 64), whole(film * 3 + 500, 64), atol=1e-4)


def test_an_inverted_film_is_one_minus_the_film(film):
    square = film[:90]
    assert np.allclose(whole(-square, 64), 1 - whole(square, 64), atol=1e-4)


def test_values_are_clipped_at_the_percentiles_of_what_was_exposed(film):
    image = whole(film[:90], 64)
    assert image.dtype == np.float32
    assert image.min() == 0
    assert image.max() == 1
    assert np.mean(image == 0) == pytest.approx(0.02, abs=0.004)
    told = np.ones((90, 90), bool)
    told[:, :45] = False
    half, framing = prepare(Picture(pixels=film[:90], told=told), 64)
    # the exposed half alone, in the middle of its square
    assert half.any(axis=0).sum() == pytest.approx(32, abs=2)
    assert framing.exposed == pytest.approx(0.5, abs=0.04)
    assert np.mean(half[:, half.any(axis=0)] == 1) == pytest.approx(0.02, abs=0.01)


def test_a_marker_does_not_set_the_grey_scale():
    for film in hips():
        pixels = film.pixels.astype(np.float32)
        marked = pixels.copy()
        edge = round(0.134 * np.sqrt(pixels.size))  # 1.8 % of the film
        rows, columns = slice(-edge - 4, -4), slice(4, edge + 4)
        marked[rows, columns] = pixels.max() + 900
        before, after = whole(pixels, 128), whole(marked, 128)
        elsewhere = np.ones(before.shape, bool)
        elsewhere[-30:, :34] = False
        assert np.abs(after - before)[elsewhere].mean() < 0.05


def test_the_shorter_edge_is_padded_evenly_with_zero(film):
    image = whole(film, 100)  # 150 × 90 → 100 × 60 and 20 columns each side
    assert image.shape == (100, 100)
    assert not image[:, :20].any()
    assert not image[:, 80:].any()
    assert image[:, 20].any()
    assert image[:, 79].any()


def test_right_films_are_mirrored_and_others_are_not(film):
    assert [is_mirrored(side) for side in ("R", "L", "B", None)] == [True, False, False, False]
    assert np.allclose(whole(film, 64, mirror=True), whole(film[:, ::-1], 64), atol=1e-5)


@pytest.mark.parametrize("value", [0, 5, 1234.567, -3000.1])
@pytest.mark.parametrize("anatomy", ["", "hip"])
def test_a_blank_film_becomes_zeros_and_is_flagged(value, anatomy):
    blank = np.full((301, 277), value, np.float32)
    image, framing = prepare(
        Picture(pixels=blank), 128, anatomy=anatomy, window_mm=128.0 if anatomy else 0.0
    )
    assert not image.any()
    assert framing.flags[0] == "intake.blank-film"


def test_pixels_that_are_not_square_become_square(film):
    wide = np.repeat(film, 2, axis=1)  # each pixel twice as high as wide
    by_spacing, _ = prepare(Picture(pixels=wide, pixel_mm=(0.4, 0.2)), 100)
    by_aspect, _ = prepare(Picture(pixels=wide, aspect=2.0), 100)
    assert np.allclose(by_spacing, whole(film, 100), atol=1e-4)
    assert np.allclose(by_aspect, by_spacing, atol=1e-4)


def test_the_window_is_so_many_millimetres_whatever_the_pixels():
    for film in hips():
        image, framing = hip(film)
        top, left, bottom, right = framing.window
        assert (bottom - top) * film.pixel_mm == pytest.approx(128, abs=1e-3)
        assert (right - left) * film.pixel_mm == pytest.approx(128, abs=1e-3)
        assert framing.pixel_mm == 1.0
        # finer pixels of the same film: the same image
        fine = np.kron(film.pixels, np.ones((3, 3))).astype(np.float32)
        picture = Picture(pixels=fine, pixel_mm=(film.pixel_mm / 3,) * 2)
        finer, _ = prepare(picture, 128, anatomy="hip", window_mm=128.0, mirror=film.side == "right")
        assert np.abs(finer - image).mean() < 0.04


def test_a_border_changes_nothing_inside_the_window():
    for film in hips():
        plain, framing = hip(film)
        pixels = film.pixels.astype(np.float32)
        margin = round(0.2 * pixels.shape[1])
        bordered = np.pad(pixels, margin, constant_values=pixels.max() + 300)
        image, moved = hip(film, bordered)
        both = (plain > 0) & (image > 0)
        assert np.abs(image - plain)[both].mean() < 0.09
        shift = np.array(moved.window) - margin - np.array(framing.window)
        assert np.abs(shift).max() * film.pixel_mm < 4


def test_a_window_of_a_right_film_is_told_as_the_film_hangs():
    film = next(each for each in hips() if each.side == "right")
    _, framing = hip(film)
    top, left, bottom, right = framing.window
    row, column = (top + bottom) / 2, (left + right) / 2
    miss = np.hypot(row - film.landmark[0] - 0.5, column - film.landmark[1] - 0.5) * film.pixel_mm
    assert miss < 10


def test_a_film_that_should_not_be_read_says_why_and_is_prepared_all_the_same():
    film = hips()[0]
    pixels = film.pixels.astype(np.float32)
    image, framing = hip(film, pixels[::-1].copy())
    assert framing.flags[0] == NOT_FOUND
    assert image.any()
    row, column = (int(at) for at in film.landmark)
    metal = pixels.copy()
    reach = round(20 / film.pixel_mm)
    metal[row : row + 2 * reach, column - reach : column + reach] = pixels.max() + 3000
    assert hip(film, metal)[1].flags
    told = np.zeros(pixels.shape, bool)
    told[: row + 10] = True
    assert CUT_OFF in hip(film, told=told)[1].flags


def test_a_framing_survives_json():
    framing = Framing(
        window=(1.0, 2.0, 3.0, 4.5),
        exposed=0.9,
        confidence=0.8,
        pixel_mm=None,
        shape=(30, 40),
        changes=("turned", "inverted"),
        flags=("intake.anatomy-cut-off",),
    )
    assert framing_of(json.loads(json.dumps(vars(framing)))) == framing
    assert framing_of(None) is None


def test_a_large_film_is_looked_at_in_a_small_picture(film):
    grey, exposed = find_field(Picture(pixels=np.kron(film, np.ones((20, 20), np.float32))))
    assert max(grey.shape) <= 160
    assert grey.shape == exposed.shape


def test_another_network_of_a_landmark_is_another_preprocessing():
    """Whoever trains a landmark anew names the preprocessing anew: scores change with it."""
    weights = {name: _weights(each.file) for name, each in ANATOMIES.items()}
    known = {"exposed-window-1": "a045dbd75fa30c3744d208bc4466d1e3989d22b8e5ea006d9cef5505034a802a"}
    joined = b"".join(weights["hip"][key].tobytes() for key in sorted(weights["hip"]))
    assert known[PREPROCESSING_VERSION] == sha256_hex(joined)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_window_that_is_given_is_cut_square_on_the_side_where_it_lies(mirror: bool) -> None:
    film = np.random.default_rng(4).random((120, 160)).astype(np.float32)
    film[40:60, 100:140] = 3.0
    picture = Picture(pixels=film, pixel_mm=(0.2, 0.1))  # 4 mm × 4 mm
    image, framing = prepare(picture, 40, window=(40, 100, 60, 140), mirror=mirror)
    assert framing.window == (40, 100, 60, 140)
    assert framing.pixel_mm == pytest.approx(0.1)
    wide, about = prepare(picture, 40, window=(30, 100, 70, 140), mirror=mirror)
    assert about.window == (30, 80, 70, 160)
    bright = wide > 0.9
    assert not image.any()  # all equal: nothing to see, and it says so
    assert framing.flags == ("intake.blank-film",)
    assert bright[11:29, 11:29].all()
    assert bright.sum() <= 20 * 20


def test_a_crop_of_which_most_was_not_exposed_says_so() -> None:
    film = np.random.default_rng(5).random((100, 100)).astype(np.float32)
    told = np.ones(film.shape, dtype=bool)
    told[:, :60] = False
    picture = Picture(pixels=film, told=told)
    assert prepare(picture, 32, window=(20, 62, 50, 92))[1].flags == ()
    assert prepare(picture, 32, window=(20, 40, 50, 70))[1].flags == ("intake.anatomy-cut-off",)
