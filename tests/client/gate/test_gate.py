"""The gate is the only exit: charged first, logged, signed, repeated for nothing, errors as codes."""

from __future__ import annotations

import ast
import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from practice_site import PATIENTS, SITE, coordinator_key, make_gate, make_plan, site_key

from client.gate.gate import Gate, Prepared
from client.gate.ledger import Charge
from shared.contract.payload import pack, payload_sha256, unpack
from shared.contract.plan import Plan
from shared.contract.protocol import (
    HelloReply,
    Refusal,
    SumReply,
    SumRequest,
    Wire,
    request_sha256,
    signed_bytes,
)
from shared.contract.stages import purpose_of
from shared.errors import IntakeError, LedgerError, OsteoFedError, PrivacyError, ProtocolError
from shared.privacy.cost import event_of
from shared.signing.countersign import countersign
from shared.signing.keys import verify
from shared.stages.stage_sum import Bound
from shared.stages.table import TableSum

ROOT = Path(__file__).resolve().parents[3]
N_CELLS = 43  # 12 bins of three classes, seven moments
UPDATE = Bound(length=3, kind="<f4", norm_max=1.0)


def train_request(plan: Plan, **changes: object) -> SumRequest:
    values: dict[str, object] = {
        "plan_sha256": plan.sha256,
        "stage": "train",
        "round": 1,
        "vector": np.ones(3, dtype=np.float32),
        "release_sha256": "",
        "lock_sha256": "",
        "ledger_head": "",
        "countersignature": "",
    }
    return SumRequest(**(values | changes))


def measure_request(plan: Plan, stage: str = "internal", **changes: object) -> SumRequest:
    return train_request(plan, **({"stage": stage, "release_sha256": "f" * 64} | changes))


def reply_to(request: SumRequest, total: np.ndarray, **changes: object) -> SumReply:
    values: dict[str, object] = {
        "plan_sha256": request.plan_sha256,
        "stage": request.stage,
        "round": request.round,
        "site": "",
        "status": "measured",
        "release_class": "dp",
        "vector_sha256": "f" * 64,
        "release_sha256": request.release_sha256,
        "total": total,
        "ledger_head": "",
    }
    return SumReply(**(values | changes))


def update(request: SumRequest, numbers: list[float], **changes: object) -> SumReply:
    return reply_to(request, np.array(numbers, dtype=np.float32), **changes)


def table(request: SumRequest, **changes: object) -> SumReply:
    return reply_to(request, **({"total": np.linspace(-2.0, 90.0, N_CELLS)} | changes))  # type: ignore[arg-type]


def table_bound(plan: Plan) -> Bound:
    return TableSum(plan, plan.tables[0], None).bound(1)


class Killed(BaseException):
    """The process ends here."""


def die() -> SumReply:
    raise Killed


def answer(
    gate: Gate,
    plan: Plan,
    request: SumRequest,
    reply: Callable[[], SumReply],
    *,
    bound: Bound = UPDATE,
    members: Sequence[str] = PATIENTS,
    **changes: object,
) -> Wire:
    """Answer a request as the plan's stage says; ``changes`` of the charge are what must not pass."""
    stage = plan.stage(request.stage)
    values: dict[str, object] = {
        "charge_class": stage.release_class,
        "event": event_of(stage, request.round),
        "purpose": purpose_of(stage),
        "plan_sha256": plan.sha256,
        "run": plan.run,
        "stage": stage.name,
        "stage_kind": stage.kind,
        "round": request.round,
        "request_sha256": request_sha256(request),
        "approved_by": gate.policy.governed_approved_by or "",
    }
    charge = Charge(**(values | changes))  # type: ignore[arg-type]
    asked = Prepared(charge=charge, members=members, bound=bound, reply=reply)
    words = {"purpose": purpose_of(stage), "coordinator_key": plan.coordinator_key}
    return gate.answer(request, lambda: asked, **words).message


def charge(
    gate: Gate, plan: Plan, request: SumRequest, members: Sequence[str] = PATIENTS, **changes: object
) -> None:
    """Charge a request, and end before anything is answered."""
    with pytest.raises(Killed):
        answer(gate, plan, request, die, members=members, **changes)


