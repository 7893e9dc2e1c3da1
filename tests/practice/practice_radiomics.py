"""Films whose radiomics are known: IBSI's digital phantom, and films that pyradiomics has answered.

``tests/shared/features/radiomics/answers`` holds films, answers, their certificates and the scripts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.features.radiomics.region import Region, find_region
from shared.features.radiomics.table import FAMILIES

FOLDER = Path(__file__).resolve().parents[1] / "shared" / "features" / "radiomics" / "answers"
# IBSI prints three digits.
PRINTED = 0.5e-2


@cache
def stored(name: str) -> dict[str, object]:
    """``ibsi``, ``films`` or ``answers``."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text()))


def slices() -> list[Region]:
    """The phantom slice by slice."""
    return [region_of(levels) for levels in stored("ibsi")["slices"]]  # type: ignore[attr-defined]


def whole() -> Region:
    """The phantom's slices as one film, for features that do not ask where a pixel lies."""
    return region_of(np.concatenate(stored("ibsi")["slices"]))  # type: ignore[call-overload]


def region_of(levels: object, n_levels: int = 6) -> Region:
    """Levels as they stand, 0 outside, and the same as grey values."""
    place = np.asarray(levels, dtype=np.int64)
    return Region(values=place[place > 0].astype(np.float64), levels=place, n_levels=n_levels)


def published(family: str) -> Mapping[str, float]:
    """IBSI's values of a family by feature."""
    return stored("ibsi")["values"][family]  # type: ignore[index, no-any-return]


def mean_over_slices(family: str) -> dict[str, float]:
    """A family's features, each the mean of the phantom's slices."""
    each = [FAMILIES[family](region) for region in slices()]
    return {name: float(np.mean([found[name] for found in each])) for name in each[0]}


def film(name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A film with an answer, and its region."""
    both = stored("films")[name]
    return np.array(both["film"]), np.array(both["region"]) > 0  # type: ignore[index]


def answered() -> list[tuple[str, str]]:
    """Each film with each family."""
    return [(name, family) for name in stored("films") for family in FAMILIES]


def both_answers(name: str, family: str) -> tuple[dict[str, float], dict[str, float]]:
    """Our features of a family that pyradiomics has too, and its."""
    pixels, mask = film(name)
    ours = FAMILIES[family](find_region(pixels, mask=mask, n_levels=int(stored("answers")["levels"])))  # type: ignore[call-overload]
    theirs = {
        key.partition(".")[2]: value
        for key, value in stored("answers")["answers"][name].items()  # type: ignore[index]
        if key.startswith(f"{family}.")
    }
    return {key: float(ours[key]) for key in theirs}, theirs
