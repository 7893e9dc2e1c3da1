"""What holds of a plan is found out once, and anew whenever plan, policy, code or site are others."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from practice_offline import key_of
from practice_site import clock
from table_site import TableSites

import client.site.approved
import shared.train.public_batch
from client.site.approved import Approved, approved_plan
from client.site.policy import require_plan
from shared.contract.plan import Plan, write_plan
from shared.errors import OsteoFedError, PlanError, PrivacyError
from shared.signing.canonical import canonical_json
from shared.train.public_batch import validate_settings_model

BY = "Ada Lovelace"


@dataclass
class Counted:
    """How often the policy judged the plan, and how often the model was tried."""

    policy: int = 0
    model: int = 0
    codes: list[str] = field(default_factory=list)


@pytest.fixture
def counted(sites: TableSites, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Counts from a site at which nothing is settled yet, whoever asked the one it was copied from."""
    record_of(sites).unlink(missing_ok=True)
    found = Counted()

    def judge(*arguments: object, **names: object) -> None:
        found.policy += 1
        require_plan(*arguments, **names)  # type: ignore[arg-type]

    def probe(*arguments: object, **names: object) -> None:
        found.model += 1
        validate_settings_model(*arguments, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(client.site.approved, "require_plan", judge)
    monkeypatch.setattr(shared.train.public_batch, "validate_settings_model", probe)
    return found


def settle(sites: TableSites) -> Approved:
    """What one message finds out, by a site that was just opened."""
    approved = approved_plan(sites.site(), sites.plan_sha256)
    approved.require_sound_model()
    return approved


def record_of(sites: TableSites) -> Path:
    return sites.site().folder / "approvals" / "settled" / f"{sites.plan_sha256}.json"


def refused(sites: TableSites) -> str:
    with pytest.raises(OsteoFedError) as caught:
        settle(sites)
    return caught.value.code


def test_policy_and_model_are_found_out_once_and_not_with_every_message(
    sites: TableSites, counted: Counted
) -> None:
    for _ in range(3):
        settle(sites)
    assert (counted.policy, counted.model) == (1, 1)
    record = json.loads(record_of(sites).read_bytes())
    assert record["facts"] == ["model", "policy"]
    assert record_of(sites).stat().st_mode & 0o777 == 0o600


def test_three_rounds_of_a_stage_and_a_table_find_out_nothing_anew(
    sites: TableSites, counted: Counted
) -> None:
    for request in (
        sites.train_request(round=1), sites.train_request(round=2), sites.measure_request(),
    ):  # fmt: skip
        sites.answer(request)
    assert (counted.policy, counted.model) == (1, 1)


def test_an_approved_plan_says_what_it_is_of_this_site(sites: TableSites) -> None:
    approved = settle(sites)
    assert approved.plan.sha256 == sites.plan_sha256
    assert (approved.entry.site, approved.entry.role) == ("elm", "training")
    assert (approved.encoder_file, approved.governed_by) == (None, "")
    sites.change_policy(allows_governed=True, governed_approved_by="Ada Byron")
    assert settle(sites).governed_by == "Ada Byron"
    named = Approved(approved.site, approved.plan.model_copy(update={"encoder_sha256": "7" * 64}))
    assert named.encoder_file == approved.site.encoder_file("7" * 64)


def test_a_changed_policy_is_asked_anew_and_a_comment_in_it_is_no_change(
    sites: TableSites, counted: Counted
) -> None:
    settle(sites)
    path = sites.site().folder / "policy.yaml"
    path.write_text("# seen by the board\n" + path.read_text())
    settle(sites)
    assert counted.policy == 1
    sites.change_policy(minimum_cell=11)
    settle(sites)
    assert counted.policy == 2
    sites.change_policy(epsilon_per_run=0.5, epsilon_lifetime=0.5)
    for _ in range(2):  # what was refused is asked again
        assert refused(sites) == "policy.plan-forbidden"
    assert counted.policy == 4
    sites.change_policy(epsilon_per_run=3.0, epsilon_lifetime=10.0)
    settle(sites)
    assert counted.policy == 4, "of this policy it was found out before"


def test_other_code_is_noticed_though_the_plan_was_settled(
    sites: TableSites, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(sites)
    with monkeypatch.context() as patched:
        patched.setattr(client.site.approved, "installed_code_hash", lambda: "9" * 64)
        assert refused(sites) == "plan.other-code"
    settle(sites)
    assert (counted.policy, counted.model) == (1, 1)


def test_what_the_site_says_of_itself_is_compared_with_the_roster_anew(
    sites: TableSites, counted: Counted
) -> None:
    settle(sites)
    path = sites.site().folder / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"declared_patients": 90}))
    assert refused(sites) == "plan.wrong-entry"
    assert counted.policy == 1, "the roster comes first"