def release(
    gate: Gate, plan: Plan, request: SumRequest, reply: SumReply, *, bound: Bound = UPDATE
) -> SumReply:
    """What leaves of a total."""
    sent = answer(gate, plan, request, lambda: reply, bound=bound)
    assert isinstance(sent, SumReply)
    return sent


def repeat(gate: Gate, plan: Plan, request: SumRequest) -> Wire:
    """What is sent of a request that was answered; nobody is looked for."""
    return gate.answer(request, never, purpose="train", coordinator_key=plan.coordinator_key).message


def never() -> SumReply:
    raise AssertionError("patients were looked for")


def kept_back(gate: Gate, plan: Plan, reply: SumReply, *, bound: Bound = UPDATE, code: str) -> None:
    """A total does not leave; its refusal is the charge's answer, and is sent again as it was."""
    request = train_request(plan, stage=reply.stage, release_sha256=reply.release_sha256)
    first = answer(gate, plan, request, lambda: reply, bound=bound)
    assert isinstance(first, Refusal)
    assert first.code == code
    assert pack(repeat(gate, plan, request)) == pack(first)
    assert {each.message for each in gate.outbox.show()} == {"Refusal"}
    assert [row.status for row in gate.ledger.show()] == ["", "", code]


def refused(code: str, call: object, *args: object, **kwargs: object) -> None:
    with pytest.raises(OsteoFedError) as caught:
        call(*args, **kwargs)  # type: ignore[operator]
    assert caught.value.code == code


