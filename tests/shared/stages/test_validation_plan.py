"""A validation plan: the release's own tables of others, at a price of its own, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from practice_plan import unread_release as release_of

from shared.contract.decision import decision_of
from shared.contract.plan import Plan, RosterEntry
from shared.contract.release import Release
from shared.contract.stages import DescriptionStage, Role
from shared.errors import PlanError
from shared.measure.table.planned import bins_of
from shared.privacy.accountant import calibrate
from shared.privacy.cost import predict_cost
from shared.stages.kinds import sum_of
from shared.stages.validation_plan import role_in, validation_plan


def entry(site: str, role: Role = "external", declared: int = 250) -> RosterEntry:
    return RosterEntry(
        site=site, role=role, public_key="2" * 64, declared_patients=declared, weight=0.0
    )


def drafted(
    release: Release,
    roster: Sequence[RosterEntry],
    *,
    epsilon: float | None = None,
    is_one_table: bool = False,
) -> Plan:
    return validation_plan(
        release,
        roster,
        run="later",
        coordinator_key="3" * 64,
        written_utc="2026-01-05",
        epsilon=epsilon,
        is_one_table=is_one_table,
    )


def test_only_stages_that_measure_others_are_left_and_each_asks_somebody() -> None:
    release = release_of("validation.description_epsilon=1")
    both = drafted(release, [entry("hop"), entry("ash", "training")])
    assert [stage.name for stage in both.stages] == ["external", "prospective", "description"]
    [described] = [stage for stage in both.stages if isinstance(stage, DescriptionStage)]
    assert described.roles == ("external",), "who trained was described in the run itself"
    alone = drafted(release, [entry("ash", "training")])
    assert [stage.name for stage in alone.stages] == ["prospective"]
    one = drafted(release, [entry("hop")], is_one_table=True)
    assert [stage.name for stage in one.stages] == ["external"]
    with pytest.raises(PlanError) as caught:
        drafted(release, [entry("ash", "training")], is_one_table=True)
    assert caught.value.code == "plan.nobody-to-measure"


def test_the_tables_are_the_releases_own_in_bins_for_the_hospitals_that_are_asked() -> None:
    release = release_of()
    own = release.plan.stage("external")
    found = drafted(release, [entry("hop")])
    table = found.tables[0]
    bins = bins_of(
        [250.0],
        table.noise_of(1),
        table.blocks,
        table.ranking,
        n_classes=len(decision_of(found.settings).classes),
    )
    # the run had no external hospital, whose table would have had the bins of an exact one
    assert table == own.model_copy(update={"bins": bins}) != own
    assert found.settings == release.plan.settings
    assert found.predicted == predict_cost(found.stages, delta=found.settings.delta)
    assert sum_of(found, table, encoder_file=None).state_length(1) > 0


def test_an_epsilon_prices_every_table_and_exact_numbers_have_none() -> None:
    found = drafted(release_of(), [entry("hop")], epsilon=1.0)
    noise = calibrate(1.0, found.settings.delta)
    assert {stage.noise_multipliers for stage in found.stages} == {(noise,)}
    assert found.predicted.validation_epsilon == pytest.approx(1.0, abs=0.01)
    exact = release_of("validation.release_class=governed")
    assert {stage.release_class for stage in drafted(exact, [entry("hop")]).stages} == {"governed"}
    with pytest.raises(PlanError) as caught:
        drafted(exact, [entry("hop")], epsilon=1.0)
    assert caught.value.code == "plan.exact-has-no-epsilon"


def test_a_part_in_a_release_follows_from_its_roster_by_name_or_key() -> None:
    plan = release_of().plan
    assert role_in(plan, "ash", "9" * 64) == "training"
    assert role_in(plan, "hop", "0" * 64) == "training", "the key of those who trained"
    assert role_in(plan, "hop", "9" * 64) == "external"
