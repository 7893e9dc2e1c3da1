"""A synthetic film as a model sees it: worn, then prepared as a hospital's.

Imports synthetic and the exam package.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.synthetic.look import FilmLook
from server.synthetic.physics import Film
from server.synthetic.wear import wear
from shared.exam.pixels import Picture, is_mirrored, prepare
from shared.exam.schema import CohortSchema, ViewRule, read_schema

HIP_SCHEMA = Path(__file__).resolve().parents[2] / "configs" / "cohort" / "hip_bmd.yaml"


def see_film(
    film: Film, look: FilmLook, view: ViewRule, out_pixels: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The image [out_pixels, out_pixels] of a film under a schema's view.

    It wears what no tag tells; what tags undo without a loss (turned, flipped, linear) it does not.
    """
    worn = wear(film, replace(look, turned=0.0, flipped=0.0, linear=0.0), rng)
    image, _ = prepare(
        Picture(pixels=worn.pixels.astype(np.float32), pixel_mm=worn.tags.pixel_mm),
        out_pixels,
        anatomy=view.anatomy,
        window_mm=view.window_mm,
        mirror=is_mirrored(film.side[0].upper()),
    )
    return image


@cache
def hip_schema() -> CohortSchema:
    """The shipped schema of hip films, whose view and size the default encoder is made for."""
    return read_schema(HIP_SCHEMA)
