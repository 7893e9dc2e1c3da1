"""Cohorts without a run: taken in once, and the same patients as a run's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_tables import NUMBER, write_cohort, write_tables

from client.cohort.folder import latest_version
from client.site.folder import Site, open_site
from server.federation.compose import compose_settings
from server.simulation import cohorts
from server.simulation.arms import plan_arm
from server.simulation.cohorts import take_in_all
from server.simulation.divide import load_ward
from server.simulation.request import Request
from shared.contract.plan import Plan
from shared.errors import SettingsError
from shared.signing.canonical import hash_file


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


def test_every_encoder_of_a_plan_is_at_each_hospital_before_films_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = take_in_all(tmp_path / "out", request_of(tmp_path))
    plan = plan_arm(compose_settings(["experiment=cssc"]), {"ash": 100}, run="experiments")
    asked = [each.sha256 for each in plan.settings.encoders]
    found: list[bool] = []

    def look(site: Site, _: Plan) -> str:
        found.extend(hash_file(site.encoder_file(sha256)) == sha256 for sha256 in asked)
        return site.name

    monkeypatch.setattr(cohorts, "load_ward", look)
    for _ in range(2):  # what is there already is left
        assert list(taken.wards(plan)) == [entry.site for entry in taken.roster]
    assert found == [True] * 2 * 3 * len(taken.roster)
