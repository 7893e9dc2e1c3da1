"""Cohorts without a run: taken in once, and the same patients as a run's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_tables import NUMBER, write_cohort, write_tables

from client.cohort.folder import latest_version
from client.site.folder import open_site
from server.federation.compose import compose_settings
from server.simulation.arms import plan_arm
from server.simulation.cohorts import take_in_all
from server.simulation.divide import load_ward
from server.simulation.request import Request
from shared.errors import SettingsError


def request_of(folder: Path) -> Request:
    tables = write_tables(folder)
    return Request(
        training=tuple((site, path) for site, path in tables.items() if site != "hop"),
        external=(("hop", tables["hop"]),),
        cohort=write_cohort(folder / "mine.yaml", NUMBER),
    )


def test_cohorts_are_frozen_once_and_loaded_as_a_plan_takes_them(tmp_path: Path) -> None:
    request = request_of(tmp_path)
    taken = take_in_all(tmp_path / "out", request)
    again = take_in_all(tmp_path / "out", request)
    assert again == taken
    assert set(taken.declared("training")) == {"ash", "elm", "oak"}
    assert set(taken.declared("external")) == {"hop"}
    settings = compose_settings(
        ["encoder=none", "fusion=clinical_only", "privacy=off"], cohort=request.cohort
    )
    plan = plan_arm(settings, taken.declared("training"), run="experiments")
    wards = taken.wards(plan)
    assert list(wards) == [entry.site for entry in taken.roster]
    for name, ward in wards.items():
        site = open_site((tmp_path / "out" / "sites" / name).resolve())
        assert latest_version(site.cohorts, settings.cohort.name) == 1
        own = load_ward(site, plan)
        assert ward.cases.keys() == own.cases.keys()
        assert ward.splits == own.splits


def test_a_mistake_in_a_request_is_told_before_anything_is_written(tmp_path: Path) -> None:
    request = Request(training=(("ash", tmp_path / "none.csv"),), cohort="hip_table")
    with pytest.raises(SettingsError):
        take_in_all(tmp_path / "out", request)
    assert not (tmp_path / "out").exists()
