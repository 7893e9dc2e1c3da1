"""What a plan would cost each group of patients here, and what would stop it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from practice_site import make_policy
from table_site import TableSites, found_table_sites

from client.gate.ledger import Charge
from client.rehearsal.price import Price, find_governed, find_shortages, price_plan
from client.site.policy import PolicySettings
from shared.contract.capacity import capacity_of
from shared.errors import PrivacyError


@pytest.fixture
def policy(tmp_path: Path) -> PolicySettings:
    return make_policy(tmp_path, minimum_cohort_patients=50, minimum_cell=10, epsilon_lifetime=8.0)


def price(
    purpose: str = "training", *, n: int = 50, least: int = 50, places: int = 60, after: float = 8.0
) -> Price:
    return Price(
        purpose=purpose,
        n_patients=n,
        least_patients=least,
        places=places,
        run_epsilon=3.0,
        spent_before=1.0,
        spent_after=after,
        left_after=0.0,
    )


def test_the_least_and_the_most_that_are_allowed_are_no_shortage(policy: PolicySettings) -> None:
    assert find_shortages(policy, [price(), price("internal validation", n=10, least=10)]) == []
    assert find_shortages(policy, [price(n=60)]) == []


def test_training_needs_a_cohort_and_a_table_a_cell(policy: PolicySettings) -> None:
    [few] = find_shortages(policy, [price(n=49), price("internal validation", n=10, least=10)])
    assert few == "training: 49 patients are fewer than the minimum of 50"
    [few] = find_shortages(policy, [price("internal validation", n=9, least=10)])
    assert few == "internal validation: 9 patients are fewer than the minimum of 10"


def test_more_patients_than_places_are_said_before_anybody_pays(
    policy: PolicySettings, made: TableSites
) -> None:
    [over] = find_shortages(policy, [price(n=61)])
    assert over == "training: 61 patients are more than the 60 places of this site's declared size"
    rule = made.plan.settings.cohort.split
    training, internal = price_plan(made.site(), made.plan, made.split("train").cohort)
    assert training.places == capacity_of(rule, "train", declared=100)
    assert internal.places == capacity_of(rule, "internal", declared=100)
    [external] = price_plan(made.site("hop"), made.plan, made.split(None, "hop").cohort)
    assert external.places == capacity_of(rule, "everybody", declared=100)


def test_more_than_a_lifes_budget_is_said(policy: PolicySettings) -> None:
    [over] = find_shortages(policy, [price(after=8.001)])
    assert over.startswith("training: some patients would have spent epsilon 8.00 for life")
    assert len(find_shortages(policy, [price(n=1, after=9.0)])) == 2


def test_what_the_gate_would_refuse_is_announced_by_the_policy_of_each_stage(sites: TableSites) -> None:
    sites.change_policy(minimum_cohort_patients=70, minimum_cell=20)
    site, cohort = sites.site(), sites.split("train").cohort
    training, internal = price_plan(site, sites.plan, cohort)
    assert (training.least_patients, internal.least_patients) == (70, 20)
    [external] = price_plan(sites.site("hop"), sites.plan, sites.split(None, "hop").cohort)
    assert external.least_patients == sites.site("hop").policy.minimum_cell


def test_what_an_exact_table_would_meet_in_the_ledger_is_said_before_approval(
    sites: TableSites,
) -> None:
    exact = tuple(
        stage.model_copy(update={"release_class": "governed"})
        if stage.patients == "internal"
        else stage
        for stage in sites.plan.stages
    )
    [name] = [stage.name for stage in exact if stage.release_class == "governed"]
    plan = sites.plan.model_copy(update={"stages": exact})
    site, cohort = sites.site(), sites.split("internal").cohort
    members = sites.split("internal").arrays.patients
    assert find_governed(site, (sites.plan,), cohort) == ([], [])
    assert find_governed(site, (plan,), cohort) == ([f"{name}: 0 of at most 1 before"], [])
    before = Charge(
        charge_class="governed",
        event=None,
        purpose="evaluate.internal",
        plan_sha256="3" * 64,
        run="before",
        stage="internal",
        stage_kind="table",
        round=1,
        request_sha256="4" * 64,
    )
    ledger = sites.gate().ledger
    ledger.charge(before, members=members, allowance=site.policy.allowance)
    told, [refused] = find_governed(site, (plan,), cohort)
    assert (told, "at most 1 governed releases" in refused) == ([], True)
    sites.change_policy(governed_releases_per_split=2)
    assert find_governed(sites.site(), (plan,), cohort) == ([f"{name}: 1 of at most 2 before"], [])
    version_before = replace(before, plan_sha256="5" * 64, purpose="evaluate.external")
    with pytest.raises(PrivacyError, match="of some of these patients"):
        ledger.charge(version_before, members=members[1:], allowance=site.policy.allowance)
    [external] = [stage for stage in exact if stage.patients == "everybody"]
    everybody = plan.model_copy(
        update={"stages": (external.model_copy(update={"release_class": "governed"}),)}
    )
    hop = sites.site("hop")
    whole = sites.split(None, "hop")
    sites.gate("hop").ledger.charge(
        version_before, members=whole.arrays.patients[1:], allowance=hop.policy.allowance
    )
    told, [refused] = find_governed(hop, (everybody,), whole.cohort)
    assert "not of exactly them" in refused, "a version of before, one person apart"


def test_a_description_is_paid_by_every_group_and_by_who_is_in_no_other(tmp_path: Path) -> None:
    sites = found_table_sites(
        tmp_path,
        "cohort.split={train: 0.5, tune: 0.2, internal: 0.3}",
        *("privacy.epsilon=2", "validation.epsilon=2", "validation.description_epsilon=1"),
    )
    site, cohort = sites.site(), sites.split("train").cohort
    training, internal, others = price_plan(site, sites.plan, cohort)
    assert training.purpose == "training and description"
    assert internal.purpose == "internal validation and description"
    assert others.purpose == "description"
    counts = [price.n_patients for price in (training, internal, others)]
    assert sum(counts) == len(cohort.patients())
    assert counts[0] == len(cohort.patients("train"))
    assert others.least_patients == 0, "the description asks the others with all of them"
    told = {(s.role, s.patients): s.epsilon for s in sites.plan.predicted.splits}
    assert training.run_epsilon == pytest.approx(told["training", "train"])
    assert others.spent_after == pytest.approx(told["training", "everybody"], abs=1e-6)


def test_what_a_plan_was_charged_so_far_is_part_of_its_price(sites: TableSites) -> None:
    cohort = sites.split("train").cohort
    before = price_plan(sites.site(), sites.plan, cohort)[0]
    sites.answer(sites.train_request())
    after = price_plan(sites.site(), sites.plan, cohort)[0]
    assert after.spent_before > before.spent_before == 0
    assert after.spent_after == before.spent_after


def test_only_labelled_patients_are_asked_and_counted(sites: TableSites) -> None:
    cohort = sites.split("train").cohort
    unlabelled = {exam.patient for exam in cohort.exams[:40]}
    exams = tuple(
        replace(exam, label=None) if exam.patient in unlabelled else exam for exam in cohort.exams
    )
    fewer = replace(cohort, exams=exams)
    training = price_plan(sites.site(), sites.plan, fewer)[0]
    assert training.n_patients == len(set(cohort.patients("train")) - unlabelled)
    nobody = replace(cohort, exams=tuple(replace(exam, label=None) for exam in cohort.exams))
    [training] = price_plan(sites.site(), sites.plan, nobody)
    assert (training.purpose, training.n_patients) == ("training", 0)
    assert find_shortages(sites.site().policy, [training])
    assert price_plan(sites.site("hop"), sites.plan, nobody) == ()
