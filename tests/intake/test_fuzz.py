"""Hundreds of damaged and odd inputs: no crash, no hang, and each one used or counted under a code."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from fuzz import films_round, tables_round
from practice_fuzz import installed_dicom_files
from practice_intake import make_hospital

from client import intake_workers

SEED = 20


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    make_hospital(folder, 6)
    return folder


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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = tables_round(hospital, tmp_path, SEED, 70)
    assert outcomes.total() == 210
    assert outcomes["read"] > 60
    assert len(outcomes) >= 3, outcomes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # 1 GiB, in KiB
