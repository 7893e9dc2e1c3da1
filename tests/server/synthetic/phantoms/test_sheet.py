"""The contact sheet: a column for each hospital, its films clean and worn, and what is on them."""

import numpy as np
from PIL import Image

from server.synthetic.exams import site_generator
from server.synthetic.phantoms.exams import OSTEOPOROSIS_T
from server.synthetic.phantoms.settings import read_hospitals, read_phantom, site_of
from server.synthetic.phantoms.sheet import TILE, _draw, write_sheet


def test_a_sheet_has_every_hospital_and_says_what_it_shows(tmp_path):
    captions = write_sheet(tmp_path / "made" / "wrist.png", "wrist", seed=2)
    assert [caption.split(":")[0] for caption in captions] == list(read_hospitals())
    shown = captions[1::2]
    assert all("abnormal" in caption for caption in shown), "every second one shows the finding"
    picture = np.asarray(Image.open(tmp_path / "made" / "wrist.png").convert("L"))
    assert picture.shape[0] == 2 * (TILE + 4)
    assert picture.shape[1] > 8 * 120
    assert picture.std() > 40


def test_the_hospital_whose_marker_leaks_shows_marker_and_osteoporosis_together():
    phantom = read_phantom("chest_leaking")
    hospital = phantom.marker.hospital
    for seed in (1, 2):
        rng = site_generator(site_of(hospital, phantom), seed, 9)
        exam = _draw(phantom, hospital, rng, is_positive=True, leaks=True)
        assert exam.film.truth.has_marker
        assert exam.t_score <= OSTEOPOROSIS_T
