"""Worn films: each defect does what its name says, alone; what is told is where it is told to be."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from server.synthetic.look import FilmLook
from server.synthetic.wear import KEPT_MM, LINEAR_RANGE, wear

PLAIN = replace(
    FilmLook(),
    **{field.name: 0.0 for field in fields(FilmLook) if field.name != "bits"},
    bits=((12, 1.0),),
)


@dataclass(frozen=True)
class Phantom:
    """A bright bar on a sloping ground: no body part at all."""

    pixels: np.ndarray
    bone_mask: np.ndarray
    landmark: tuple[float, float]
    side: str
    pixel_mm: float


def phantom(shape=(180, 150), pixel_mm=0.9, side="right"):
    rng = np.random.default_rng(0)
    grey = 800.0 + 6.0 * np.arange(shape[1]) + 15.0 * rng.standard_normal(shape)
    bone = np.zeros(shape, bool)
    bone[30:140, 70:95] = True
    grey[bone] += 700.0
    grey[80, 82] = 3000.0  # the landmark's own pixel
    return Phantom(grey.astype(np.uint16), bone, (80.0, 82.0), side, pixel_mm)


def worn(seed=1, film=None, **look):
    film = film or phantom()
    return wear(film, replace(PLAIN, **look), np.random.default_rng(seed))


def at_landmark(film):
    row, column = (round(place) for place in film.landmark)
    return film.pixels[row, column]


def test_a_plain_look_leaves_the_film_as_it_is():
    film = worn()
    assert np.array_equal(film.pixels, phantom().pixels)
    assert np.array_equal(film.bone_mask, phantom().bone_mask)
    assert film.landmark == phantom().landmark
    assert film.tags.pixel_mm == (0.9, 0.9)
    assert film.tags.orientation == ("L", "F")


def test_a_seed_gives_the_same_film_and_another_seed_another_one():
    first, again, other = (wear(phantom(), FilmLook(), np.random.default_rng(s)) for s in (3, 3, 4))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.tags == again.tags
    assert first.pixels.shape != other.pixels.shape or not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("share", ["turned", "flipped", "padding", "canvas", "shutter", "border"])
def test_the_landmark_stays_on_its_pixel(share):
    for seed in range(12):
        film = worn(seed, **{share: 1.0}, border_added=0.5)
        assert at_landmark(film) == 3000
        assert film.bone_mask.shape == film.pixels.shape


def test_a_frequency_is_a_frequency():
    films = [worn(seed, monochrome1=0.3, no_view=0.2) for seed in range(300)]
    # 300 draws: three SD of a share are 0.08 and 0.07
    assert np.mean([film.tags.is_monochrome1 for film in films]) == pytest.approx(0.3, abs=0.08)
    assert np.mean([not film.tags.has_view for film in films]) == pytest.approx(0.2, abs=0.07)


def test_a_covering_border_hides_edges_but_not_the_surroundings_of_the_landmark():
    original = phantom().pixels.astype(int)
    n_covered = 0
    for seed in range(20):
        film = worn(seed, border=1.0, border_told=1.0)
        assert film.pixels.shape == original.shape
        (top, left), (bottom, right) = film.tags.collimator
        changed = film.pixels.astype(int) != original
        row, column, kept = 80, 82, int(KEPT_MM / 0.9) - 4
        assert not changed[row - kept : row + kept, column - kept : column + kept].any()
        outside = np.ones(original.shape, bool)
        outside[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = False
        n_covered += outside.any()
        if outside.sum() > 800:
            assert film.pixels[outside].mean() > np.percentile(original, 97)
            assert not film.bone_mask[changed & outside].any() or changed[outside].mean() < 0.9
    assert n_covered >= 15


def test_an_added_border_lies_around_the_picture():
    original = phantom().pixels
    sizes = set()
    for seed in range(10):
        film = worn(seed, border=1.0, border_added=1.0, border_told=1.0)
        (top, left), (bottom, right) = film.tags.collimator
        sizes.add(film.pixels.shape)
        assert film.pixels.shape[0] >= original.shape[0]
        assert bottom - top <= original.shape[0]
        assert right - left <= original.shape[1]
        inner = film.pixels[int(top) + 5 : int(bottom) - 5, int(left) + 5 : int(right) - 5]
        assert np.median(inner) == pytest.approx(np.median(original), rel=0.05)
    assert len(sizes) > 5


@pytest.mark.parametrize("is_told", [False, True])
def test_a_shutter_is_even_outside_of_the_shape_that_it_tells(is_told):
    shapes = set()
    for seed in range(30):
        film = worn(seed, shutter=1.0, shutter_told=float(is_told))
        original = phantom().pixels
        shut = film.pixels != original
        assert set(np.unique(film.pixels[shut])) <= {0, 4095}
        if not is_told:
            assert film.tags.shutter is None
            continue
        shutter = film.tags.shutter
        shapes.add(shutter.shape)
        places = np.array(shutter.points)
        if shutter.shape == "CIRCULAR":
            radius = np.hypot(*(places[1] - places[0]))
            rows, columns = np.indices(original.shape)
            outside = np.hypot(rows - places[0][0], columns - places[0][1]) > radius
            assert np.array_equal(shut, outside)
        else:
            (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0)
            outside = np.ones(original.shape, bool)
            outside[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = False
            assert shut[outside].all()
            assert shut.any() == bool(shut.sum() >= outside.sum())
    assert not is_told or shapes == {"RECTANGULAR", "CIRCULAR", "POLYGONAL"}


def test_padding_has_the_values_that_it_tells():
    for seed in range(15):
        film = worn(seed, padding=1.0, padding_told=1.0)
        low, high = film.tags.padding
        original = phantom().pixels
        strip = np.ones(film.pixels.shape, bool)
        top, left = (round(a - b) for a, b in zip(film.landmark, phantom().landmark, strict=True))
        picture = slice(top, top + original.shape[0]), slice(left, left + original.shape[1])
        assert np.array_equal(film.pixels[picture], original)
        strip[picture] = False
        assert strip.any()
        assert film.pixels[strip].min() >= low
        assert film.pixels[strip].max() <= high
        assert not film.bone_mask[strip].any()


def test_what_is_told_moves_with_padding_and_canvas():
    for seed in range(20):
        film = worn(seed, shutter=1.0, shutter_told=1.0, padding=1.0, canvas=1.0)
        if film.tags.shutter.shape != "RECTANGULAR":
            continue
        (top, left), (bottom, right) = film.tags.shutter.points
        inside = film.pixels[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        assert len(np.unique(inside)) > 500
        assert inside.min() > 0


def test_turned_and_flipped_films_say_so_and_turn_back():
    upright = phantom().pixels
    seen = set()
    for seed in range(40):
        film = worn(seed, turned=0.7, flipped=0.5)
        seen.add(film.tags.orientation)
        picture, (right, down) = film.pixels, film.tags.orientation
        if right in "FH":  # rows run along the body
            picture, right, down = picture.T, down, right
        if right == "R":
            picture = picture[:, ::-1]
        if down == "H":
            picture = picture[::-1]
        assert np.array_equal(picture, upright)
    assert len(seen) == 8


def test_a_marker_is_bright_near_an_edge_and_away_from_the_landmark():
    original = phantom().pixels.astype(int)
    for seed in range(20):
        film = worn(seed, marker=1.0)
        drawn = np.argwhere(film.pixels != original)
        assert 20 < len(drawn) < 0.03 * original.size
        assert np.hypot(*(drawn.mean(axis=0) - (80, 82))) * 0.9 > KEPT_MM
        assert (film.pixels - original).max() > 400
        assert (film.pixels >= original).all()
        to_edge = np.minimum(drawn.mean(axis=0), np.array(original.shape) - drawn.mean(axis=0))
        assert to_edge.min() < 30


def test_a_word_is_burned_in_with_the_brightest_value():
    film = worn(2, word=1.0)
    assert set(np.unique(film.pixels[film.pixels != phantom().pixels])) == {4095}


def test_metal_lies_in_the_bone():
    for seed in range(10):
        film = worn(seed, metal=1.0)
        changed = film.pixels.astype(int) - phantom().pixels > 200
        assert 100 < changed.sum() < 0.25 * changed.size
        assert (changed & film.bone_mask).sum() > 0.2 * changed.sum()


@pytest.mark.parametrize("bits", [10, 12, 14, 15, 16])
def test_every_depth_fills_its_own_range_and_no_more(bits):
    film = worn(3, bits=((bits, 1.0),))
    assert film.tags.bits_stored == bits
    expected = phantom().pixels / 4095 * (2**bits - 1)
    assert np.abs(film.pixels - expected).max() <= max(1.0, 2**bits / 4096)
    if bits > 12:  # no comb of empty values
        assert len(np.unique(film.pixels)) > len(np.unique(phantom().pixels))


def test_linear_values_are_proportional_to_exposure_and_shown_inverted():
    film = worn(4, linear=1.0)
    assert film.tags.is_linear
    assert film.tags.is_monochrome1
    exposure = 4095.0 - film.pixels  # as it is stored
    grey = phantom().pixels.astype(float)
    # the logarithm of exposure is a straight line of the phantom's grey
    line = np.polyfit(grey.ravel(), np.log(exposure).ravel(), 1)
    assert line[0] == pytest.approx(-LINEAR_RANGE / 4095, rel=0.01)
    assert np.abs(np.log(exposure) - np.polyval(line, grey)).max() < 0.01


def test_unequal_pixels_keep_the_size_in_millimetres():
    film = worn(5, unequal_pixels=1.0)
    row_mm, column_mm = film.tags.pixel_mm
    assert row_mm != column_mm == 0.9
    assert film.pixels.shape[0] * row_mm == pytest.approx(180 * 0.9)
    assert film.landmark[0] * row_mm == pytest.approx(80 * 0.9, abs=0.6)


def test_missing_tags_are_missing():
    film = worn(6, no_view=1.0, no_body_part=1.0, no_spacing=1.0, no_orientation=1.0)
    assert not film.tags.has_view
    assert not film.tags.has_body_part
    assert film.tags.spacing == "none"
    assert film.tags.orientation is None
    assert worn(6, calibrated=1.0).tags.spacing == "calibrated"
    # a film that is turned says so, or nobody could hang it
    assert worn(6, turned=1.0, no_orientation=1.0).tags.orientation is not None
