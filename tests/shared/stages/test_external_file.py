"""The plan of an offline measurement follows from the release; forgeries: ``rounds/test_external``."""

from __future__ import annotations

from datetime import date

import pytest
from practice_plan import unread_release as release_of

from shared.contract.plan import Plan
from shared.contract.release import Release
from shared.errors import PlanError
from shared.stages.external_file import offline_plan

DAY = date(2026, 1, 5)


def planned(release: Release, *, site: str = "hop", key: str = "2" * 64, day: date = DAY) -> Plan:
    return offline_plan(release, site=site, public_key=key, declared_patients=100, epsilon=1.0, day=day)


def test_a_plan_of_the_same_day_is_the_same_and_of_another_day_another() -> None:
    release = release_of()
    assert planned(release).sha256 == planned(release).sha256
    assert planned(release, day=date(2026, 1, 6)).sha256 != planned(release).sha256
    plan = planned(release)
    assert (plan.coordinator_key, [each.site for each in plan.roster]) == ("2" * 64, ["hop"])
    assert plan.release is not None
    assert plan.release.release_sha256 == release.sha256


def test_who_trained_it_and_who_would_send_exact_numbers_get_no_plan() -> None:
    release = release_of()
    for site, key in (("ash", "2" * 64), ("hop", "0" * 64)):
        with pytest.raises(PlanError) as caught:
            planned(release, site=site, key=key)
        assert caught.value.code == "plan.measures-its-training"
    exact = release_of("validation.release_class=governed")
    with pytest.raises(PlanError) as caught:
        offline_plan(
            exact, site="hop", public_key="2" * 64, declared_patients=100, epsilon=None, day=DAY
        )
    assert caught.value.code == "plan.exact-offline"


def test_a_time_to_event_is_refused_by_what_would_measure_it() -> None:
    release = release_of("experiment=hip_fracture")
    with pytest.raises(PlanError) as caught:
        planned(release)
    assert caught.value.code == "plan.time-to-event-offline"
    assert "measure survival" in str(caught.value)
