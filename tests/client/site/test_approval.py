"""Approvals: deny by default, by a named person, signed, and nobody can forge one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.site.approval import Approvals, what_changed
from server.federation.compose import compose_settings
from server.federation.folder import Enrolled
from server.federation.plan import draft_plan
from shared.contract.plan import Plan, write_plan
from shared.errors import PlanError
from shared.signing.keys import create_key, load_key

NOW, DAY = datetime(2026, 1, 5, tzinfo=UTC), timedelta(days=1)


@dataclass(frozen=True)
class Desk:
    approvals: Approvals
    folder: Path
    plan_file: Path
    plan: Plan


def plan_of(coordinator_key: str, *overrides: str) -> Plan:
    site = Enrolled(
        site="aster", public_key="1" * 64, declared_patients=100, role="training", enrolled_utc=""
    )
    settings = compose_settings(["fusion=linear", *overrides])
    return draft_plan(settings, [site], run="spring", coordinator_key=coordinator_key, now=NOW)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    coordinator = create_key(tmp_path / "coordinator.pem")
    plan = plan_of(coordinator.public_hex)
    write_plan(tmp_path / "plan.json", plan, coordinator)
    approvals = Approvals(
        tmp_path / "site", key=create_key(tmp_path / "s.pem"), coordinator_key=coordinator.public_hex
    )
    return Desk(approvals, tmp_path / "site", tmp_path / "plan.json", plan)


def test_a_plan_that_was_only_read_is_not_approved(desk: Desk) -> None:
    desk.approvals.import_plan(desk.plan_file)
    with pytest.raises(PlanError) as caught:
        desk.approvals.approved(desk.plan.sha256)
    assert caught.value.code == "plan.not-approved"


def test_an_approved_plan_is_given_back_and_a_later_refusal_takes_it_away(desk: Desk) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    assert desk.approvals.approved(plan.sha256) == plan
    desk.approvals.decide(plan, "refused", by="Ada Lovelace", now=NOW)
    with pytest.raises(PlanError, match="refused"):
        desk.approvals.approved(plan.sha256)
    log = (desk.folder / "approvals" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["decision"] for line in log] == ["approved", "refused"]


@pytest.mark.parametrize("name", ["", "Ada", "  "])
def test_a_decision_needs_a_first_and_a_last_name(desk: Desk, name: str) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    with pytest.raises(PlanError, match="first and last name"):
        desk.approvals.decide(plan, "approved", by=name, now=NOW)


def test_a_decision_written_by_hand_into_the_folder_counts_for_nothing(desk: Desk) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    desk.approvals.decide(plan, "refused", by="Ada Lovelace", now=NOW)
    path = desk.folder / "approvals" / f"{plan.sha256}.json"
    record = json.loads(path.read_text()) | {"decision": "approved"}
    path.write_text(json.dumps(record))
    with pytest.raises(PlanError) as caught:
        desk.approvals.approved(plan.sha256)
    assert caught.value.code == "plan.forged-approval"


def test_an_approval_of_one_plan_copied_over_another_counts_for_nothing(desk: Desk) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    folder = desk.folder / "approvals"
    (folder / f"{'9' * 64}.json").write_bytes((folder / f"{plan.sha256}.json").read_bytes())
    with pytest.raises(PlanError) as caught:
        desk.approvals.approved("9" * 64)
    assert caught.value.code == "plan.forged-approval"


def test_a_plan_exchanged_after_its_approval_is_not_the_approved_one(desk: Desk) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    louder = plan_of(plan.coordinator_key, "privacy.epsilon=6")
    kept = desk.folder / "plans" / f"{plan.sha256}.json"
    write_plan(kept, louder, load_key(desk.plan_file.with_name("coordinator.pem")))
    for read in (desk.approvals.approved, lambda _: desk.approvals.last_approved(other_than="")):
        with pytest.raises(PlanError) as caught:
            read(plan.sha256)
        assert caught.value.code == "plan.other-than-approved"
    loud, quiet = (json.dumps(each.stages[0].noise_of(1)) for each in (louder, plan))
    changed = kept.read_text().replace(loud, quiet)
    assert changed != kept.read_text()
    kept.write_text(changed)
    with pytest.raises(PlanError) as caught:
        desk.approvals.approved(plan.sha256)
    assert caught.value.code == "plan.changed"


@pytest.mark.parametrize("sha256", ["../../../etc/passwd", "", "zz"])
def test_a_hash_that_is_a_path_finds_no_plan(desk: Desk, sha256: str) -> None:
    with pytest.raises(PlanError, match="not known"):
        desk.approvals.approved(sha256)


def test_a_line_torn_by_a_power_cut_is_no_decision_and_the_next_one_stands_on_its_own(
    desk: Desk,
) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    log = desk.folder / "approvals" / "log.jsonl"
    whole = log.read_bytes()
    other = whole.replace(plan.sha256.encode(), b"9" * 64)
    for torn in (other[:-40], other[:-1], b"{", b"\xff\0"):
        log.write_bytes(whole + torn)
        assert desk.approvals.last_approved(other_than="") == plan
        desk.approvals.decide(plan, "refused", by="Ada Lovelace", now=NOW)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["decision"] for line in lines] == ["approved", "refused"]
        assert desk.approvals.last_approved(other_than="") is None
        desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)


@pytest.mark.parametrize("damage", [b"{\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b"\n"])
def test_any_other_damage_to_the_log_is_an_error(desk: Desk, damage: bytes) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    log = desk.folder / "approvals" / "log.jsonl"
    log.write_bytes(log.read_bytes() + damage)
    with pytest.raises(PlanError) as caught:
        desk.approvals.last_approved(other_than="")
    assert caught.value.code == "plan.damaged-approval-log"


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"{}", b"7", b'"approved"', b"\xff", b'{"plan_sha256": NaN}']
)
def test_a_damaged_record_is_no_approval_and_says_what_to_do(desk: Desk, damage: bytes) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    path = desk.folder / "approvals" / f"{plan.sha256}.json"
    path.write_bytes(damage)
    with pytest.raises(PlanError) as caught:
        desk.approvals.approved(plan.sha256)
    assert caught.value.code == "plan.damaged-approval"
    assert "osteofed-site approve" in caught.value.hint
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    assert desk.approvals.approved(plan.sha256) == plan


def test_of_several_approved_plans_the_newest_is_the_last(desk: Desk, tmp_path: Path) -> None:
    first = desk.approvals.import_plan(desk.plan_file)
    second = plan_of(first.coordinator_key, "privacy.epsilon=2")
    write_plan(tmp_path / "second.json", second, load_key(tmp_path / "coordinator.pem"))
    for plan in (first, desk.approvals.import_plan(tmp_path / "second.json")):
        desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    assert desk.approvals.last_approved(other_than="") == second
    assert desk.approvals.last_approved(other_than=second.sha256) == first


def test_the_last_approved_plan_is_shown_beside_a_new_one(desk: Desk) -> None:
    plan = desk.approvals.import_plan(desk.plan_file)
    assert desk.approvals.last_approved(other_than="") is None
    desk.approvals.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    found = desk.approvals.last_approved(other_than="another")
    assert found == plan
    louder = plan_of(plan.coordinator_key, "privacy.epsilon=6")
    changed = {name: (old, new) for name, old, new in what_changed(plan, louder)}
    noise = [str([stage.noise_of(1)]) for stage in (plan.stages[0], louder.stages[0])]
    assert changed["stages.0.noise_multipliers"] == (noise[0], noise[1])
    assert "settings.fusion.name" not in changed
    assert "run" not in changed


def two_of(desk: Desk) -> Approvals:
    own = desk.approvals
    return Approvals(desk.folder, key=own._key, coordinator_key=desk.plan.coordinator_key, people=2)


def test_two_different_people_must_say_yes_since_anybody_last_said_no(desk: Desk) -> None:
    plan, both = desk.approvals.import_plan(desk.plan_file), two_of(desk)
    waiting, ada, grace = "waiting for a second person", "Ada Lovelace", "Grace Hopper"
    for by, decided, standing in (
        (ada, "approved", waiting),
        (" ada  LOVELACE ", "approved", waiting),
        (grace, "approved", "approved"),
        (grace, "refused", "refused"),
        (grace, "approved", waiting),
        (ada, "approved", "approved"),
    ):
        both.decide(plan, decided, by=by, now=NOW)  # type: ignore[arg-type]
        assert both.decision(plan.sha256) == standing
        if standing == waiting:
            with pytest.raises(PlanError, match=waiting):
                both.approved(plan.sha256)


def test_a_second_name_that_was_written_into_the_log_by_hand_is_no_second_person(desk: Desk) -> None:
    plan, both = desk.approvals.import_plan(desk.plan_file), two_of(desk)
    both.decide(plan, "approved", by="Ada Lovelace", now=NOW)
    log = desk.folder / "approvals" / "log.jsonl"
    log.write_text(log.read_text() + log.read_text().replace("Ada Lovelace", "Grace Hopper"))
    with pytest.raises(PlanError) as caught:
        both.approved(plan.sha256)
    assert caught.value.code == "plan.forged-approval"


def test_nobody_approves_a_plan_after_its_last_day_and_anybody_may_refuse_it(desk: Desk) -> None:
    over = Plan.model_validate(desk.plan.model_dump() | {"valid_until": (NOW - DAY).date()})
    with pytest.raises(PlanError) as caught:
        desk.approvals.decide(over, "approved", by="Ada Lovelace", now=NOW)
    assert caught.value.code == "plan.expired"
    assert desk.approvals.decision(over.sha256) is None
    desk.approvals.decide(over, "refused", by="Ada Lovelace", now=NOW)
