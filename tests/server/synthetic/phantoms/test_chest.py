"""The chest: lungs are dark, heart and spine bright, ribs in pairs, the measured bone the spine."""

import numpy as np

from server.synthetic.phantoms.chest import VERTEBRAE


def mean_near(film, x, y, reach=6.0):
    """Mean grey within some millimetres of a place given from the carina."""
    row, column = film.landmark[0] + y / film.pixel_mm, film.landmark[1] + x / film.pixel_mm
    n = round(reach / film.pixel_mm)
    part = film.pixels[round(row) - n : round(row) + n, round(column) - n : round(column) + n]
    return float(part.mean())


def test_lungs_are_darker_than_heart_and_belly_and_air_beside_the_neck_is_darkest(seen):
    _, film = seen("chest", 4)
    lungs = [mean_near(film, sign * 72.0, 20.0) for sign in (-1, 1)]
    heart, belly = mean_near(film, 20.0, 70.0), mean_near(film, -70.0, 150.0)
    assert max(lungs) < min(heart, belly) - 300
    corner = film.pixels[:8, :8].mean()
    assert corner < min(lungs)


def test_the_heart_lies_on_the_patients_left(seen):
    _, film = seen("chest", 4)
    assert mean_near(film, 55.0, 75.0) > mean_near(film, -55.0, 62.0) + 200


def test_the_spine_is_measured_and_ribs_come_in_pairs_of_two_parts(seen):
    scene, film = seen("chest", 4)
    names = [bone.name for bone in scene.bones]
    measured = {bone.name for bone in scene.bones if bone.is_measured}
    assert measured == {*VERTEBRAE, *(f"arch {name}" for name in VERTEBRAE)}
    for side in ("right", "left"):
        assert sum(name.startswith("rib") and side in name for name in names) == 20
    centre = np.argwhere(film.measured).mean(axis=0)[1]
    assert abs(centre - film.landmark[1]) * film.pixel_mm < 8.0
    # on each side of the spine the ribs lie over the lung
    ribs = np.any([film.parts[name] for name in names if name.startswith("rib")], axis=0)
    left, right = ribs[:, : int(centre)].sum(), ribs[:, int(centre) :].sum()
    assert 0.8 < left / right < 1.25


def test_a_heavier_person_hides_more_of_the_bone(seen):
    def contrast(bmi):
        _, film = seen("chest", 4, bmi=bmi)
        grey = film.pixels.astype(float)
        rib = film.parts["rib 6 right back"]
        return grey[rib].std()

    assert contrast(22.0) > contrast(38.0)
