"""A synthetic film as a model sees it: prepared as a hospital's is. Imports exam and physics."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.synthetic.physics import Film
from shared.exam.pixels import Picture, is_mirrored, prepare
from shared.exam.schema import CohortSchema, ViewRule, read_schema

HIP_SCHEMA = Path(__file__).resolve().parents[2] / "configs" / "cohort" / "hip_bmd.yaml"


def prepare_film(film: Film, view: ViewRule, out_pixels: int) -> NDArray[np.float32]:
    """The image [out_pixels, out_pixels] of a film under a schema's view."""
    image, _ = prepare(
        picture_of(film),
        out_pixels,
        anatomy=view.anatomy,
        window_mm=view.window_mm,
        mirror=is_mirrored(film.side[0].upper()),
    )
    return image


def picture_of(film: Film) -> Picture:
    """A film whose spacing is known."""
    return Picture(pixels=film.pixels.astype(np.float32), pixel_mm=(film.pixel_mm, film.pixel_mm))


@cache
def hip_schema() -> CohortSchema:
    """The shipped schema of hip films, whose view and size the default encoder is made for."""
    return read_schema(HIP_SCHEMA)
