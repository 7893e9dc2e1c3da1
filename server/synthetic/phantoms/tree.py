"""Writes the wrist phantom as a hospital that exports PNG files in MURA's form, without tags or table.

Grey of 8 bits, as MURA's films have. Equal hospital and seed give equal pictures. Imports exams and
settings; identity of the package above.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.synthetic.exams import site_generator
from server.synthetic.identity import draw_person
from server.synthetic.phantoms.exams import draw_exam
from server.synthetic.phantoms.settings import read_phantom, site_of

PHANTOM, PART = "wrist", "XR_WRIST"
# MURA's words of the phantom's classes
WORDS = {"normal": "negative", "abnormal": "positive"}
_STREAM = 9  # of a site's generator
_BITS_LESS = 4  # from the phantom's 12


def write_tree(root: Path, hospital: str, n_patients: int, *, seed: int = 1) -> dict[str, str]:
    """Write ``XR_WRIST/patient/study1_label/image1.png`` under a root; the class of each patient."""
    phantom = read_phantom(PHANTOM)
    site = site_of(hospital, phantom)
    drawn: dict[str, str] = {}
    for number in range(n_patients):
        rng = site_generator(site, seed, _STREAM, number)
        person = draw_person(site, seed, number)
        film = draw_exam(phantom, site, person.patient, rng).film
        drawn[person.patient_id] = film.truth.class_name
        study = f"study1_{WORDS[film.truth.class_name]}"
        write_png(root / PART / person.patient_id / study / "image1.png", film.pixels >> _BITS_LESS)
    return drawn


def write_png(path: Path, pixels: NDArray[np.generic], dtype: type = np.uint8) -> Path:
    """Write grey pixels [h, w], or colours [h, w, 3 or 4]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=dtype)).save(path)
    return path
