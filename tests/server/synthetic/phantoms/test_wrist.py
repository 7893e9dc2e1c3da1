"""The wrist: what a positive film has that a normal one has not."""

import numpy as np
import pytest

LIMB = "wrist"


def test_a_normal_film_has_no_fracture_and_no_metal(seen):
    scene, film = seen(LIMB, 2)
    assert (film.truth.class_name, film.truth.has_fracture, film.truth.has_implant) == (
        "normal",
        False,
        False,
    )
    assert all(bone.fracture is None for bone in scene.bones)
    assert not scene.metal


@pytest.mark.parametrize("seed", range(3))
def test_a_fracture_divides_one_bone_and_moves_mineral(seed, seen):
    _, whole = seen(LIMB, seed)
    scene, broken = seen(LIMB, seed, is_positive=True)
    assert broken.truth.has_fracture
    assert broken.truth.class_name == "abnormal"
    assert sum(bone.fracture is not None for bone in scene.bones) == 1
    assert not np.array_equal(whole.bone_mask, broken.bone_mask)


def test_a_repair_is_metal_in_the_bone(seen):
    scene, film = seen(LIMB, 4, is_positive=True, has_implant=True)
    assert film.truth.has_implant
    assert len(scene.metal) >= 4
    bright = film.pixels >= np.percentile(film.pixels[film.bone_mask], 99)
    assert bright.sum() > 50
    assert film.bone_mask[bright].mean() > 0.5


def test_the_shaft_has_thick_walls_around_a_dark_canal(seen):
    scene, film = seen(LIMB, 5)
    (bone,) = (bone for bone in scene.bones if bone.is_measured)
    mask, mineral = film.parts[bone.name], film.mineral
    rows = np.flatnonzero(mask.any(axis=1))
    row = {"humerus": int(np.median(rows)), "wrist": rows[-6], "elbow": rows[6]}[LIMB]
    columns = np.flatnonzero(mask[row])
    width = columns[-1] - columns[0]
    wall = mineral[row, columns[0] + width // 8 : columns[0] + width // 4].mean()
    canal = mineral[row, columns[0] + 2 * width // 5 : columns[0] + 3 * width // 5].mean()
    assert wall > canal