def test_a_round_is_charged_signed_logged_and_stored(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    reply = release(gate, plan, request, update(request, [0.1, 0.2, 0.3]))
    head = gate.ledger.head()
    assert (reply.site, reply.ledger_head, reply.ledger_index) == (SITE, head.sha256, head.index)
    assert verify(site_key(tmp_path).public_hex, signed_bytes(reply), reply.signature)
    assert [row.kind for row in gate.ledger.show()] == ["opened", "charge", "outcome"]
    [departure] = gate.outbox.show()
    assert (departure.channel, departure.release_class) == ("train", "dp")
    assert departure.n_bytes == len(pack(reply))
    outcome = gate.ledger.show()[-1]
    assert outcome.payload_sha256 == departure.payload_sha256 == payload_sha256(reply)
    assert departure.epsilon == pytest.approx(
        gate.ledger.run_epsilon(plan.sha256, PATIENTS, delta=1e-5)
    )


def test_a_repeated_request_gets_the_identical_bytes_and_costs_nothing(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    first = release(gate, plan, request, update(request, [0.1, 0.2, 0.3]))
    head = gate.ledger.head()
    # asked again after a restart, by a coordinator that meanwhile knows another head
    again = repeat(make_gate(tmp_path), plan, replace(request, ledger_head="1" * 64))
    assert pack(again) == pack(first)
    assert gate.ledger.head() == head
    assert [(each.channel, each.release_class) for each in gate.outbox.show()] == [
        ("train", "dp"), ("train", "repeat"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{"round": 2}, {"stage": "internal"}, {"plan_sha256": "0" * 64}], ids=str
)
def test_a_charge_pays_for_the_round_that_it_is_for_alone(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    other = replace(update(request, [0.1, 0.2, 0.3]), **changes)  # type: ignore[arg-type]
    sent = answer(gate, plan, request, lambda: other)
    assert isinstance(sent, Refusal)
    assert sent.code == "protocol.wrong-round"


def test_an_attempt_that_died_is_repeated_under_its_charge_and_released_once(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    charge(gate, plan, request)
    charge(make_gate(tmp_path), plan, request)
    sent = release(make_gate(tmp_path), plan, request, update(request, [0.1, 0.2, 0.3]))
    kinds = [row.kind for row in gate.ledger.show()]
    assert kinds == ["opened", "charge", "attempt", "attempt", "outcome"]
    assert pack(repeat(gate, plan, request)) == pack(sent)


def test_after_five_repeats_or_with_other_patients_or_coins_a_charge_is_made_anew(
    tmp_path: Path,
) -> None:
    gate, plan = make_gate(tmp_path, epsilon_per_run=9.0, epsilon_lifetime=9.0), make_plan(tmp_path)
    request = train_request(plan)
    for _ in range(7):
        charge(gate, plan, request)
    kinds = [row.kind for row in gate.ledger.show()]
    assert kinds == ["opened", "charge", *5 * ["attempt"], "charge"]
    for members, coins in ((PATIENTS[1:], ""), (PATIENTS[1:], "c" * 64)):
        charge(gate, plan, request, members, canaries_sha256=coins)
        assert gate.ledger.show()[-1].kind == "charge"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_leaves_the_charge_open_for_another_attempt(
    tmp_path: Path, number: int
) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)

    def fail() -> SumReply:
        raise OSError(number, "a disk")

    with pytest.raises(OSError, match="a disk"):
        answer(gate, plan, request, fail)
    release(gate, plan, request, update(request, [0.1, 0.2, 0.3]))
    assert [row.kind for row in gate.ledger.show()] == ["opened", "charge", "attempt", "outcome"]


def test_an_answer_whose_bytes_are_gone_is_not_computed_anew(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    release(gate, plan, request, update(request, [0.1, 0.2, 0.3]))
    [stored] = (tmp_path / "replies").glob("*.json")
    other = json.loads(stored.read_bytes()) | {"status": "waiting"}
    for change in (lambda: stored.write_text(json.dumps(other)), stored.unlink):
        change()
        refused("ledger.reply-lost", repeat, make_gate(tmp_path), plan, request)
    assert [row.kind for row in gate.ledger.show()] == ["opened", "charge", "outcome"]


def test_a_release_that_was_not_logged_before_the_process_died_is_logged_as_what_it_was(
    tmp_path: Path,
) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    release(gate, plan, request, update(request, [0.1, 0.2, 0.3]))
    (tmp_path / "outbox" / "outbox.jsonl").unlink()
    for _ in range(2):
        repeat(make_gate(tmp_path), plan, request)
    assert [each.release_class for each in gate.outbox.show()] == ["dp", "repeat"]


def test_a_total_that_was_not_charged_leaves_by_no_other_way(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    exits = {name for name in vars(Gate) if not name.startswith("_")}
    # what is kept is no exit: it comes back unsigned and unlogged, to this hospital's own program
    assert exits - {"keep"} == {"answer", "release_public", "refuse"}
    for status, numbers in (("measured", []), ("measured", [0.1] * 3), ("waiting", [0.1] * 3)):
        refused("privacy.not-charged", unmeasured, gate, plan, update(request, numbers, status=status))
    assert gate.outbox.show() == ()


@pytest.mark.parametrize(
    "numbers", [[2.0, 0.0, 0.0], [0.8, 0.8, 0.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]]
)
def test_an_update_beyond_the_plans_bound_stays(tmp_path: Path, numbers: list[float]) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    kept_back(gate, plan, update(request, numbers), code="privacy.update-unbounded")


@pytest.mark.parametrize(
    "total", [np.zeros(2, "<f4"), np.zeros(4, "<f4"), np.zeros(3), np.zeros((1, 3), "<f4")]
)
def test_a_total_of_another_length_or_precision_stays(tmp_path: Path, total: np.ndarray) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    kept_back(gate, plan, reply_to(request, total), code="privacy.wrong-table")


def test_a_noised_sum_is_bounded_by_its_noise_alone_but_must_be_finite(tmp_path: Path) -> None:
    plan, bound = make_plan(tmp_path), Bound(length=3, kind="<f8")
    request = train_request(plan)
    for bad in (np.nan, np.inf):
        reply = reply_to(request, np.array([0.0, bad, 0.0]))
        gate = make_gate(tmp_path / str(bad))
        kept_back(gate, plan, reply, bound=bound, code="privacy.update-unbounded")
    wide = reply_to(request, np.array([1e6, -1e6, 0.0]))
    sent = release(make_gate(tmp_path), plan, request, wide, bound=bound)
    assert sent.total.tolist() == [1e6, -1e6, 0.0]


def hostile_charges() -> dict[str, tuple[dict[str, object], dict[str, object], int, str]]:
    """name → policy, request, number of patients, code of the refusal."""
    head = {"ledger_head": "1" * 64, "countersignature": "2" * 128}
    return {
        "too few patients": ({}, {}, 49, "policy.cohort-too-small"),
        "the same patient many times": ({}, {}, -1, "policy.cohort-too-small"),
        "epsilon above the cap per run": ({"epsilon_per_run": 0.5}, {}, 80, "privacy.budget-exhausted"),
        "a lifetime that is used up": ({"epsilon_lifetime": 0.3}, {}, 80, "privacy.budget-exhausted"),
        "training not allowed": (
            {"allowed": ["evaluate.internal"]}, {}, 80, "policy.purpose-forbidden"
        ),
        "an invented ledger head": ({}, head, 80, "ledger.bad-countersignature"),
    }  # fmt: skip


@pytest.mark.parametrize("name", hostile_charges())
def test_what_the_policy_or_the_ledger_forbids_is_refused_and_charges_nothing(
    tmp_path: Path, name: str
) -> None:
    policy, asked, n_patients, code = hostile_charges()[name]
    gate, plan = make_gate(tmp_path, **policy), make_plan(tmp_path)
    members = [PATIENTS[0]] * 80 if n_patients < 0 else PATIENTS[:n_patients]
    refused(code, charge, gate, plan, train_request(plan, **asked), members)
    assert [row.kind for row in gate.ledger.show()] == ["opened"]


GOVERNED = {"allows_governed": True, "governed_approved_by": "Ada Byron"}


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        ({}, {"charge_class": "off", "event": None}),
        ({}, {"charge_class": "governed", "event": None}),
        (GOVERNED, {"charge_class": "off", "event": None}),
        (GOVERNED, {"charge_class": "governed", "event": None, "approved_by": ""}),
        ({"allows_privacy_off": True}, {"charge_class": "governed", "event": None}),
        # a class that says something else than its noise
        ({}, {"charge_class": "dp", "event": None}),
        ({"allows_privacy_off": True}, {"charge_class": "off"}),
        # training may be without noise here, numbers about held-out patients may not
        (
            {"allows_privacy_off": True},
            {"charge_class": "off", "event": None, "purpose": "evaluate.internal"},
        ),
        (GOVERNED, {"charge_class": "governed"}),
    ],
)
def test_numbers_of_a_class_that_the_policy_forbids_are_not_charged_for(
    tmp_path: Path, policy: dict[str, object], changes: dict[str, object]
) -> None:
    gate, plan = make_gate(tmp_path, **policy), make_plan(tmp_path)
    refused("policy.class-forbidden", charge, gate, plan, train_request(plan), PATIENTS, **changes)
    assert [row.kind for row in gate.ledger.show()] == ["opened"]


def test_a_replayed_round_with_other_weights_is_refused(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    charge(gate, plan, train_request(plan))
    other = train_request(plan, vector=np.zeros(3, dtype=np.float32))
    refused("privacy.round-repeated", charge, gate, plan, other)


def test_a_gate_refuses_a_round_that_would_overspend(tmp_path: Path) -> None:
    # 10 rounds of 5 steps at noise 10 are the plan; a cap that holds 4 of them stops the fifth
    gate, plan = make_gate(tmp_path, epsilon_lifetime=1.8), make_plan(tmp_path)
    for number in range(1, 5):
        charge(gate, plan, train_request(plan, round=number))
    for number in range(5, 20):
        refused("privacy.budget-exhausted", charge, gate, plan, train_request(plan, round=number))
    assert len(gate.ledger.show()) == 5
    assert gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent <= 1.8


def test_a_rolled_back_ledger_is_caught_by_the_next_request(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    charge(gate, plan, train_request(plan))
    head = gate.ledger.head().sha256
    signature = countersign(
        coordinator_key(tmp_path), site=SITE, plan_sha256=plan.sha256, ledger_head=head
    )
    second = train_request(plan, round=2, ledger_head=head, countersignature=signature)
    path = tmp_path / "ledger" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(LedgerError) as caught:
        charge(make_gate(tmp_path), plan, second)
    assert caught.value.code == "ledger.behind"


def test_a_dp_table_is_charged_once_and_ten_more_requests_get_nothing_new(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = measure_request(plan)
    released = release(gate, plan, request, table(request), bound=table_bound(plan))
    spent = gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent
    for number in range(10):
        assert pack(repeat(gate, plan, request)) == pack(released)
        other = measure_request(plan, release_sha256=f"{number}" * 64)
        refused("privacy.round-repeated", charge, gate, plan, other)
    assert gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent == spent


def test_a_table_of_another_class_than_charged_or_not_finite_stays(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    request, bound = measure_request(plan), table_bound(plan)
    cases: tuple[tuple[dict[str, object], str], ...] = (
        ({"release_class": "governed"}, "privacy.wrong-release-class"),
        ({"release_class": "off"}, "privacy.wrong-release-class"),
        ({"total": np.full(N_CELLS, np.nan)}, "privacy.update-unbounded"),
        ({"total": np.ones(N_CELLS - 1)}, "privacy.wrong-table"),
        ({"total": np.ones(N_CELLS, "<f4")}, "privacy.wrong-table"),
    )
    for number, (changes, code) in enumerate(cases):
        gate = make_gate(tmp_path / str(number))
        kept_back(gate, plan, table(request, **changes), bound=bound, code=code)


def unmeasured(gate: Gate, plan: Plan, reply: SumReply, **head: str) -> SumReply:
    """What leaves where there is nothing to measure."""
    request = train_request(plan, stage=reply.stage, release_sha256=reply.release_sha256, **head)
    purpose = purpose_of(plan.stage(reply.stage))
    words = {"purpose": purpose, "coordinator_key": plan.coordinator_key}
    sent = gate.answer(request, lambda: reply, **words).message
    assert isinstance(sent, SumReply)
    return sent


def test_unmeasured_answers_are_empty_free_and_not_stored(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = measure_request(plan, "prospective")
    full = table(request, status="waiting")
    refused("privacy.not-charged", unmeasured, gate, plan, full)
    sent = unmeasured(gate, plan, replace(full, total=np.zeros(0)))
    assert verify(site_key(tmp_path).public_hex, signed_bytes(sent), sent.signature)
    assert (sent.site, sent.ledger_head) == (SITE, gate.ledger.head().sha256)
    assert gate.outbox.show()[-1].release_class == "status"
    assert not list((tmp_path / "replies").glob("*.json"))
    assert len(gate.ledger.show()) == 1


def statistics(plan: Plan, **named: float) -> np.ndarray:
    """Exact figures of sixty patients of whom twenty are ill; changed."""
    spec = TableSum(plan, plan.tables[0], None).statistics
    found = dict.fromkeys(spec.figures, 0.5) | {"n": 60.0, "n_positive": 20.0} | named
    return np.array([found[name] for name in spec.figures])


def two_plans(folder: Path) -> list[Plan]:
    """Plans that measure the same split, exact."""
    words = {"validation__release_class": "governed"}
    return [make_plan(folder, **words, validation__sensitivity_target=each) for each in (0.8, 0.9)]


def shown_of(plan: Plan, released: object) -> dict[str, float]:
    assert isinstance(released, SumReply)
    named = TableSum(plan, plan.tables[0], None).statistics.named(released.total)
    return {name: value for name, value in named.items() if not np.isnan(value)}


def test_governed_statistics_need_the_policy_a_name_and_the_minimum_cell(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, validation__release_class="governed")
    request = measure_request(plan)
    gate = make_gate(tmp_path)
    refused("policy.class-forbidden", charge, gate, plan, request)
    gate = make_gate(tmp_path, **GOVERNED)
    refused("policy.cohort-too-small", charge, gate, plan, request, PATIENTS[:9])
    exact = statistics(plan, sensitivity=0.9, auc=0.87654321)  # two missed positives
    reply = table(request, release_class="governed", total=exact)
    shown = shown_of(plan, release(gate, plan, request, reply, bound=table_bound(plan)))
    assert "sensitivity" not in shown
    assert (shown["n"], shown["n_positive"], shown["auc"]) == (60, 20, 0.8765)
    row = gate.ledger.show()[1]
    assert (row.charge_class, row.approved_by, row.event) == ("governed", "Ada Byron", None)
    [departure] = gate.outbox.show()
    assert (departure.release_class, departure.epsilon) == ("governed", None)


def test_of_who_came_after_a_lock_a_small_number_refuses_nothing_and_exact_figures_of_few_stay(
    tmp_path: Path,
) -> None:
    plan = make_plan(tmp_path)
    request = measure_request(plan, "prospective")
    for n in (0, 9):
        gate = make_gate(tmp_path / str(n))
        sent = answer(
            gate, plan, request, lambda: table(request), bound=table_bound(plan), members=PATIENTS[:n]
        )
        assert isinstance(sent, SumReply)
    exact = make_plan(tmp_path / "exact", validation__release_class="governed")
    request, gate = measure_request(exact, "prospective"), make_gate(tmp_path / "few", **GOVERNED)
    first = answer(gate, exact, request, never, bound=table_bound(exact), members=PATIENTS[:9])
    assert isinstance(first, Refusal)
    assert first.code == "policy.cohort-too-small"
    assert pack(repeat(gate, exact, request)) == pack(first), "who asks again learns of nobody who came"


def test_a_split_has_one_governed_release_over_all_plans_unless_the_policy_allows_more(
    tmp_path: Path,
) -> None:
    plans = two_plans(tmp_path)
    requests = [measure_request(plan) for plan in plans]
    gate = make_gate(tmp_path, **GOVERNED)

    def shown_by(gate: Gate, number: int, **named: float) -> dict[str, float]:
        plan, request = plans[number], requests[number]
        total = statistics(plan, **named)
        reply = table(request, release_class="governed", total=total)
        return shown_of(plan, release(gate, plan, request, reply, bound=table_bound(plan)))

    assert shown_by(gate, 0)["sensitivity"] == 0.5
    refused("privacy.governed-repeated", charge, gate, plans[1], requests[1])
    # other patients than those of the first release: their difference would be one patient
    gate = make_gate(tmp_path, **GOVERNED, governed_releases_per_split=2)
    refused("privacy.governed-other-members", charge, gate, plans[1], requests[1], PATIENTS[1:])
    # the same patients at another cut: nine negatives lie between the cuts
    shown = shown_by(gate, 1, specificity=0.275)
    assert "specificity" not in shown
    assert "auc" in shown


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("table", "measure"),
        ("measure", "measure"),
        ("measure", "table"),
        ("description", "table"),
        ("", "table"),  # a charge that was written before rows said what kind of stage it was
    ],
)
def test_an_exact_table_of_groups_and_other_exact_numbers_of_a_split_exclude_each_other(
    tmp_path: Path, first: str, second: str
) -> None:
    gate = make_gate(tmp_path, **GOVERNED, governed_releases_per_split=9)
    one, two = two_plans(tmp_path)
    charge(gate, one, measure_request(one), stage_kind=first)
    refused(
        "policy.exact-beside-exact",
        charge,
        gate,
        two,
        measure_request(two),
        PATIENTS,
        stage_kind=second,
    )
    # each by itself may leave, and the same request may be answered again
    charge(gate, one, measure_request(one), stage_kind=first)
    other = make_gate(tmp_path / "other", **GOVERNED, governed_releases_per_split=9)
    charge(other, two, measure_request(two), stage_kind=second)


def test_what_an_earlier_governed_release_showed_must_be_known(tmp_path: Path) -> None:
    plans = two_plans(tmp_path)
    gate = make_gate(tmp_path, **GOVERNED, governed_releases_per_split=2)
    requests = [measure_request(plan) for plan in plans]
    replies = [
        table(request, release_class="governed", total=statistics(plan))
        for plan, request in zip(plans, requests, strict=True)
    ]
    release(gate, plans[0], requests[0], replies[0], bound=table_bound(plans[0]))
    for file in (tmp_path / "replies").glob("*.json"):
        file.unlink()
    sent = answer(gate, plans[1], requests[1], lambda: replies[1], bound=table_bound(plans[1]))
    assert isinstance(sent, Refusal)
    assert sent.code == "privacy.governed-unknown"


def test_exact_numbers_whose_cells_cannot_be_brought_up_to_a_minimum_stay(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, validation__release_class="governed")
    gate, request = make_gate(tmp_path, **GOVERNED), measure_request(plan)
    kept_back(
        gate,
        plan,
        table(request, release_class="governed"),
        bound=Bound(length=N_CELLS, kind="<f8"),
        code="privacy.not-suppressible",
    )


@pytest.mark.parametrize(
    ("stage", "allowed"),
    [
        ("internal", ["train"]),
        ("prospective", ["train", "evaluate.internal"]),
        ("external", ["train", "evaluate.internal", "evaluate.prospective"]),
    ],
)
def test_unapproved_releases_are_refused(tmp_path: Path, stage: str, allowed: list[str]) -> None:
    gate, plan = make_gate(tmp_path, allowed=allowed), make_plan(tmp_path)
    refused("policy.purpose-forbidden", charge, gate, plan, measure_request(plan, stage))
    assert [row.kind for row in gate.ledger.show()] == ["opened"]


def test_errors_leave_as_a_code_and_their_text_stays(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    secret = "Erika Mustermann /data/4711.dcm"
    for error, code in (
        (IntakeError("unreadable", secret), "intake.unreadable"),
        (KeyError(secret), "osteofed.internal"),
    ):
        refusal = gate.refuse(error, plan_sha256=plan.sha256).message
        assert isinstance(refusal, Refusal)
        assert refusal.code == code
        assert secret not in str(refusal)
        log = (tmp_path / "log" / "refusals.jsonl").read_text().splitlines()[-1]
        assert secret in json.loads(log)["text"]
        assert json.loads(log)["correlation_id"] == refusal.correlation_id
    assert (tmp_path / "log" / "refusals.jsonl").stat().st_mode & 0o777 == 0o600
    assert secret not in (tmp_path / "outbox" / "outbox.jsonl").read_text()


def test_a_failure_after_the_charge_leaves_it_standing_with_its_outcome(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)

    def fail() -> SumReply:
        raise ValueError("a patient's value")

    first = answer(gate, plan, request, fail)
    spent = gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent
    for _ in range(3):
        assert repeat(gate, plan, request) == first
    assert [row.status for row in gate.ledger.show()] == ["", "", "osteofed.internal"]
    assert gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent == spent > 0
    assert [each.release_class for each in gate.outbox.show()] == ["status"] * 4


def test_a_damaged_ledger_still_lets_a_refusal_leave(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    (tmp_path / "ledger" / "ledger.jsonl").write_text("")
    error = PrivacyError("x", "y")
    refusal = gate.refuse(error, plan_sha256=plan.sha256).message
    assert isinstance(refusal, Refusal)
    assert refusal.code == "privacy.x"


def test_public_replies_carry_the_sites_name_and_signature(tmp_path: Path) -> None:
    gate = make_gate(tmp_path)
    hello = HelloReply(plan_sha256="0" * 64, nonce="n", site="", code_sha256="c", has_encoder=True)
    reply = gate.release_public(hello).message
    assert isinstance(reply, HelloReply)
    assert reply.site == SITE
    assert verify(site_key(tmp_path).public_hex, signed_bytes(reply), reply.signature)


def test_privacy_off_where_allowed_is_charged_and_logged_as_such(tmp_path: Path) -> None:
    gate = make_gate(tmp_path, allows_privacy_off=True)
    plan = make_plan(tmp_path, privacy__mode="off", privacy__noise_multiplier=0.0)
    request = train_request(plan)
    reply = update(request, [0.1, 0.0, 0.0], release_class="off")
    release(gate, plan, request, reply)
    [departure] = gate.outbox.show()
    assert (departure.release_class, departure.epsilon) == ("off", None)
    assert gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).n_unprotected == 1


@pytest.mark.parametrize("status", ["measured", "waiting", "not-applicable"])
def test_a_validation_at_a_site_behind_its_countersigned_head_is_refused(
    tmp_path: Path, status: str
) -> None:
    plan, gate = make_plan(tmp_path), make_gate(tmp_path)

    def answer(head: str) -> None:
        signature = countersign(
            coordinator_key(tmp_path), site=SITE, plan_sha256=plan.sha256, ledger_head=head
        )
        carried = {"ledger_head": head, "countersignature": signature}
        request = measure_request(plan, **carried)
        if status == "measured":
            charge(gate, plan, request)
        else:
            unmeasured(gate, plan, table(request, status=status, total=np.zeros(0)), **carried)

    refused("ledger.behind", answer, "1" * 64)
    assert gate.outbox.show() == ()
    assert [row.kind for row in gate.ledger.show()] == ["opened"]
    head = gate.ledger.head().sha256
    answer(head)
    assert [each.head_sha256 for each in gate.ledger.countersignatures()] == [head]


def test_messages_survive_the_store_bit_for_bit(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    message = train_request(plan, vector=np.array([1e-30, -0.0, 3.5], dtype=np.float32))
    restored = unpack(pack(message))
    assert isinstance(restored, SumRequest)
    assert restored.vector.tobytes() == message.vector.tobytes()
    assert pack(restored) == pack(message)
    for damaged in (pack(message)[:-3], pack(message).replace(b'"version":', b'"version":1'), b"[]"):
        with pytest.raises(ProtocolError) as caught:
            unpack(damaged)
        assert caught.value.code == "protocol.unreadable-payload"


def test_a_stored_reply_that_was_damaged_is_not_sent(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    gate, request = make_gate(tmp_path), train_request(plan)
    release(gate, plan, request, update(request, [0.1, 0.0, 0.0]))
    [stored] = (tmp_path / "replies").glob("*.json")
    stored.write_bytes(stored.read_bytes()[:-3])
    with pytest.raises(LedgerError) as caught:
        repeat(gate, plan, request)
    assert caught.value.code == "ledger.reply-damaged"


NETWORK = {
    "socket", "ssl", "http", "urllib", "requests", "httpx", "aiohttp", "grpc", "smtplib", "ftplib",
}  # fmt: skip
# Modules that open a connection. The link to the coordinator and the doctor's GET of its /health see no
# patient; dicomweb.py and dimse.py ask the hospital's own PACS for films, as credentials.py trusts it.
LINKS = {
    "app.py", "node/supernode.py", "node/link.py", "doctor/examine.py", "doctor/connection.py",
    "intake/sources/dicomweb.py", "intake/sources/dimse.py", "intake/sources/credentials.py",
}  # fmt: skip
# Signed beside messages: the ledger's rows and head, records that a hospital keeps or hands over.
SIGNERS = {
    "gate/gate.py", "gate/ledger.py", "gate/ledger_file.py", "site/approval.py", "site/approved.py",
    "site/folder.py", "intake/accrue.py", "people/purge.py",
}  # fmt: skip
CLIENT = sorted((ROOT / "client").rglob("*.py"))


@pytest.mark.parametrize("path", CLIENT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_but_the_gate_signs_or_lets_out(path: Path) -> None:
    tree, name = ast.parse(path.read_text()), path.relative_to(ROOT / "client").as_posix()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if name not in LINKS:
                roots = {module.partition(".")[0] for module in modules}
                assert not roots & NETWORK, f"line {node.lineno}: opens a way out"
        if isinstance(node, ast.Call):
            check_call(node, name)


def check_call(node: ast.Call, name: str) -> None:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in ("signed_bytes", "Released", "_sign", "_send"):
        assert name == "gate/gate.py", f"line {node.lineno}: only the gate signs and releases"
    if called == "sign":
        assert name in SIGNERS, f"line {node.lineno}: only the gate signs, but for what is named here"
    if called == "to_record":
        assert name == "app.py", f"line {node.lineno}: only the app turns replies into records"
        [argument] = node.args
        is_released = isinstance(argument, ast.Attribute) and argument.attr == "message"
        assert is_released, f"line {node.lineno}: to_record takes what the gate released"


@pytest.mark.parametrize(
    "source",
    [
        "to_record(reply)",
        "Released(reply)",
        "signed_bytes(reply)",
        "gate._send(reply)",
        "site.key.sign(content)",
    ],
)
def test_the_test_of_the_only_exit_would_notice_another(source: str) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    with pytest.raises(AssertionError):
        check_call(call, "app.py")
