"""Remakes the public constants of radiomics: means, SDs and components of public synthetic films.

``make radiomics ARGS=--constants``. No film of a hospital and no
clinical value is an input. Imports the block that reads its file and the films of ``pretrain``.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.encoders.pretrain import PIXELS, draw_films
from server.synthetic.phantoms.exams import draw_exams
from server.synthetic.phantoms.settings import read_phantom
from server.synthetic.phantoms.table import UNITS
from shared.exam.pixels import PREPROCESSING_VERSION, Picture, prepare
from shared.exam.regions import box_of, cut_mask, grow
from shared.features.components import fit_components
from shared.features.radiomics.table import RADIOMICS_VERSION, feature_names
from shared.features.radiomics_block import (
    ALL,
    FILE,
    LEVELS,
    PublicConstants,
    is_shape,
    measure_film,
    standardise_features,
)
from shared.machine.files import PROJECT, write_atomic
from shared.signing.canonical import hash_file

Floats = NDArray[np.float64]

CONFIG_FEATURES = PROJECT / "configs" / "features"
N_FILMS, SEED = 300, 14
RECIPE_VERSION = 2  # 2: shape is that of vertebrae in their crops
# The hash of a source of this kind, before which no other source begins.
_NAMED = re.compile(r"(kind: radiomics\b(?:(?!kind:).)*?sha256: )[0-9a-f]{64}", re.DOTALL)
UNITS_PER_FILM, HOSPITAL, MARGIN = 6, "spruce", 0.15


def remake_constants(*, n_films: int = N_FILMS) -> str:
    """Write the shipped constants anew and name them in every source of radiomics.

    Returns:
        the file's SHA-256.
    """
    sha256 = write_constants(n_films=n_films)
    for path in sorted(CONFIG_FEATURES.glob("*.yaml")):
        path.write_text(name_constants(path.read_text(), sha256))
    return sha256


def name_constants(settings: str, sha256: str) -> str:
    """A YAML of sources whose radiomics name these constants, whatever they named before."""
    return _NAMED.sub(rf"\g<1>{sha256}", settings)


def write_constants(path: Path = FILE, *, n_films: int = N_FILMS, seed: int = SEED) -> str:
    """Measure public films and write their constants.

    Args:
        path: JSON file to write.
        n_films: public films, more than there are features.
        seed: draws them.

    Returns:
        the file's SHA-256.
    """
    films, _ = draw_films(n_films, seed=seed)
    features = np.stack([measure_film(film.numpy() / 255.0) for film in films[:, 0]])
    constants = fit_constants(features, measure_shapes(max(1, n_films // UNITS_PER_FILM), seed=seed))
    about = {
        "features": list(feature_names(ALL)),
        "version": RADIOMICS_VERSION,
        "preprocessing": PREPROCESSING_VERSION,
        "levels": LEVELS,
        "recipe": {"version": RECIPE_VERSION, "films": n_films, "pixels": PIXELS, "seed": seed},
    }
    tensors = {name: value.tolist() for name, value in vars(constants).items()}
    write_atomic(path, json.dumps({"about": about, "tensors": tensors}, indent=1).encode() + b"\n")
    return hash_file(path)


def measure_shapes(n_films: int, *, seed: int) -> Floats:
    """Features of public vertebrae, each in its crop and within its mask, [n,f]; shape is used."""
    phantom, rng = read_phantom("spine"), np.random.default_rng(seed)
    found = []
    for exam in draw_exams(phantom, HOSPITAL, n_films, rng):
        for unit in UNITS["spine"]:
            mask = exam.film.parts[unit]
            picture = Picture(pixels=exam.film.pixels.astype(np.float32))
            image, framing = prepare(picture, PIXELS, window=grow(box_of(mask), MARGIN))
            found.append(measure_film(image, cut_mask(mask, framing.window, PIXELS)))
    return np.stack(found)


def fit_constants(features: Floats, shapes: Floats | None = None) -> PublicConstants:
    """Means, SDs and the first components of features [n,f] of public films.

    A component's sign is that of its largest weight, so that equal films give an equal file. Mean and
    SD of shape are those of ``shapes`` [m,f]; whole films have no shape, so no component holds any.
    """
    if shapes is not None:
        whole = fit_constants(np.where(is_shape(), 0.0, features))
        of_shape = (
            np.where(is_shape(), own, of_film)
            for own, of_film in ((shapes.mean(axis=0), whole.mean), (shapes.std(axis=0), whole.sd))
        )
        mean, sd = of_shape
        return replace(whole, mean=mean, sd=sd)
    f = features.shape[1]
    first = PublicConstants(
        mean=features.mean(axis=0),
        sd=features.std(axis=0),
        directions=np.zeros((f, 0)),
        variances=np.zeros(0),
    )
    standard = np.stack([standardise_features(row, first) for row in features])
    directions, variances = fit_components(standard)
    return PublicConstants(mean=first.mean, sd=first.sd, directions=directions, variances=variances)
