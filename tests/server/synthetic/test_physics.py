"""The films: what makes them brighter, what hides bone, and what they must not tell."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from server.synthetic.beam import FULL_SCALE
from server.synthetic.exams import draw_exams
from server.synthetic.hip import HipAnatomy
from server.synthetic.hospitals import CEDAR, CEDAR_UNIT
from server.synthetic.physics import (
    FOLDS_MM,
    ONE_HIP_MM,
    PLATES_MM,
    _soft_tissue,
    draw_public_film,
    random_scanner,
    render_hip,
    widen,
)

HIP = HipAnatomy(
    side="right",
    cortical_mm=1.6,
    trabecular_share=0.14,
    texture_exponent=2.2,
    texture_contrast=0.3,
    shaft_cortex_ratio=3.0,
    pelvis_share=0.14,
    scale=1.0,
    neck_shaft_degrees=128.0,
    soft_tissue_cm=17.0,
)


def film_of(hip, scanner=CEDAR_UNIT, seed=5):
    return render_hip(hip, scanner, np.random.default_rng(seed))


def edge_and_inside(mask):
    """The mask's outermost 2 pixels, and what lies deeper than 8."""
    depth = np.zeros(mask.shape, int)
    layer = mask.copy()
    for _ in range(9):
        depth += layer
        shrunk = layer.copy()
        shrunk[1:-1, 1:-1] &= layer[:-2, 1:-1] & layer[2:, 1:-1] & layer[1:-1, :-2] & layer[1:-1, 2:]
        shrunk[[0, -1]] = False
        shrunk[:, [0, -1]] = False
        layer = shrunk
    return (depth > 0) & (depth <= 2), depth > 8


def contrast(film, where=None):
    """Mean grey of the bone (or a part of it) above the mean of the rest."""
    grey = film.pixels.astype(float)
    return grey[film.bone_mask if where is None else where].mean() - grey[~film.bone_mask].mean()


def test_a_thicker_cortex_has_a_brighter_edge():
    thin, thick = film_of(HIP), film_of(replace(HIP, cortical_mm=2.4))
    edge, _ = edge_and_inside(thin.bone_mask)
    assert contrast(thick, edge) > 1.1 * contrast(thin, edge)


def test_denser_trabecular_bone_is_brighter_inside_more_than_at_the_edge():
    sparse, dense = film_of(HIP), film_of(replace(HIP, trabecular_share=0.20))
    edge, inside = edge_and_inside(sparse.bone_mask)
    gain_inside = contrast(dense, inside) / contrast(sparse, inside)
    gain_edge = contrast(dense, edge) / contrast(sparse, edge)
    assert gain_inside > 1.1
    assert gain_inside > gain_edge


def test_soft_tissue_hides_bone_by_its_scatter_alone():
    sharp = replace(CEDAR_UNIT, tone=0.0, sharpening=0.0)
    slim = film_of(replace(HIP, soft_tissue_cm=13.0), sharp)
    obese = film_of(replace(HIP, soft_tissue_cm=26.0), sharp)
    # Contrast falls as 1 / (1 + scatter): scatter = 0.15 per cm x 0.16 of the grid, so 0.312 and
    # 0.624 of the mean primary. The bone itself is darker than the mean, hence a wide band.
    expected = (1 + 0.15 * 0.16 * 13.0) / (1 + 0.15 * 0.16 * 26.0)
    assert contrast(obese) / contrast(slim) == pytest.approx(expected, abs=0.06)


def test_a_steeper_texture_has_less_fine_detail():
    quiet = replace(CEDAR_UNIT, quanta=1e6, electronic_noise=0.0)

    def fine_share(exponent):
        film = film_of(replace(HIP, texture_exponent=exponent, texture_contrast=0.4), quiet)
        grey = film.pixels.astype(float)
        _, inside = edge_and_inside(film.bone_mask)
        steps = (grey[:, 1:] - grey[:, :-1])[inside[:, 1:] & inside[:, :-1]]
        return steps.std() / grey[inside].std()

    assert fine_share(1.2) > 1.5 * fine_share(3.2)


@pytest.fixture(scope="module")
def exams():
    return draw_exams(
        replace(CEDAR, both_hips_share=0.0, wide_share=0.0), 400, np.random.default_rng(6)
    )


def test_the_mean_grey_carries_no_bmd(exams):
    mean = np.array([exam.films[0].pixels.mean() for exam in exams])
    bmd = np.array([exam.bmd_g_cm2 for exam in exams])
    # 400 exams: a correlation of chance stays below 3 / sqrt(400) = 0.15
    assert abs(np.corrcoef(mean, bmd)[0, 1]) < 0.15
    assert mean.std() < 15.0  # automatic exposure: the jitter of the unit, 8 grey levels


def test_the_film_shows_bone_that_follows_bmd(exams):
    shown = np.array([contrast(exam.films[0]) for exam in exams])
    bmd = np.array([exam.bmd_g_cm2 for exam in exams])
    assert 0.4 < np.corrcoef(shown, bmd)[0, 1] < 0.9


