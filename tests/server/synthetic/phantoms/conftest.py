"""One way to see an anatomy, for the tests of this folder: a person at the young reference, or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from server.synthetic.phantoms.film import Beam, PhantomFilm, draw_frame, render
from server.synthetic.phantoms.scene import Scene, Traits
from server.synthetic.phantoms.settings import read_hospitals, read_phantom, scanner_of
from server.synthetic.phantoms.table import ANATOMIES

USUAL = Traits(is_female=True, age_years=65.0, bmi=26.0, scale=1.0, bmd_ratio=0.85, cortex_ratio=0.85)


@pytest.fixture(scope="session")
def seen():
    """See an anatomy: name, seed, traits that differ → its scene and its film, not turned."""

    def see(
        name: str, seed: int = 1, *, pixels: float = 1.0, **traits: object
    ) -> tuple[Scene, PhantomFilm]:
        phantom = read_phantom(name)
        rng = np.random.default_rng(seed)
        unit = scanner_of(read_hospitals()["spruce"], phantom.film)
        unit = replace(
            unit,
            rows=round(unit.rows / pixels),
            columns=round(unit.columns / pixels),
            pixel_mm=unit.pixel_mm * pixels,
        )
        person = replace(USUAL, **traits)
        scene = ANATOMIES[name](person, rng)
        film = render(
            scene,
            draw_frame(unit, rng, scale=1.0, turn=0.0, mirror=False),
            unit,
            Beam(phantom.film.energy_kev, phantom.film.scatter, phantom.film.grain),
            rng,
            bmd_g_cm2=person.bmd_ratio * phantom.bone.reference_mean,
            texture_exponent=2.2,
            side="right",
        )
        return scene, film

    return see
