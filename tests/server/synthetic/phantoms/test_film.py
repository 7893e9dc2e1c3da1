"""A phantom's film: the label follows from mineral, masks from bones, grey from physics."""

import numpy as np
import pytest
from scipy import ndimage

from server.synthetic.phantoms.film import _moved, with_marker
from server.synthetic.phantoms.scene import Break
from server.synthetic.phantoms.table import ANATOMIES
from server.synthetic.solids import Frame

PARTS = sorted(ANATOMIES)


@pytest.mark.parametrize("name", PARTS)
def test_the_areal_density_within_the_mask_is_the_bmd_that_is_told(name, seen):
    for ratio in (0.6, 0.95):
        _, film = seen(name, bmd_ratio=ratio, cortex_ratio=ratio)
        from_mineral = film.mineral[film.measured].mean()
        assert film.truth.bmd_g_cm2 == pytest.approx(from_mineral, rel=1e-5)
        _, reference = seen(name, bmd_ratio=1.0, cortex_ratio=1.0)
        assert film.truth.bmd_g_cm2 == pytest.approx(ratio * reference.truth.bmd_g_cm2, rel=0.01)


@pytest.mark.parametrize("name", PARTS)
def test_masks_hold_bone_and_nothing_else(name, seen):
    scene, film = seen(name)
    assert set(film.parts) == {bone.name for bone in scene.bones}
    marked = np.any([film.parts[bone.name] for bone in scene.bones if bone.is_marked], axis=0)
    assert np.array_equal(film.bone_mask, marked)
    assert not film.mineral[~film.measured].any()
    assert (film.mineral[film.measured] > 0).mean() > 0.99
    assert 0.03 < film.bone_mask.mean() < 0.75
    row, column = (round(place) for place in film.landmark)
    assert 0 <= row < film.pixels.shape[0]
    assert 0 <= column < film.pixels.shape[1]


@pytest.mark.parametrize("name", PARTS)
def test_measured_bone_is_brighter_than_what_lies_around_it(name, seen):
    _, film = seen(name)
    reach = round(4.0 / film.pixel_mm)
    ring = ndimage.binary_dilation(film.measured, iterations=reach) & ~film.bone_mask
    grey = film.pixels.astype(float)
    assert np.median(grey[film.measured]) > np.median(grey[ring])


@pytest.mark.parametrize("name", PARTS)
def test_a_seed_gives_the_same_film_and_another_seed_another_one(name, seen):
    first, again, other = (seen(name, seed)[1] for seed in (3, 3, 4))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.truth == again.truth
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("name", PARTS)
def test_denser_bone_has_more_texture_and_shows_brighter(name, seen):
    thin, dense = (seen(name, 5, bmd_ratio=ratio, cortex_ratio=0.6)[1] for ratio in (0.62, 1.0))
    inside = ndimage.binary_erosion(thin.measured, iterations=3)

    def roughness(film):
        rough = film.mineral - ndimage.gaussian_filter(film.mineral, 2.0)
        return rough[inside].std()

    assert roughness(dense) > 1.2 * roughness(thin)


def test_automatic_exposure_hides_bmd_from_the_mean_grey(seen):
    thin, dense = (seen("spine", 5, bmd_ratio=r, cortex_ratio=r)[1] for r in (0.6, 1.1))
    assert abs(float(thin.pixels.mean()) - float(dense.pixels.mean())) < 60.0


def test_metal_is_brighter_than_any_bone_and_moves_no_label(seen):
    plain, metal = (
        seen("elbow", 8, is_positive=True, has_implant=is_there)[1] for is_there in (False, True)
    )
    assert metal.truth.has_implant
    assert not plain.truth.has_implant
    assert metal.pixels.max() > 1.1 * float(np.percentile(metal.pixels[metal.bone_mask], 90))
    assert metal.truth.bmd_g_cm2 == pytest.approx(plain.truth.bmd_g_cm2, rel=0.02)


def test_a_marked_film_says_so_and_nothing_else_changes(seen):
    _, film = seen("chest")
    marked = with_marker(film, film.pixels)
    assert marked.truth.has_marker
    assert not film.truth.has_marker
    assert marked.truth.bmd_g_cm2 == film.truth.bmd_g_cm2


def test_the_far_part_of_a_fracture_lies_where_it_was_turned_and_shifted_to_by_hand():
    fracture = Break(
        at=(10.0, 0.0),
        direction=(1.0, 0.0),
        turn_degrees=0.0,
        shift=(4.0, -2.0),
        gap=1.0,
        rough=0.0,
        seed=1,
    )
    frame = Frame(0.5 * np.eye(2), np.zeros(2))  # two pixels a millimetre
    # its own (20, 6) is seen at (24, 4): row 8, column 48
    assert _moved(frame, fracture).pixel_of((20.0, 6.0)) == pytest.approx((8.0, 48.0))