def test_left_and_right_hips_are_mirror_images():
    right, left = film_of(HIP), film_of(replace(HIP, side="left"))
    columns = np.arange(right.bone_mask.shape[1]) - right.bone_mask.shape[1] / 2
    upper = slice(0, right.bone_mask.shape[0] // 2)  # head and neck lean to the middle

    def centre(film):
        return (film.bone_mask[upper] * columns).sum() / film.bone_mask[upper].sum()

    assert centre(right) > 2.0
    assert centre(left) < -2.0


def test_public_films_draw_their_quantities_widely_and_independently():
    rng = np.random.default_rng(8)
    films = [draw_public_film(rng) for _ in range(300)]
    drawn = np.array([(f.cortical_mm, f.trabecular_share, f.texture_exponent) for f in films])
    correlation = np.corrcoef(drawn.T)
    # 300 films: chance stays below 3 / sqrt(300)
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.174
    assert drawn[:, 0].min() < 0.8
    assert drawn[:, 0].max() > 3.0
    assert len({film.pixels.shape for film in films}) > 4


def test_films_fit_twelve_bits_and_their_mask_fits_them():
    rng = np.random.default_rng(9)
    n_wide = 0
    for _ in range(30):
        scanner = random_scanner(rng)
        film = film_of(HIP, scanner, seed=int(rng.integers(1000)))
        assert film.pixels.shape == film.bone_mask.shape == (scanner.rows, scanner.columns)
        assert film.pixels.dtype == np.uint16
        assert film.pixels.max() < FULL_SCALE
        is_wide = max(film.pixels.shape) * scanner.pixel_mm > ONE_HIP_MM
        n_wide += is_wide
        assert 0.02 < film.bone_mask.mean() < (0.2 if is_wide else 0.5)
        if not is_wide:
            assert film.pixels.min() > 0  # no air: nothing is clipped
    assert 5 <= n_wide <= 18


def wide_unit(width_mm, height_mm, pixel_mm=0.9):
    return replace(
        CEDAR_UNIT,
        rows=round(height_mm / pixel_mm),
        columns=round(width_mm / pixel_mm),
        pixel_mm=pixel_mm,
        quanta=CEDAR_UNIT.quanta * (pixel_mm / CEDAR_UNIT.pixel_mm) ** 2,
    )


def test_the_landmark_is_the_middle_of_the_neck_whatever_the_side_and_the_field():
    for unit in (CEDAR_UNIT, wide_unit(430, 350), wide_unit(240, 300, 0.5)):
        for side in ("left", "right"):
            for seed in range(4):
                film = film_of(replace(HIP, side=side), unit, seed)
                row, column = (round(place) for place in film.landmark)
                half = round(9 / unit.pixel_mm)  # the neck's radius is 17 mm
                near = film.bone_mask[row - half : row + half + 1, column - half : column + half + 1]
                assert near.all()
                # past the neck's edges, up and inwards: no bone of this femur
                inwards = round((-32 if side == "left" else 32) / unit.pixel_mm)
                assert not film.bone_mask[row + abs(inwards), column + inwards]


def test_wide_fields_have_the_hip_anywhere_and_its_surroundings_mostly_inside():
    unit = wide_unit(430, 350, 1.2)
    places = np.array([film_of(HIP, unit, seed).landmark for seed in range(60)]) * unit.pixel_mm
    assert places.std(axis=0).min() > 25.0
    size = np.array([unit.rows, unit.columns]) * unit.pixel_mm
    inside = ((places > 64) & (places < size - 64)).all(axis=1)
    assert inside.mean() > 0.9


def test_a_wide_field_shows_air_beside_the_body_and_the_other_hip():
    unit = replace(wide_unit(430, 350), quanta=1e6, electronic_noise=0.0, sharpening=0.0)
    for seed in range(4):
        film = film_of(HIP, unit, seed)
        grey = film.pixels.astype(float)
        lateral, hip = grey[:, :5].mean(), grey[film.bone_mask].mean()
        assert lateral < hip - 1500
        # without its pelvis, hip and spine the medial half would be smooth
        column = round(film.landmark[1] + 60 / unit.pixel_mm)
        row = round(film.landmark[0])
        medial = grey[max(row - 60, 0) : row + 60, column:]
        assert np.abs(np.diff(medial, axis=0)).max() > 60


def test_the_hip_looks_alike_on_wide_and_narrow_fields():
    narrow, wide = film_of(HIP), film_of(HIP, wide_unit(300, 300))
    around = ndimage.binary_dilation(wide.bone_mask, iterations=12) & ~wide.bone_mask
    row = round(wide.landmark[0])
    around[row + 70 :] = False
    bone = wide.bone_mask.copy()
    bone[row + 70 :] = False
    grey = wide.pixels.astype(float)
    assert grey[bone].mean() - grey[around].mean() == pytest.approx(contrast(narrow), rel=0.35)


def test_the_folds_about_a_hip_are_those_of_its_body_whatever_the_field():
    def folds_about_the_hip(times):
        scanner = replace(CEDAR_UNIT, rows=144 * times, columns=144 * times, pixel_mm=FOLDS_MM / 144)
        neck = (scanner.rows - 1) / 2
        centre = (neck, neck) if times > 1 else None
        thickness = _soft_tissue(HIP, scanner, centre, np.random.default_rng(8))
        middle = slice(int(neck) - 50, int(neck) + 51)
        return thickness[middle, middle]

    narrow = folds_about_the_hip(1)
    assert np.ptp(narrow) > 0.5
    for times in (2, 3):
        assert folds_about_the_hip(times) == pytest.approx(narrow, abs=0.02)


def test_a_seed_gives_the_same_film_and_another_seed_another_one():
    assert np.array_equal(film_of(HIP).pixels, film_of(HIP).pixels)
    assert not np.array_equal(film_of(HIP).pixels, film_of(HIP, seed=6).pixels)


def test_a_wide_plate_changes_the_field_and_nothing_else_of_a_unit():
    rng = np.random.default_rng(2)
    units = [widen(CEDAR_UNIT, rng) for _ in range(40)]
    sizes = {
        (round(u.columns * u.pixel_mm / 10) * 10, round(u.rows * u.pixel_mm / 10) * 10) for u in units
    }
    assert sizes == set(PLATES_MM)
    for unit in units:
        assert replace(unit, rows=CEDAR_UNIT.rows, columns=CEDAR_UNIT.columns) == CEDAR_UNIT
