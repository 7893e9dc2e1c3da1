"""Every feature is IBSI's or pyradiomics's, finite for any region, and a film's own."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from practice_radiomics import (
    FOLDER,
    PRINTED,
    answered,
    both_answers,
    film,
    mean_over_slices,
    published,
    stored,
    whole,
)

from shared.features.radiomics.table import FAMILIES, feature_names, measure_radiomics

ALL = tuple(FAMILIES)
TEXTURES = ("cooccurrence", "run_lengths", "zones", "neighbourhood")
# What pyradiomics does not have, and what holds it to account instead.
HELD_BY = {
    "first_order.median_absolute_deviation": "IBSI's phantom",
    "first_order.variation": "IBSI's phantom",
    "first_order.quartile_dispersion": "IBSI's phantom",
}


def test_first_order_of_the_phantom_is_what_ibsi_publishes() -> None:
    assert FAMILIES["first_order"](whole()) == pytest.approx(published("first_order"), rel=PRINTED)


@pytest.mark.parametrize("family", TEXTURES)
def test_texture_of_the_phantom_is_what_ibsi_publishes(family: str) -> None:
    assert mean_over_slices(family) == pytest.approx(published(family), rel=PRINTED)


@pytest.mark.parametrize(("name", "family"), answered())
def test_features_are_those_of_pyradiomics(name: str, family: str) -> None:
    ours, theirs = both_answers(name, family)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_feature_goes_without_an_answer(family: str) -> None:
    _, theirs = both_answers("a ring of a smooth film", family)
    answered_there = {f"{family}.{name}" for name in theirs}
    held_otherwise = {name for name in HELD_BY if name.startswith(f"{family}.")}
    assert set(feature_names((family,))) - answered_there == held_otherwise


def test_answers_say_who_gave_them_to_which_films() -> None:
    born = stored("answers")["certificate"]
    assert isinstance(born, dict)
    assert born["data_sha256"] == hashlib.sha256((FOLDER / "films.json").read_bytes()).hexdigest()
    assert (FOLDER / born["script"]).exists()
    assert born["tool"] == "pyradiomics v3.0.1"
    assert "arXiv 1612.07003" in str(stored("ibsi")["certificate"])


def test_columns_are_named_by_family_in_order() -> None:
    assert feature_names(("zones", "shape"))[0] == "zones.short_emphasis"
    assert feature_names(("zones", "shape"))[-1] == "shape.elongation"
    assert len(feature_names(ALL)) == len(set(feature_names(ALL)))


@pytest.mark.parametrize(
    ("pixels", "region"),
    [
        (np.ones((9, 7)), None),
        (np.zeros((5, 5)), None),
        (np.zeros((1, 1)), None),
        (np.arange(36.0).reshape(6, 6), np.arange(36).reshape(6, 6) == 17),
        (np.arange(36.0).reshape(6, 6), np.arange(36).reshape(6, 6) % 14 == 0),
        (np.array([[0.0, 1e-300, 1.0]]), None),
    ],
    ids=["constant", "black", "one pixel", "one pixel of a film", "lone pixels", "a hair's breadth"],
)
@pytest.mark.filterwarnings("error")
def test_every_feature_of_any_region_is_finite(pixels: np.ndarray, region: np.ndarray | None) -> None:
    found = measure_radiomics(pixels, mask=region, families=ALL, n_levels=32)
    assert found.shape == (len(feature_names(ALL)),)
    assert np.isfinite(found).all()


def test_features_are_the_same_bit_for_bit_wherever_the_film_lies() -> None:
    pixels, mask = film("a ring of a smooth film")
    first = measure_radiomics(pixels, mask=mask, families=ALL, n_levels=32)
    inside = np.full((3, *np.add(pixels.shape, 5)), np.nan)
    inside[1, 2:-3, 1:-4] = pixels
    again = measure_radiomics(inside[1, 2:-3, 1:-4], mask=mask, families=ALL, n_levels=32)
    assert first.tobytes() == again.tobytes()


def test_what_lies_outside_a_region_does_not_count() -> None:
    pixels, mask = film("a ring of a smooth film")
    changed = np.where(mask, pixels, 1e6)
    first, again = (
        measure_radiomics(each, mask=mask, families=ALL, n_levels=32) for each in (pixels, changed)
    )
    assert first.tobytes() == again.tobytes()
