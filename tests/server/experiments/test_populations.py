"""Hospitals of a population: later patients are others, and everything is drawn and taken in once."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from server.experiments import populations
from server.experiments.populations import (
    CHEST_FILMS,
    EIGHT_TABLES,
    HIP_FILMS,
    HIP_FOLLOWED,
    HIP_TABLES,
    LEAKING_CHEST_FILMS,
    VERTEBRAE,
    WRIST_TREES,
    Population,
    take_in_population,
)
from server.simulation.hospitals import Folders


def numbers(path: Path) -> set[str]:
    with path.open() as stream:
        text = stream.read()
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.splitlines()[0] else ",")
    return {row["patient_id"] for row in rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("population")
    take_in_population(HIP_TABLES, folder, seed=3, n_patients=100)
    return folder


def test_each_training_hospital_has_later_patients_who_are_others(folder: Path) -> None:
    for site in HIP_TABLES.training:
        first, later = (
            numbers(folder / "raw" / name / f"{site}.csv") for name in (site, f"{site}-later")
        )
        assert len(first) == len(later) == 100
        assert not first & later


def test_all_but_the_training_hospitals_are_external(folder: Path) -> None:
    taken = take_in_population(HIP_TABLES, folder, seed=3, n_patients=100)
    assert set(taken.declared("training")) == set(HIP_TABLES.training)
    assert set(taken.declared("external")) == {
        *(f"{site}-later" for site in HIP_TABLES.training),
        "dune",
    }
    assert taken.folders == Folders(folder)


def test_what_was_drawn_and_taken_in_is_not_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")} | {
            path: path.stat().st_mtime_ns for path in folder.rglob("*.csv")
        }

    before = state()
    take_in_population(HIP_TABLES, folder, seed=3, n_patients=100)
    assert state() == before


@pytest.mark.parametrize(
    "population",
    [
        HIP_FILMS,
        HIP_FOLLOWED,
        WRIST_TREES,
        EIGHT_TABLES,
        VERTEBRAE,
        CHEST_FILMS,
        LEAKING_CHEST_FILMS,
    ],
    ids=lambda each: each.name,
)
@pytest.mark.parametrize("is_later", [False, True])
def test_every_population_writes_what_a_simulation_is_given(
    population: Population, is_later: bool, tmp_path: Path
) -> None:
    hospital = population.training[0]
    path = population.write(tmp_path / "one", hospital, 5, 3, is_later)
    again = population.write(tmp_path / "two", hospital, 5, 3, is_later)
    other = population.write(tmp_path / "three", hospital, 6, 3, is_later)

    def content(root: Path) -> dict[str, bytes]:
        files = [root] if root.is_file() else sorted(each for each in root.rglob("*") if each.is_file())
        return {
            each.name if root.is_file() else str(each.relative_to(root)): each.read_bytes()
            for each in files
        }

    assert content(path) == content(again)
    assert content(path) != content(other)


def test_hospitals_of_films_have_nothing_wrong_on_purpose() -> None:
    site = populations._hip_site("cedar", 200, is_later=False)
    assert site.n_patients == 200
    assert set(vars(site.defects).values()) == {0}
    assert populations._hip_site("cedar", 200, is_later=True).first_day > site.last_day
