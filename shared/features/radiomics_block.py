"""Radiomics as columns: standardised by public constants, as they are or as public components.

The constants are those of public synthetic films and lie in ``radiomics/public.json`` (of what Flower
ships to its ServerApp a safetensors file cannot be a part), which ``make radiomics ARGS=--constants``
remakes; a plan names its hash. Whether columns are features or components, a film's block has a norm
of about ``IMAGE_NORM``: one factor for all columns (``components``).

Legend: f features · k components · h w pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.features.columns import REACH_SD, Column
from shared.features.components import (
    film_columns,
    public_factor,
    public_spreads,
)
from shared.features.components import project as project_components
from shared.features.radiomics.region import Mask
from shared.features.radiomics.table import (
    FAMILIES,
    RADIOMICS_VERSION,
    feature_names,
    measure_radiomics,
)
from shared.signing.canonical import hash_file

Floats = NDArray[np.float64]

FILE = Path(__file__).resolve().parent / "radiomics" / "public.json"
LEVELS = 32
ALL = tuple(FAMILIES)
_NO_SPREAD = 1e-9  # a feature that is the same on every public film tells nothing


@dataclass(frozen=True, kw_only=True)
class PublicConstants:
    """What public films say of the features; of shape, masks of public vertebrae in their crops.

    Shapes: mean [f], sd [f], directions [f,k] of the standardised features, variances [k].
    """

    mean: Floats
    sd: Floats
    directions: Floats
    variances: Floats


def measure_block(
    film: NDArray[np.floating],
    constants: PublicConstants,
    *,
    components: int,
    mask: Mask | None = None,
) -> Floats:
    """Columns of a film, [h,w] -> [f] or [components]; 0 components: the features themselves.

    Within a mask [h,w] where there is one, which must hold a pixel. A whole film is a square and has no
    shape of its own: its shape is the public mean.
    """
    features = measure_film(film, mask)
    if mask is None:
        features = np.where(is_shape(), constants.mean, features)
    return project(features, constants, components=components)


def measure_film(film: NDArray[np.floating], mask: Mask | None = None) -> Floats:
    """The features of a film, or of its mask [h,w], before any constant, [h,w] -> [f]."""
    return measure_radiomics(film, mask=mask, families=ALL, n_levels=LEVELS)


def is_shape() -> Mask:
    """Which features are those of a region's shape, [f]."""
    return np.array([name.startswith("shape.") for name in feature_names(ALL)])


def project(features: Floats, constants: PublicConstants, *, components: int) -> Floats:
    """Features [f] as columns of the public norm, [f] or [components]."""
    standard = standardise_features(features, constants)
    if not components:
        return standard * public_factor(np.ones(len(standard)))
    directions, variances = constants.directions[:, :components], constants.variances[:components]
    return project_components(standard, directions, variances)


def standardise_features(features: Floats, constants: PublicConstants) -> Floats:
    """Features [f] in public SDs about their public means, at most ``REACH_SD`` away."""
    has_spread = constants.sd > _NO_SPREAD
    standard = (features - constants.mean) / np.where(has_spread, constants.sd, 1.0)
    clipped: Floats = np.where(has_spread, np.clip(standard, -REACH_SD, REACH_SD), 0.0)
    return clipped


def block_columns(constants: PublicConstants, *, components: int) -> tuple[Column, ...]:
    """What is public of each column."""
    if components:
        names: Sequence[str] = [f"radiomics[{place}]" for place in range(components)]
        variances = constants.variances[:components]
    else:
        names = [f"radiomics.{name}" for name in feature_names(ALL)]
        variances = np.ones(len(names))
    return film_columns("radiomics", names, public_spreads(variances))


@cache
def read_constants(sha256: str, path: Path = FILE) -> PublicConstants:
    """The constants that are installed here.

    Raises:
        WeightsError: ``wrong-hash``: they are not those of the plan. ``wrong-layout``: they are of
            other features, other formulas or grey levels, or of films prepared otherwise.
    """
    found = hash_file(path)
    if found != sha256:
        raise WeightsError(
            "wrong-hash",
            f"{path.name} has SHA-256 {found}, the plan names {sha256}",
            hint="install the release of OsteoFed that the plan was written with",
        )
    content = json.loads(path.read_bytes())
    about = content["about"]
    tensors = {name: np.array(values, dtype=np.float64) for name, values in content["tensors"].items()}
    expected = {
        "features": list(feature_names(ALL)),
        "version": RADIOMICS_VERSION,
        "levels": LEVELS,
        "preprocessing": PREPROCESSING_VERSION,
    }
    if {name: about.get(name) for name in expected} != expected:
        raise WeightsError(
            "wrong-layout",
            f"{path.name} must be of the {len(feature_names(ALL))} features (version "
            f"{RADIOMICS_VERSION}, {LEVELS} levels) and the preparation {PREPROCESSING_VERSION} "
            "of this code",
            hint="`make radiomics ARGS=--constants` remakes it; name its hash in configs/features",
        )
    return PublicConstants(**tensors)
