"""Approving: everything is shown, no is the default, a name is needed, the decision is signed."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from practice_site import clock
from table_site import TableSites
from typer.testing import CliRunner

from client.command.app import app
from client.command.plan import (
    ALLOWED,
    _describe_asked,
    _describe_releases,
    _describe_training,
    _judge,
)
from shared.contract.plan import Plan
from shared.contract.stages import DescriptionStage

BY = "Ada Lovelace"


def approve(sites: TableSites, *more: str, answer: str = "", by: str = BY) -> Result:
    plan = sites.site().folder / "plans" / f"{sites.plan_sha256}.json"
    arguments = ["approve", str(plan), "--by", by, "--folder", str(sites.site().folder)]
    return CliRunner().invoke(app, [*arguments, *more], input=answer)


def coded(sites: TableSites) -> tuple[str, str]:
    return ("--code", sites.plan_sha256[:8])


def decisions(sites: TableSites) -> list[dict[str, str]]:
    path = sites.site().folder / "approvals" / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("\n", "policy.not-confirmed"),
        ("", "policy.not-confirmed"),
        ("y\n", "policy.other-code"),
        ("00000000\n", "policy.other-code"),
    ],
)
def test_without_the_plans_own_code_nothing_is_approved(
    sites: TableSites, answer: str, code: str
) -> None:
    before = decisions(sites)
    done = approve(sites, answer=answer)
    assert done.exit_code == 1
    assert code in done.stderr
    assert decisions(sites) == before


def test_a_code_at_the_terminal_or_by_option_is_signed_into_the_log(sites: TableSites) -> None:
    n = len(decisions(sites))
    assert approve(sites, answer=f" {sites.plan_sha256[:8].upper()}\n").exit_code == 0
    assert approve(sites, *coded(sites)).exit_code == 0
    new = decisions(sites)[n:]
    assert [(each["by"], each["decision"]) for each in new] == [(BY, "approved")] * 2
    assert all(len(each["signature"]) == 128 for each in new)
    assert approve(sites, *coded(sites), by="Ada").exit_code == 1


def test_what_is_approved_is_shown_before_the_question(sites: TableSites) -> None:
    sites.answer(sites.train_request())
    shown = approve(sites, answer="n\n").output
    for words in (
        sites.plan_sha256,
        f"{sites.plan.settings.cohort.name}, version 1",
        "patients asked",
        "installed here",
        "3 rounds of 1 steps",
        "3 updates of the weights (dp)",
    ):
        assert words in shown
    told = json.loads(approve(sites, *coded(sites), "--json").stdout)
    assert told["epsilon, training"].count(".") == 4  # of the run, spent before, spent then, left
    assert "0.00 spent before" in told["epsilon, internal validation"]
    assert "0.00 spent before" not in told["epsilon, training"]
    assert told["would stop it"] == "nothing"
    assert told["last approved plan"] == "none"
    assert [stage["stage"] for stage in told["stages"]] == [each.name for each in sites.plan.stages]
    assert told["stages"][0]["rounds × sums"] == "3 × 1"
    paid = {(group["site"], group["patients"]): group["pay for"] for group in told["groups"]}
    assert paid["training", "train"] == "training"
    assert paid["external", "everybody"] == "external validation"


def test_a_description_is_named_among_what_would_leave(sites: TableSites) -> None:
    described = DescriptionStage(
        name="description",
        roles=("training", "external"),
        patients="everybody",
        release_class="dp",
        noise_multipliers=(8.0,),
        has_second_moments=False,
        target_low=0.0,
        target_high=1.0,
        minimum_cell=10,
    )
    plan = sites.plan.model_copy(update={"stages": (*sites.plan.stages, described)})
    assert "1 description of the patients (dp)" in _describe_releases(plan, "training")
    assert "description" not in _describe_releases(sites.plan, "training")


def test_what_would_leave_is_told_by_stage_class_and_place(sites: TableSites) -> None:
    plan = sites.plan
    training = sites.training
    assert _describe_releases(plan, "training").split(", ") == [
        "3 updates of the weights (dp)",
        "1 table of the internal split (dp)",
        "1 table of who came after a lock (dp)",
    ]
    assert _describe_releases(plan, "external").split(", ")[0] == "1 table of everybody (dp)"
    sums = training.model_copy(update={"fold": "coordinator", "release_class": "off", "canaries": 40})
    changed = plan.model_copy(update={"stages": (sums, *plan.stages[1:])})
    told = _describe_releases(changed, "training")
    assert told.startswith("3 sums of gradients (off: no formal guarantee), ")
    assert told.endswith("a register of 40 invented canaries for an auditor (public)")
    measured = plan.model_copy(update={"stages": plan.stages[1:]})
    assert "register" not in _describe_releases(measured, "training")
    assert "updates" not in _describe_releases(measured, "training")


def test_a_plan_is_told_by_what_this_site_would_do(sites: TableSites) -> None:
    plan = sites.plan
    assert _describe_asked(plan, "training") == "3 rounds of 1 steps"
    assert _describe_asked(plan, "external") == "external validation", "and none after a lock"
    facts, changes = _judge(sites.site(), plan)
    assert facts["role here"] == "training"
    assert (facts["policy"], changes) == (ALLOWED, [])
    assert facts["noise multiplier"] == sites.training.noise_multiplier
    assert facts["clip norm"] == sites.training.clip_norm
    assert facts["unit, adjacency, delta"] == "patient, add/remove, 1e-05"
    assert _describe_training(plan.model_copy(update={"stages": plan.stages[1:]})) == {}


def test_a_plan_of_code_that_is_not_installed_is_shown_and_not_approved(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = decisions(sites)
    monkeypatch.setattr("shared.signing.code_hash.installed_code_hash", lambda: "9" * 64)
    facts, _ = _judge(sites.site(), sites.plan)
    assert "NOT the code installed here" in str(facts["code"])
    assert f"written for code {sites.plan.code_sha256[:12]}" in str(facts["would stop it"])
    done = approve(sites, *coded(sites))
    assert done.exit_code == 1
    assert "plan.would-be-refused" in done.stderr
    assert "installed here is 999999999999" in done.stderr
    assert decisions(sites) == before


def test_a_plan_that_the_policy_forbids_cannot_be_approved_with_any_yes(sites: TableSites) -> None:
    sites.change_policy(epsilon_per_run=0.1)
    done = approve(sites, *coded(sites))
    assert done.exit_code == 1
    assert "plan.forbidden-by-policy" in done.stderr


def test_a_budget_that_would_not_last_is_shown(sites: TableSites) -> None:
    sites.answer(sites.train_request())
    sites.change_policy(epsilon_lifetime=2.9, epsilon_per_run=3.1)
    facts, _ = _judge(sites.site(), sites.plan)
    assert "above the cap of 2.9" in str(facts["would stop it"])
    assert "above the cap of 2.9" in approve(sites, *coded(sites), "--json").stdout


def test_a_refusal_needs_no_yes_and_takes_the_approval_away(sites: TableSites) -> None:
    plan = sites.site().folder / "plans" / f"{sites.plan_sha256}.json"
    folder = str(sites.site().folder)
    done = CliRunner().invoke(app, ["refuse", str(Path(plan)), "--by", BY, "--folder", folder])
    assert done.exit_code == 0, done.output
    assert sites.site().approvals.decision(sites.plan_sha256) == "refused"


def test_a_plan_is_shown_before_any_cohort_exists(sites: TableSites) -> None:
    import shutil

    site = sites.site()
    shutil.rmtree(site.cohorts)
    plan = str(site.folder / "plans" / f"{sites.plan_sha256}.json")
    told = json.loads(
        CliRunner().invoke(app, ["plan", plan, "--folder", str(site.folder), "--json"]).stdout
    )
    assert "has no cohort" in told["would stop it"]


def test_a_plan_that_would_be_refused_later_is_not_approved(sites: TableSites) -> None:
    sites.change_policy(minimum_cohort_patients=140)
    before = decisions(sites)
    done = approve(sites, *coded(sites))
    assert done.exit_code == 1
    assert "plan.would-be-refused" in done.stderr
    assert "patients are fewer than the minimum of 140" in done.stderr
    assert decisions(sites) == before


def test_a_site_without_a_cohort_is_told_to_take_one_in_before_it_approves(sites: TableSites) -> None:
    shutil.rmtree(sites.site().folder / "cohorts")
    done = approve(sites, *coded(sites))
    assert done.exit_code == 1
    assert "has no cohort" in done.stderr
    assert "ingest" in done.stderr


def test_a_cohort_of_another_schema_is_said_before_anybody_pays(sites: TableSites) -> None:
    cohort = sites.plan.settings.cohort.model_copy(update={"max_lost_fraction": 0.3})
    other = sites.plan.settings.model_copy(update={"cohort": cohort})
    facts, _ = _judge(sites.site(), sites.plan.model_copy(update={"settings": other}))
    assert "was frozen under another schema" in str(facts["would stop it"])


def test_who_is_asked_for_later_patients_only_needs_no_cohort_yet(sites: TableSites) -> None:
    shutil.rmtree(sites.site().folder / "cohorts")
    later = tuple(stage for stage in sites.plan.stages if stage.patients == "accrued")
    facts, _ = _judge(sites.site(), sites.plan.model_copy(update={"stages": later}))
    assert facts["would stop it"] == "nothing"


def test_a_plan_is_not_approved_after_its_last_day(sites: TableSites) -> None:
    today = sites.site().clock().date()
    last = today - timedelta(days=1)
    over = Plan.model_validate(sites.plan.model_dump() | {"valid_until": last})
    facts, _ = _judge(sites.site(), over)
    assert f"was valid until {last}" in str(facts["would stop it"])
    lasting = Plan.model_validate(sites.plan.model_dump() | {"valid_until": today + timedelta(days=1)})
    assert _judge(sites.site(), lasting)[0]["would stop it"] == "nothing"


def test_who_approves_sees_the_latest_last_day_that_the_policy_allows(sites: TableSites) -> None:
    plan = sites.plan
    assert "valid until at most" not in _judge(sites.site(), plan)[0]
    sites.change_policy(valid_until_within_days=30)
    facts, _ = _judge(sites.site(), plan)
    assert facts["valid until at most"] == sites.site().clock().date() + timedelta(days=30)
    assert "the plan has no last day" in str(facts["policy"])


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "at once"), (60.0, "multiples of 60 s")])
def test_who_approves_sees_when_answers_leave(sites: TableSites, seconds: float, said: str) -> None:
    settings = sites.plan.settings
    patience = settings.patience.model_copy(update={"reply_quantum_s": seconds})
    held = settings.model_copy(update={"patience": patience})
    facts, _ = _judge(sites.site(), sites.plan.model_copy(update={"settings": held}))
    assert said in str(facts["answers leave"])


def test_where_two_must_approve_a_first_yes_waits_for_another_person(sites: TableSites) -> None:
    sites.site().approvals.decide(sites.plan, "refused", by=BY, now=clock())
    sites.change_policy(approvals_needed=2)
    done = approve(sites, *coded(sites))
    assert "is waiting for a second person" in done.stderr
    assert sites.site().approvals.decision(sites.plan_sha256) != "approved"
    assert "nothing runs before" in approve(sites, *coded(sites), by=BY.upper()).stderr, "the same one"
    assert "waiting" not in approve(sites, *coded(sites), by="Grace Hopper").stderr
    assert sites.site().approvals.decision(sites.plan_sha256) == "approved"
