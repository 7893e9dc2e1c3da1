"""The gate is the only exit: charged first, logged, signed, repeated for nothing, errors as codes."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from practice_site import PATIENTS, SITE, coordinator_key, make_gate, make_plan, site_key

from shared.contract.payload import pack, unpack
from shared.contract.plan import Plan
from shared.contract.protocol import (
    EvaluateReply,
    EvaluateRequest,
    HelloReply,
    Refusal,
    TrainReply,
    TrainRequest,
    signed_bytes,
)
from shared.errors import IntakeError, LedgerError, OsteoFedError, PrivacyError, ProtocolError
from shared.signing.countersign import countersign
from shared.signing.keys import verify

ROOT = Path(__file__).resolve().parents[3]
N_CELLS = 30  # 12 bins of two classes, six moments


def train_request(plan: Plan, **changes: object) -> TrainRequest:
    values: dict[str, object] = {
        "plan_sha256": plan.sha256,
        "round": 1,
        "weights": np.ones(3, dtype=np.float32),
        "ledger_head": "",
        "countersignature": "",
    }
    return TrainRequest(**(values | changes))


def train_reply(request: TrainRequest, update: list[float]) -> TrainReply:
    return TrainReply(
        plan_sha256=request.plan_sha256,
        round=request.round,
        site="",
        weights_sha256="f" * 64,
        update=np.array(update, dtype=np.float32),
        ledger_head="",
    )


def evaluate_request(plan: Plan, kind: str = "internal", **changes: object) -> EvaluateRequest:
    values: dict[str, object] = {
        "plan_sha256": plan.sha256,
        "kind": kind,
        "release_sha256": "f" * 64,
        "weights": np.ones(3, dtype=np.float32),
        "lock_sha256": "",
        "ledger_head": "",
        "countersignature": "",
    }
    return EvaluateRequest(**(values | changes))


def evaluate_reply(request: EvaluateRequest, **changes: object) -> EvaluateReply:
    values: dict[str, object] = {
        "plan_sha256": request.plan_sha256,
        "kind": request.kind,
        "release_sha256": request.release_sha256,
        "site": "",
        "status": "measured",
        "release_class": "dp",
        "table": np.linspace(-2.0, 90.0, N_CELLS),
        "ledger_head": "",
    }
    return EvaluateReply(**(values | changes))


def refused(code: str, call: object, *args: object, **kwargs: object) -> None:
    with pytest.raises(OsteoFedError) as caught:
        call(*args, **kwargs)  # type: ignore[operator]
    assert caught.value.code == code


def test_a_round_is_charged_signed_logged_and_stored(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    head = gate.charge_training(plan, request, members=PATIENTS)
    released = gate.release_update(train_reply(request, [0.1, 0.2, 0.3]), plan=plan, request=request)
    reply = released.message
    assert isinstance(reply, TrainReply)
    assert (reply.site, reply.ledger_head) == (SITE, head.sha256)
    assert verify(site_key(tmp_path).public_hex, signed_bytes(reply), reply.signature)
    assert [row.kind for row in gate.ledger.show()] == ["opened", "charge", "outcome"]
    [departure] = gate.outbox.show()
    assert (departure.channel, departure.release_class) == ("train", "dp")
    assert departure.n_bytes == len(pack(reply))
    assert departure.epsilon == pytest.approx(
        gate.ledger.run_epsilon(plan.sha256, PATIENTS, delta=1e-5)
    )


def test_a_repeated_request_gets_the_identical_bytes_and_costs_nothing(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    assert gate.repeat(request) is None
    gate.charge_training(plan, request, members=PATIENTS)
    first = gate.release_update(train_reply(request, [0.1, 0.2, 0.3]), plan=plan, request=request)
    head = gate.ledger.head()
    # asked again after a restart, by a coordinator that meanwhile knows another head
    again = make_gate(tmp_path).repeat(replace(request, ledger_head="1" * 64))
    assert again is not None
    assert pack(again.message) == pack(first.message)
    assert gate.ledger.head() == head
    assert [each.release_class for each in gate.outbox.show()] == ["dp", "repeat"]


def test_nothing_leaves_that_was_not_charged_and_one_charge_pays_once(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    reply = train_reply(request, [0.1, 0.2, 0.3])
    refused("privacy.not-charged", gate.release_update, reply, plan=plan, request=request)
    gate.charge_training(plan, request, members=PATIENTS)
    gate.release_update(reply, plan=plan, request=request)
    refused("privacy.not-charged", gate.release_update, reply, plan=plan, request=request)
    other = evaluate_request(plan)
    refused("privacy.not-charged", gate.release_table, evaluate_reply(other), plan=plan, request=other)
    assert len(gate.outbox.show()) == 1


@pytest.mark.parametrize("update", [[2.0, 0.0, 0.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]])
def test_an_update_beyond_the_plans_bound_stays(tmp_path: Path, update: list[float]) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = train_request(plan)
    gate.charge_training(plan, request, members=PATIENTS)
    refused(
        "privacy.update-unbounded",
        gate.release_update,
        train_reply(request, update),
        plan=plan,
        request=request,
    )
    assert gate.outbox.show() == ()


def hostile_requests() -> dict[
    str, tuple[dict[str, object], dict[str, object], dict[str, object], int, str]
]:
    """name → policy, plan, request, number of patients, code of the refusal."""
    return {
        "another plan's hash": ({}, {}, {"plan_sha256": "0" * 64}, 80, "protocol.wrong-plan"),
        "a round before the first": ({}, {}, {"round": 0}, 80, "protocol.no-such-round"),
        "a round after the last": ({}, {}, {"round": 11}, 80, "protocol.no-such-round"),
        "too few patients": ({}, {}, {}, 49, "policy.cohort-too-small"),
        "the same patient many times": ({}, {}, {}, -1, "policy.cohort-too-small"),
        "noise below the floor": (
            {},
            {"privacy__noise_multiplier": 0.5},
            {},
            80,
            "policy.plan-forbidden",
        ),
        "epsilon above the cap per run": (
            {"epsilon_per_run": 1.5},
            {},
            {},
            80,
            "policy.plan-forbidden",
        ),
        "privacy off": ({}, {"privacy__mode": "off"}, {}, 80, "policy.plan-forbidden"),
        "training not allowed": (
            {"allowed": ["evaluate.internal"]},
            {},
            {},
            80,
            "policy.plan-forbidden",
        ),
        "an invented ledger head": (
            {},
            {},
            {"ledger_head": "1" * 64, "countersignature": "2" * 128},
            80,
            "ledger.bad-countersignature",
        ),
        "a lifetime that is used up": (
            {"epsilon_lifetime": 0.3},
            {},
            {},
            80,
            "privacy.budget-exhausted",
        ),
    }


@pytest.mark.parametrize("name", hostile_requests())
def test_a_hostile_training_request_is_refused_and_charges_nothing(tmp_path: Path, name: str) -> None:
    policy, changes, asked, n_patients, code = hostile_requests()[name]
    gate, plan = make_gate(tmp_path, **policy), make_plan(tmp_path, **changes)
    members = [PATIENTS[0]] * 80 if n_patients < 0 else PATIENTS[:n_patients]
    refused(code, gate.charge_training, plan, train_request(plan, **asked), members=members)
    assert [row.kind for row in gate.ledger.show()] == ["opened"]


def test_a_replayed_round_with_other_weights_is_refused(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    gate.charge_training(plan, train_request(plan), members=PATIENTS)
    other = train_request(plan, weights=np.zeros(3, dtype=np.float32))
    refused("privacy.round-repeated", gate.charge_training, plan, other, members=PATIENTS)


def test_a_gate_refuses_a_round_that_would_overspend(tmp_path: Path) -> None:
    # 10 rounds of 5 steps at noise 10 are the plan; a cap that holds 4 of them stops the fifth
    gate, plan = make_gate(tmp_path, epsilon_lifetime=1.8), make_plan(tmp_path)
    for number in range(1, 5):
        gate.charge_training(plan, train_request(plan, round=number), members=PATIENTS)
    for number in range(5, 20):
        with pytest.raises(OsteoFedError):
            gate.charge_training(plan, train_request(plan, round=number), members=PATIENTS)
    assert len(gate.ledger.show()) == 5
    assert gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent <= 1.8


def test_a_rolled_back_ledger_is_caught_by_the_next_request(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    head = gate.charge_training(plan, train_request(plan), members=PATIENTS).sha256
    signature = countersign(
        coordinator_key(tmp_path), site=SITE, plan_sha256=plan.sha256, ledger_head=head
    )
    second = train_request(plan, round=2, ledger_head=head, countersignature=signature)
    path = tmp_path / "ledger" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(LedgerError) as caught:
        make_gate(tmp_path).charge_training(plan, second, members=PATIENTS)
    assert caught.value.code == "ledger.behind"


def test_a_dp_table_is_charged_once_and_ten_more_requests_get_nothing_new(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = evaluate_request(plan)
    gate.charge_validation(plan, request, members=PATIENTS)
    released = gate.release_table(evaluate_reply(request), plan=plan, request=request)
    spent = gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent
    for number in range(10):
        again = gate.repeat(request)
        assert again is not None
        assert pack(again.message) == pack(released.message)
        other = evaluate_request(plan, release_sha256=f"{number}" * 64)
        refused("privacy.round-repeated", gate.charge_validation, plan, other, members=PATIENTS)
    assert gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent == spent


def test_a_table_of_another_class_than_charged_or_not_finite_stays(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = evaluate_request(plan)
    gate.charge_validation(plan, request, members=PATIENTS)
    for changes, code in (
        ({"release_class": "governed"}, "privacy.wrong-release-class"),
        ({"table": np.full(N_CELLS, np.nan)}, "privacy.wrong-table"),
        ({"table": np.ones(N_CELLS - 1)}, "privacy.wrong-table"),
    ):
        reply = evaluate_reply(request, **changes)
        refused(code, gate.release_table, reply, plan=plan, request=request)


def test_unmeasured_answers_are_empty_free_and_not_stored(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    request = evaluate_request(plan, "prospective")
    full = evaluate_reply(request, status="waiting")
    refused("privacy.not-charged", gate.release_table, full, plan=plan, request=request)
    gate.release_table(replace(full, table=np.zeros(0)), plan=plan, request=request)
    assert gate.outbox.show()[-1].release_class == "status"
    assert gate.repeat(request) is None
    assert len(gate.ledger.show()) == 1


def test_governed_tables_need_the_policy_a_name_and_the_minimum_cell(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, validation__release_class="governed")
    request = evaluate_request(plan)
    gate = make_gate(tmp_path)
    refused("policy.plan-forbidden", gate.charge_validation, plan, request, members=PATIENTS)
    gate = make_gate(tmp_path, allows_governed=True, governed_approved_by="Ada Byron")
    refused("policy.cohort-too-small", gate.charge_validation, plan, request, members=PATIENTS[:9])
    gate.charge_validation(plan, request, members=PATIENTS)
    patients = [0, 7, 9, 2, 0, 0, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 3, 20, 0, 9, 1, 1]
    table = np.array([*(1.2 * n for n in patients), *np.full(6, 5.0)])
    reply = evaluate_reply(request, release_class="governed", table=table)
    released = gate.release_table(reply, plan=plan, request=request).message
    assert isinstance(released, EvaluateReply)
    # bins 1 and 2 hold 16, bin 3 joins bin 6 through the empty ones; five bins lie above
    shown = [0, 8, 8, *([14 / 4] * 4), 14, 0, 0, 0, 0, *([0] * 5), 7.5, 7.5, 20, 0, *([11 / 3] * 3)]
    np.testing.assert_allclose(released.table[:24] / 1.2, shown)
    np.testing.assert_allclose(released.table[24:], table[24:])
    row = gate.ledger.show()[1]
    assert (row.charge_class, row.approved_by, row.event) == ("governed", "Ada Byron", None)
    [departure] = gate.outbox.show()
    assert (departure.release_class, departure.epsilon) == ("governed", None)


@pytest.mark.parametrize(
    ("kind", "allowed", "code"),
    [
        ("internal", ["train"], "policy.purpose-forbidden"),
        ("prospective", ["train", "evaluate.internal"], "policy.purpose-forbidden"),
        ("everything", ["train"], "protocol.unknown-validation"),
    ],
)
def test_unapproved_releases_are_refused(
    tmp_path: Path, kind: str, allowed: list[str], code: str
) -> None:
    gate, plan = make_gate(tmp_path, allowed=allowed), make_plan(tmp_path)
    refused(code, gate.charge_validation, plan, evaluate_request(plan, kind), members=PATIENTS)


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
    gate.charge_training(plan, request, members=PATIENTS)
    spent = gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent
    for _ in range(3):
        gate.refuse(ValueError(), plan_sha256=plan.sha256, request=request)
    assert [row.status for row in gate.ledger.show()] == ["", "", "osteofed.internal"]
    assert gate.ledger.budget(PATIENTS, allowance=gate.policy.allowance).epsilon_spent == spent > 0


def test_a_damaged_ledger_still_lets_a_refusal_leave(tmp_path: Path) -> None:
    gate, plan = make_gate(tmp_path), make_plan(tmp_path)
    (tmp_path / "ledger" / "ledger.jsonl").write_text("")
    error = PrivacyError("x", "y")
    refusal = gate.refuse(error, plan_sha256=plan.sha256, request=train_request(plan)).message
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
    gate.charge_training(plan, request, members=PATIENTS)
    gate.release_update(train_reply(request, [0.1, 0.0, 0.0]), plan=plan, request=request)
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
        request = evaluate_request(plan, ledger_head=head, countersignature=signature)
        if status == "measured":
            gate.charge_validation(plan, request, members=PATIENTS)
        else:
            reply = evaluate_reply(request, status=status, table=np.zeros(0))
            gate.release_table(reply, plan=plan, request=request)

    refused("ledger.behind", answer, "1" * 64)
    assert gate.outbox.show() == ()
    assert [row.kind for row in gate.ledger.show()] == ["opened"]
    head = gate.ledger.head().sha256
    answer(head)
    assert [each.head_sha256 for each in gate.ledger.countersignatures()] == [head]


def test_messages_survive_the_store_bit_for_bit(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    message = train_request(plan, weights=np.array([1e-30, -0.0, 3.5], dtype=np.float32))
    restored = unpack(pack(message))
    assert isinstance(restored, TrainRequest)
    assert restored.weights.tobytes() == message.weights.tobytes()
    assert pack(restored) == pack(message)
    for damaged in (pack(message)[:-3], pack(message).replace(b'"version":', b'"version":1'), b"[]"):
        with pytest.raises(ProtocolError) as caught:
            unpack(damaged)
        assert caught.value.code == "protocol.unreadable-payload"


def test_a_stored_reply_that_was_damaged_is_not_sent(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    gate, request = make_gate(tmp_path), train_request(plan)
    gate.charge_training(plan, request, members=PATIENTS)
    gate.release_update(train_reply(request, [0.1, 0.0, 0.0]), plan=plan, request=request)
    [stored] = (tmp_path / "replies").iterdir()
    stored.write_bytes(stored.read_bytes()[:-3])
    with pytest.raises(LedgerError) as caught:
        gate.repeat(request)
    assert caught.value.code == "ledger.reply-damaged"


NETWORK = {
    "socket", "ssl", "http", "urllib", "requests", "httpx", "aiohttp", "grpc", "smtplib", "ftplib",
}  # fmt: skip
# Modules that open a connection. The link to the coordinator and the doctor's GET of its /health see no
# patient; dicomweb.py and dimse.py ask the hospital's own PACS for films, as credentials.py trusts it.
LINKS = {
    "app.py", "node/supernode.py", "doctor/examine.py", "doctor/connection.py",
    "intake/sources/dicomweb.py", "intake/sources/dimse.py", "intake/sources/credentials.py",
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
    if called in ("signed_bytes", "Released"):
        assert name == "gate/gate.py", f"line {node.lineno}: only the gate signs and releases"
    if called == "to_record":
        assert name == "app.py", f"line {node.lineno}: only the app turns replies into records"
        [argument] = node.args
        is_released = isinstance(argument, ast.Attribute) and argument.attr == "message"
        assert is_released, f"line {node.lineno}: to_record takes what the gate released"


@pytest.mark.parametrize("source", ["to_record(reply)", "Released(reply)", "signed_bytes(reply)"])
def test_the_test_of_the_only_exit_would_notice_another(source: str) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    with pytest.raises(AssertionError):
        check_call(call, "app.py")


def test_a_governed_table_with_too_few_patients_beside_the_operating_point_stays(
    tmp_path: Path,
) -> None:
    plan = make_plan(tmp_path, validation__release_class="governed")
    gate = make_gate(tmp_path, allows_governed=True, governed_approved_by="Ada Byron")
    request = evaluate_request(plan)
    gate.charge_validation(plan, request, members=PATIENTS)
    table = np.zeros(N_CELLS)
    table[[3, 9, 15, 20]] = 1.2 * np.array([12, 9, 30, 40])  # nine missed positives
    reply = evaluate_reply(request, release_class="governed", table=table)
    refused("policy.cell-too-small", gate.release_table, reply, plan=plan, request=request)
    assert not gate.outbox.show()