def edited(record: Path, sites: TableSites) -> None:
    content = json.loads(record.read_bytes())
    record.write_text(json.dumps(content | {"facts": [*content["facts"], "policy"]}))


def signed_by_another(record: Path, sites: TableSites) -> None:
    content = json.loads(record.read_bytes())
    content.pop("signature")
    signature = sites.site("hop").key.sign(canonical_json(content))
    record.write_text(json.dumps(content | {"signature": signature}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda record, _: record.unlink(),
        lambda record, _: record.write_bytes(b""),
        lambda record, _: record.write_bytes(b"[]"),
        lambda record, _: record.write_bytes(b'{"signature": 1}'),
        edited,
        signed_by_another,
    ],
    ids=["gone", "empty", "a list", "no content", "edited", "signed by another site"],
)
def test_a_record_that_is_not_this_sites_own_settles_nothing(
    sites: TableSites, counted: Counted, damage: Callable[[Path, TableSites], object]
) -> None:
    settle(sites)
    damage(record_of(sites), sites)
    settle(sites)
    assert (counted.policy, counted.model) == (2, 2)


def test_a_record_of_another_plan_copied_over_settles_nothing(
    sites: TableSites, counted: Counted
) -> None:
    settle(sites)
    another = Plan.model_validate(sites.plan.model_dump() | {"run": "another"})
    other = Approved(sites.site(), another)
    assert other._file != record_of(sites)
    other._file.write_bytes(record_of(sites).read_bytes())
    other.require_allowed()
    assert counted.policy == 2


def test_a_policy_that_forbids_a_plan_is_not_outlived_by_an_earlier_yes(
    sites: TableSites, counted: Counted
) -> None:
    settle(sites)
    kept = record_of(sites).read_bytes()
    sites.change_policy(allowed=["evaluate.internal"])
    assert refused(sites) == "policy.plan-forbidden"
    record_of(sites).write_bytes(kept)  # put back from a copy
    assert refused(sites) == "policy.plan-forbidden"


def test_a_decision_that_was_taken_back_is_refused_though_everything_is_settled(
    sites: TableSites, counted: Counted
) -> None:
    plan, request = settle(sites).plan, sites.train_request()
    sites.site().approvals.decide(plan, "refused", by=BY, now=clock())
    assert refused(sites) == "plan.not-approved"
    assert sites.refused(request) == "plan.not-approved"
    sites.site().approvals.decide(plan, "approved", by=BY, now=clock())
    settle(sites)
    assert (counted.policy, counted.model) == (1, 1)


def test_a_model_that_cannot_be_protected_is_tried_with_every_message_until_it_can(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PrivacyError("unfit-model", "couples patients")

    with monkeypatch.context() as patched:
        patched.setattr(shared.train.public_batch, "validate_settings_model", fail)
        for _ in range(2):
            assert sites.refused(sites.train_request()) == "privacy.unfit-model"
    assert json.loads(record_of(sites).read_bytes())["facts"] == ["policy"]
    sites.answer(sites.train_request())
    assert json.loads(record_of(sites).read_bytes())["facts"] == ["model", "policy"]


def test_no_message_is_answered_after_a_plans_last_day_though_it_was_approved(
    sites: TableSites,
) -> None:
    plan = Plan.model_validate(sites.plan.model_dump() | {"valid_until": clock().date()})
    site = dataclasses.replace(sites.site(), clock=clock)
    write_plan(site.folder / "plans" / f"{plan.sha256}.json", plan, key_of(sites))
    site.approvals.decide(plan, "approved", by=BY, now=clock())
    assert approved_plan(site, plan.sha256).plan == plan
    later = dataclasses.replace(site, clock=lambda: clock() + timedelta(days=1))
    with pytest.raises(PlanError) as caught:
        approved_plan(later, plan.sha256)
    assert caught.value.code == "plan.expired"
