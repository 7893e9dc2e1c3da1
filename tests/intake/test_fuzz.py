"""Hundreds of damaged and odd inputs: no crash, no hang, and each one used or counted under a code."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import base_films, films_round, tables_round
from practice_fuzz import FILM_DAMAGES, installed_dicom_files
from practice_intake import HIP, make_hospital
from practice_memory import BOMBS, Bomb, measure_films, measured_growth, write_damaged
from practice_workers import swell

from client.intake import workers as intake_workers
from client.intake.workers import ReadingRule

SEED = 20
RULE = ReadingRule(HIP.views, 64, None)
MOST_BYTES = 64 * 2**20  # a sound film of the practice hospital takes some 10 MiB


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    make_hospital(folder, 6)
    return folder


@pytest.fixture(scope="module")
def bases(hospital: Path) -> list[bytes]:
    return base_films(hospital)


@pytest.mark.parametrize("kind", range(len(FILM_DAMAGES)))
def test_no_kind_of_damage_makes_the_reading_process_swell(kind: int, bases, tmp_path):
    found = list(measure_films(write_damaged(kind, tmp_path, bases, 12), RULE))
    assert len(found) == 12
    assert all(peak is not None and peak < MOST_BYTES for _, peak in found), found


@pytest.mark.parametrize("write", BOMBS)
def test_a_bomb_is_refused_before_it_swells(write: Bomb, bases, tmp_path):
    write(tmp_path / "bomb.dcm", bases)
    [(code, peak)] = measure_films([tmp_path / "bomb.dcm"], RULE)
    assert peak is not None
    assert peak < MOST_BYTES
    assert code == "intake.too-large"


def test_memory_that_a_worker_held_for_a_moment_is_seen(monkeypatch):
    monkeypatch.setattr(intake_workers, "_serve", swell)
    (_, before), (_, peak), (_, after) = measure_films([Path(name) for name in ("a", "bad", "b")], RULE)
    assert peak > 280 * 2**20
    assert max(before, after) < MOST_BYTES


@pytest.mark.slow
def test_damaged_films_and_every_film_of_pydicom_are_used_or_counted(hospital, tmp_path, monkeypatch):
    monkeypatch.setattr(intake_workers, "FILM_TIMEOUT_S", 20.0)
    more = installed_dicom_files()
    assert len(more) > 150
    outcomes = films_round(hospital, tmp_path, SEED, 220, more)
    assert outcomes["used"] >= 6
    assert outcomes.total() >= 220 + len(more)
    # the damages reach different doors, not only the first
    assert len(outcomes) >= 12, outcomes
    assert outcomes["intake.decoder-failed"] <= 5, outcomes


def test_damaged_tables_are_refused_or_their_rows_add_up(hospital, tmp_path):
    with measured_growth() as growth:
        outcomes = tables_round(hospital, tmp_path, SEED, 70)
    assert outcomes.total() == 210
    assert outcomes["read"] > 60
    assert len(outcomes) >= 3, outcomes
    assert growth.peak_bytes < MOST_BYTES * 2


def test_growth_that_lasted_a_moment_is_seen():
    with measured_growth() as growth:
        bytearray(b"x" * 300 * 2**20)
    assert growth.peak_bytes > 280 * 2**20
