"""The recount on one real run, and on forgeries of it: each must be named."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from handed_over import HandedOver, Rows, signed_report
from safetensors import safe_open
from safetensors.numpy import save_file

import shared.audit.recount.ledger as recount_ledger
from client.gate.key_rotation import rotate_key
from shared.audit.finding import Finding
from shared.audit.recount.claims import recount_findings, recount_site
from shared.audit.recount.evidence import SiteEvidence, gather_evidence
from shared.audit.recount.ledger import second_epsilon
from shared.audit.recount.recounted import bounds
from shared.audit.recount.run_files import read_held
from shared.contract.payload import payload_sha256
from shared.contract.plan import Plan, write_plan
from shared.contract.protocol import signed_bytes
from shared.contract.stages import DescriptionStage
from shared.errors import AuditError, OsteoFedError
from shared.privacy.accountant import epsilon_of
from shared.privacy.cost import predict_cost
from shared.privacy.events import GaussianEvent
from shared.privacy.ledger_format import Countersignature
from shared.privacy.statement import open_statement, read_statement, sign_statement, write_statement
from shared.signing.canonical import hash_file
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey, create_key

WORDS = {
    "chain": "The ledger is whole",
    "countersigned": "The coordinator countersigned",
    "plan": "What was charged belongs",
    "charges": "Each round was released",
    "cost": "The recounted epsilon",
    "lifetime": "No patient has paid",
    "outcomes": "Every release that the ledger records",
    "outbox": "Everything in the site's outbox",
    "held": "What the coordinator holds",
    "weights": "The coordinator holds the weights",
    "rounds": "Every committed round",
    "release": "The release is the coordinator's",
    "statement": "The site's privacy statement",
}


@pytest.fixture(autouse=True)
def _remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second accountant is slow and most forgeries ask it the same."""
    monkeypatch.setattr(recount_ledger, "second_epsilon", remembered_epsilon)


@functools.cache
def _priced(events: tuple[GaussianEvent, ...], delta: float) -> float:
    return second_epsilon(events, delta)


def remembered_epsilon(events: Sequence[GaussianEvent], delta: float) -> float:
    if sys.modules.get("dp_accounting", True) is None:
        return second_epsilon(events, delta)
    return _priced(tuple(events), delta)


def recount(handed: HandedOver, name: str = "elm", **changes: object) -> dict[str, Finding]:
    found = recount_site(handed.plan, handed.evidence(name, **changes))
    short = {words: key for key, words in WORDS.items()}
    return {short[words]: each for each in found for words in short if each.claim.startswith(words)}


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.verdict == "fail"}


@pytest.mark.parametrize("name", ["elm", "fir", "hop"])
def test_an_honest_run_passes_every_claim_that_can_be_examined(made_run: HandedOver, name: str) -> None:
    found = recount(made_run, name)
    assert set(found) == set(WORDS)
    verdicts = {key: finding.verdict for key, finding in found.items()}
    # the coordinator never countersigned a head of the external site, which trained in no round
    expected = {"countersigned": "not-run"} if name == "hop" else {}
    assert verdicts == dict.fromkeys(WORDS, "pass") | expected


def test_recounted_epsilon_is_the_plans_by_two_accountants(made_run: HandedOver) -> None:
    figures = recount(made_run)["cost"].figures
    promised = made_run.plan.predicted.dearest("training")
    assert figures["epsilon_recounted"] == pytest.approx(promised, abs=1e-6)
    assert figures["epsilon_second_accountant"] == pytest.approx(promised, abs=2e-3)
    external = recount(made_run, "hop")["cost"]
    assert external.figures["epsilon_planned"] == made_run.plan.predicted.dearest("external")
    assert "patients of everybody" in external.because
    assert "patients of train" not in external.because, "nobody trains there"
    # (noise multiplier 4.24, 50 full-batch steps, δ = 1e-5) is 8.010 by the exact formula
    event = GaussianEvent(noise_multiplier=4.24, steps=50)
    assert second_epsilon([event], 1e-5) == pytest.approx(8.010, abs=2e-3)
    sampled = GaussianEvent(noise_multiplier=2.0, sample_rate=0.25, steps=60)
    assert abs(second_epsilon([sampled], 1e-5) - epsilon_of([sampled], 1e-5)) < 0.02


def test_lifetime_is_bounded_by_one_list_and_by_all_charges_on_one_patient(
    made_run: HandedOver,
) -> None:
    rows = made_run.rows()
    low, high = bounds(rows, lambda events: sum(1.0 / e.noise_multiplier**2 for e in events))
    noise = [row.noise_multiplier for row in rows if row.kind == "charge"]
    assert low == pytest.approx(2 / noise[0] ** 2)  # two rounds on the training split
    assert high == pytest.approx(sum(1 / each**2 for each in noise))
    figures = recount(made_run)["lifetime"].figures
    assert figures["lifetime_epsilon_at_least"] < figures["lifetime_epsilon_at_most"]


def test_what_was_not_handed_over_is_not_examined(made_run: HandedOver) -> None:
    found = recount(made_run, statements=[], outboxes={}, run_folder=None)
    verdicts = {key for key, finding in found.items() if finding.verdict == "not-run"}
    assert verdicts == {"statement", "outbox", "held", "weights", "rounds", "release"}
    everybody = recount_findings(made_run.plan, [made_run.evidence("fir")])
    missing = {finding.site for finding in everybody if finding.because.startswith("no ledger")}
    assert missing == {"elm", "hop"}


def test_an_edited_noise_breaks_the_chain(handed: HandedOver) -> None:
    content = json.loads(handed.ledger().read_text())
    row = next(line["row"] for line in content["lines"] if line["row"]["kind"] == "charge")
    row["noise_multiplier"] *= 2
    handed.ledger().write_text(json.dumps(content))
    found = recount_site(handed.plan, handed.evidence())
    assert [(each.verdict, each.claim.split(",")[0]) for each in found] == [("fail", WORDS["chain"])]


def test_rows_rewritten_after_a_countersignature_are_noticed(handed: HandedOver) -> None:
    rows = [replace(row, utc=row.utc.replace("20", "21", 1)) for row in handed.rows()]
    handed.forge_ledger(rows, countersignatures=handed.export().countersignatures)
    found = recount_site(handed.plan, handed.evidence())
    assert [each.verdict for each in found] == ["fail"]
    assert "already seen" in found[0].because


def test_a_foreign_key_and_a_foreign_coordinator_are_noticed(
    handed: HandedOver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = create_key(tmp_path_factory.mktemp("keys") / "other.pem")
    assert failed(recount(handed, site_keys={"elm": key.public_hex})) == {"chain"}
    head = handed.rows()[-1].sha256
    forged = Countersignature(
        head_sha256=head,
        plan_sha256=handed.plan.sha256,
        coordinator_key=key.public_hex,
        signature=countersign(key, site="elm", plan_sha256=handed.plan.sha256, ledger_head=head),
    )
    handed.forge_ledger(handed.rows(), countersignatures=(forged,))
    alone = recount(handed, statements=[], outboxes={}, run_folder=None)
    assert failed(alone) == {"countersigned"}
    assert "not by the coordinator's key" in alone["countersigned"].because


def test_a_countersignature_that_the_site_leaves_out_is_missed(handed: HandedOver) -> None:
    handed.forge_ledger(handed.rows())
    found = recount(handed)
    assert failed(found) == {"countersigned", "statement"}
    assert "train, round 2 was asked for with the countersigned head" in found["countersigned"].because
    alone = recount(handed, statements=[], outboxes={}, run_folder=None)
    assert alone["countersigned"].verdict == "not-run"


def test_a_countersigned_head_of_a_validation_that_the_site_leaves_out_is_missed(
    handed: HandedOver,
) -> None:
    # the request for the prospective table carried the head of the internal one
    rows = handed.rows()
    table = rows[first(rows, "charge", "evaluate.internal")]
    asked = replace(table, purpose="evaluate.prospective", stage="prospective", request_sha256="9" * 64)
    handed.forge_ledger([*rows, asked], countersignatures=handed.export().countersignatures)
    because = recount(handed)["countersigned"].because
    assert because.startswith(
        "prospective, round 1 was asked for with the countersigned head of internal, round 1"
    )
    released = rows[first(rows, "outcome", "evaluate.internal")]
    head = {"site": "elm", "plan_sha256": handed.plan.sha256, "ledger_head": released.sha256}
    made = Countersignature(
        head_sha256=released.sha256,
        plan_sha256=handed.plan.sha256,
        coordinator_key=handed.plan.coordinator_key,
        signature=countersign(handed.coordinator, **head),
    )
    signed = (*handed.export().countersignatures, made)
    handed.forge_ledger([*rows, asked], countersignatures=signed)
    assert recount(handed)["countersigned"].verdict == "pass"


def first(rows: Rows, kind: str, purpose: str = "train") -> int:
    return next(i for i, row in enumerate(rows) if (row.kind, row.purpose) == (kind, purpose))


def edit(rows: Rows, place: int, **changes: object) -> Rows:
    return [*rows[:place], replace(rows[place], **changes), *rows[place + 1 :]]


def more_noise(rows: Rows) -> Rows:
    return edit(rows, first(rows, "charge"), noise_multiplier=99.0)


def fewer_steps(rows: Rows) -> Rows:
    return edit(rows, first(rows, "charge"), steps=2)


def sampled(rows: Rows) -> Rows:
    return edit(rows, first(rows, "charge"), sample_rate=0.1)


def unplanned_table_noise(rows: Rows) -> Rows:
    return edit(rows, first(rows, "charge", "evaluate.internal"), noise_multiplier=0.5)


def governed_instead_of_dp(rows: Rows) -> Rows:
    none = {"noise_multiplier": None, "sample_rate": None, "steps": None}
    place = first(rows, "charge", "evaluate.internal")
    return edit(rows, place, charge_class="governed", approved_by="Ada Lovelace", **none)


def another_class(rows: Rows) -> Rows:
    return edit(rows, first(rows, "charge"), charge_class="governed")


def unplanned_round(rows: Rows) -> Rows:
    place = first(rows, "charge")
    return edit(edit(rows, place, round=3), place + 1, round=3)


def dropped_charge(rows: Rows) -> Rows:
    place = first(rows, "charge")
    return [*rows[:place], *rows[place + 1 :]]


def charge_after_release(rows: Rows) -> Rows:
    place = first(rows, "charge")
    swapped = [*rows[:place], rows[place + 1], rows[place], *rows[place + 2 :]]
    return edit(swapped, place, charge_index=place + 1)


def one_charge_for_two_releases(rows: Rows) -> Rows:
    outcome = rows[first(rows, "outcome")]
    return [*rows, replace(outcome, payload_sha256="5" * 64)]


def release_that_names_no_charge(rows: Rows) -> Rows:
    outcome = rows[first(rows, "outcome")]
    return [*rows, replace(outcome, charge_index=None, payload_sha256="5" * 64)]


def round_released_twice(rows: Rows) -> Rows:
    charge, outcome = rows[first(rows, "charge")], rows[first(rows, "outcome")]
    again = replace(outcome, charge_index=len(rows), payload_sha256="5" * 64)
    return [*rows, charge, again]


def round_charged_for_two_requests(rows: Rows) -> Rows:
    return [*rows, replace(rows[first(rows, "charge")], request_sha256="6" * 64)]


def outcome_of_another_stage(rows: Rows) -> Rows:
    return edit(rows, first(rows, "outcome", "evaluate.internal"), stage="prospective")


def other_plan_of_the_same_run(rows: Rows) -> Rows:
    return edit(rows, first(rows, "charge"), plan_sha256="7" * 64)


@pytest.mark.parametrize(
    ("forge", "claim"),
    [
        (more_noise, "charges"),
        (fewer_steps, "charges"),
        (sampled, "charges"),
        (unplanned_table_noise, "charges"),
        (governed_instead_of_dp, "charges"),
        (another_class, "charges"),
        (unplanned_round, "charges"),
        (round_released_twice, "charges"),
        (round_charged_for_two_requests, "charges"),
        (dropped_charge, "outcomes"),
        (charge_after_release, "outcomes"),
        (one_charge_for_two_releases, "outcomes"),
        (release_that_names_no_charge, "outcomes"),
        (outcome_of_another_stage, "outcomes"),
        (other_plan_of_the_same_run, "plan"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_ledger_forged_and_signed_by_its_own_site_is_refuted(
    handed: HandedOver, forge: Callable[[Rows], Rows], claim: str
) -> None:
    honest = handed.rows()
    forged = forge(honest)
    handed.forge_ledger(forged)
    alone = failed(recount(handed, statements=[], outboxes={}, run_folder=None))
    assert claim in alone
    if forged[: len(honest)] != honest:
        # beside the run folder and the statement, a chain rewritten as a whole gives itself away
        assert {"held", "statement"} <= failed(recount(handed))


def test_noise_below_what_any_accountant_takes_is_refuted_and_does_not_stop_the_recount(
    handed: HandedOver,
) -> None:
    rows = handed.rows()
    handed.forge_ledger(edit(rows, first(rows, "charge"), noise_multiplier=0.01))
    found = recount_site(handed.plan, handed.evidence())
    assert [each.verdict for each in found] == ["fail"]
    assert "noise multiplier must be at least 0.3" in found[0].because


def test_a_crash_costs_the_site_but_refutes_nothing(handed: HandedOver) -> None:
    rows = handed.rows()
    crashed = rows[first(rows, "charge")]
    handed.forge_ledger([rows[0], crashed, crashed, *rows[2:]])
    shifted = [
        row if row.charge_index is None else replace(row, charge_index=row.charge_index + 1)
        for row in handed.rows()
    ]
    handed.forge_ledger(shifted)
    found = recount(handed, statements=[], outboxes={}, run_folder=None)
    assert failed(found) == {"lifetime"}  # its account was not exported anew
    figures = found["cost"].figures
    assert figures["epsilon_recounted"] < figures["epsilon_with_unreleased_charges"]
    assert found["charges"].figures["charges_without_release"] == 1


def rewrite_plan(handed: HandedOver, **changes: object) -> None:
    """Another plan, signed by the coordinator."""
    content = handed.plan.model_dump(mode="json") | changes
    write_plan(handed.plan_file, Plan.model_validate(content), handed.coordinator)


def test_a_run_that_cost_more_than_promised_is_refuted(handed: HandedOver) -> None:
    predicted = handed.plan.predicted.model_dump(mode="json") | {"training_epsilon": 1.5}
    for split in predicted["splits"]:
        split["epsilon"] = 1.5 if split["patients"] == "train" else split["epsilon"]
    rewrite_plan(handed, predicted=predicted)
    sha256 = handed.plan.sha256
    handed.forge_ledger([replace(row, plan_sha256=sha256 if row.run else "") for row in handed.rows()])
    found = recount(handed, statements=[], outboxes={}, run_folder=None)
    assert failed(found) == {"plan", "cost"}
    assert "promised 1.500" in found["cost"].because


def test_an_exact_description_of_the_same_patients_hides_no_charge(handed: HandedOver) -> None:
    plan = handed.plan
    exact = DescriptionStage(
        name="description",
        roles=("training",),
        patients="everybody",
        release_class="governed",
        rounds=1,
        noise_multipliers=(0.0,),
        has_second_moments=False,
        target_low=0.3,
        target_high=1.2,
        minimum_cell=10,
    )
    stages = (*plan.stages, exact)
    rewrite_plan(
        handed,
        stages=[stage.model_dump(mode="json") for stage in stages],
        predicted=predict_cost(stages, delta=plan.settings.delta).model_dump(mode="json"),
    )
    promised = {split.patients: split.epsilon for split in handed.plan.predicted.splits}
    assert (promised["train"], promised["internal"]) == (None, None)
    sha256 = handed.plan.sha256
    renamed = [replace(row, plan_sha256=sha256 if row.run else "") for row in handed.rows()]
    handed.forge_ledger(renamed)
    assert "cost" not in failed(recount(handed, statements=[], outboxes={}, run_folder=None))
    handed.forge_ledger(
        [
            replace(row, noise_multiplier=row.noise_multiplier / 2)
            if row.purpose == "train" and row.noise_multiplier
            else row
            for row in renamed
        ]
    )
    found = recount(handed, statements=[], outboxes={}, run_folder=None)
    assert "a patient of train was charged" in found["cost"].because


@pytest.mark.parametrize(
    "changes", [{"run": "another-run"}, {"written_utc": "2026-01-06T00:00:00+00:00"}], ids=str
)
def test_the_wrong_plan_is_refuted(handed: HandedOver, changes: dict[str, object]) -> None:
    rewrite_plan(handed, **changes)
    assert {"plan", "held", "rounds", "statement", "release"} <= failed(recount(handed))


def test_a_plan_that_its_coordinator_did_not_sign_is_refused(handed: HandedOver) -> None:
    edited = handed.plan_file.read_text().replace('"clip_norm": 0.5', '"clip_norm": 5.0')
    handed.plan_file.write_text(edited)
    with pytest.raises(OsteoFedError, match="differs from what its hash"):
        recount(handed)


def test_accountants_that_differ_refute_and_a_missing_one_leaves_the_claim_open(
    made_run: HandedOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = made_run.plan.predicted.training_epsilon
    assert true is not None
    for second in (true + 0.03, true - 0.03):
        with monkeypatch.context() as patched:
            patched.setattr(recount_ledger, "second_epsilon", lambda *_, value=second: value)
            assert failed(recount(made_run)) == {"cost"}
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    found = recount(made_run)
    assert found["cost"].verdict == "not-run"
    assert "osteofed[audit]" in found["cost"].because


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"epsilon_spent": 1.5}, "fail"),
        ({"epsilon_spent": 9.0}, "fail"),
        ({"epsilon_cap": 2.0}, "fail"),
        ({"epsilon_cap": 3.5}, "not-run"),
        ({"n_unprotected": 1}, "fail"),
    ],
)
def test_the_sites_account_is_held_against_its_rows(
    handed: HandedOver, changes: dict[str, object], verdict: str
) -> None:
    account = handed.export().account.model_copy(update=changes)
    handed.forge_ledger(handed.rows(), account=account)
    found = recount(handed, statements=[], outboxes={}, run_folder=None)
    assert found["lifetime"].verdict == verdict
    assert failed(found) <= {"lifetime"}


def change_outbox(handed: HandedOver, change: Callable[[list[dict[str, object]]], None]) -> None:
    lines = json.loads(handed.outbox().read_text())
    change(lines)
    handed.outbox().write_text(json.dumps(lines))


def charged(lines: list[dict[str, object]]) -> dict[str, object]:
    return next(line for line in lines if line["release_class"] == "dp")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines.append(charged(lines) | {"payload_sha256": "5" * 64}),
        lambda lines: lines.append(
            charged(lines) | {"payload_sha256": "5" * 64, "release_class": "repeat"}
        ),
        lambda lines: lines.append(charged(lines) | {"release_class": "public", "epsilon": 0.0}),
        lambda lines: charged(lines).update(release_class="status", message="SumReply"),
        lambda lines: charged(lines).update(release_class="governed"),
        lambda lines: charged(lines).update(epsilon=0.5),
        lambda lines: charged(lines).update(utc="2020-01-01T00:00:00+00:00"),
        lambda lines: lines.remove(charged(lines)),
    ],
    ids=["uncharged", "repeat", "public", "status", "governed", "cheap", "early", "missing"],
)
def test_an_outbox_that_differs_from_the_charges_is_refuted(
    handed: HandedOver, change: Callable[[list[dict[str, object]]], None]
) -> None:
    change_outbox(handed, change)
    assert failed(recount(handed)) == {"outbox"}


def reply_file(handed: HandedOver, number: int, name: str = "elm", stage: str = "train") -> Path:
    return handed.run_folder / "replies" / stage / f"{number:04d}" / f"{name}.safetensors"


def rewrite_reply(handed: HandedOver, number: int, **changes: object) -> None:
    """Another update in the coordinator's journal, signed by the site itself."""
    path = reply_file(handed, number)
    with safe_open(path, framework="np") as stored:
        text = dict(stored.metadata())
    reply = replace(read_held(handed.run_folder, "elm").replies["train", number], **changes)
    text |= {"signature": handed.site().key.sign(signed_bytes(reply)), "ledger_head": reply.ledger_head}
    text["charges"] = str(reply.charges)
    save_file({"total": np.ascontiguousarray(reply.total)}, path, metadata=text)


def test_an_update_that_was_never_charged_is_found_in_the_run_folder(handed: HandedOver) -> None:
    total = read_held(handed.run_folder, "elm").replies["train", 2].total * np.float32(0.5)
    rewrite_reply(handed, 2, total=total)
    found = recount(handed)
    assert failed(found) == {"held", "rounds"}
    assert "was not charged" in found["held"].because
    assert "committed with another total" in found["held"].because


def test_a_site_that_tells_fewer_charges_than_its_ledger_holds_is_found(handed: HandedOver) -> None:
    rewrite_reply(handed, 2, charges=2)
    found = recount(handed)
    assert failed(found) == {"held"}
    assert "another number of charges" in found["held"].because


def test_an_update_signed_by_somebody_else_is_found(handed: HandedOver) -> None:
    shutil.copyfile(reply_file(handed, 1, "fir"), reply_file(handed, 1))
    found = recount(handed)
    assert failed(found) == {"held", "rounds"}
    assert "not signed by the site" in found["held"].because


def test_an_answer_that_the_coordinator_rejected_is_not_held_against_the_site(
    handed: HandedOver,
) -> None:
    path = reply_file(handed, 3)
    path.parent.mkdir()
    with safe_open(reply_file(handed, 2, "fir"), framework="np") as stored:
        forged = dict(stored.metadata()) | {"rejected": "protocol.bad-signature"}
        save_file({"total": stored.get_tensor("total")}, path, metadata=forged)
    assert failed(recount(handed)) == set()
    path.write_bytes(b"no such file")
    with pytest.raises(AuditError, match="cannot be read"):
        recount(handed)


def test_rounds_in_another_order_than_the_ledger_are_found(handed: HandedOver) -> None:
    first_round, second = (reply_file(handed, number) for number in (1, 2))
    held = first_round.read_bytes()
    first_round.write_bytes(second.read_bytes())
    second.write_bytes(held)
    found = recount(handed)
    assert failed(found) == {"held", "rounds", "weights"}
    assert "reply of train, round 1 names train, round 2" in found["held"].because
    assert "successive rounds of train are not in the ledger's order" in found["held"].because


def test_a_table_that_was_changed_after_it_left_is_found(handed: HandedOver) -> None:
    path = reply_file(handed, 1, stage="internal")
    with safe_open(path, framework="np") as stored:
        text, table = dict(stored.metadata()), stored.get_tensor("total")
    table[0] += 1.0
    save_file({"total": table}, path, metadata=text)
    assert failed(recount(handed)) == {"held"}


def charged_as_prospective(rows: Rows) -> Rows:
    return [
        replace(row, stage="prospective", purpose="evaluate.prospective")
        if row.stage == "internal"
        else row
        for row in rows
    ]


def charged_for_another_request(rows: Rows) -> Rows:
    return [
        replace(row, request_sha256="7" * 64) if row.stage == "internal" and row.request_sha256 else row
        for row in rows
    ]


@pytest.mark.parametrize(
    ("forge", "because"),
    [
        (charged_for_another_request, "internal, round 1 does not answer the request that was charged"),
        (governed_instead_of_dp, "reply of internal, round 1 is of class dp, charged governed"),
        (charged_as_prospective, "reply of internal, round 1 was charged as prospective, round 1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_reply_that_was_charged_as_another_thing_is_found(
    handed: HandedOver, forge: Callable[[Rows], Rows], because: str
) -> None:
    handed.forge_ledger(forge(handed.rows()))
    assert because in recount(handed)["held"].because


def test_a_payload_hash_can_be_derived_from_what_the_coordinator_stores(made_run: HandedOver) -> None:
    held = read_held(made_run.run_folder, "elm")
    left = {row.payload_sha256 for row in made_run.rows() if row.payload_sha256}
    assert {payload_sha256(each) for each in held.replies.values()} == left


def test_a_release_of_another_plan_or_with_other_weights_is_refuted(handed: HandedOver) -> None:
    weights = handed.run_folder / "release" / "weights.npy"
    np.save(weights, np.load(weights) * 2)
    found = recount(handed)
    # the statement names a release that can no longer be read
    assert failed(found) == {"release", "statement"}
    assert "do not belong together" in found["release"].because


def restate(handed: HandedOver, **changes: dict[str, object]) -> None:
    """The site signs another statement than its files support."""
    statement = open_statement(read_statement(handed.statement()))
    content = statement.model_dump(mode="json", by_alias=True)
    for part, values in changes.items():
        if isinstance(content["predicate"][part], dict):
            content["predicate"][part] |= values
        else:
            content["predicate"][part] = values
    forged = type(statement).model_validate(content)
    write_statement(handed.statement(), sign_statement(forged, handed.site().key))


@pytest.mark.parametrize(
    "changes",
    [
        {"cost": {"training_epsilon": 2 * 2.994}},
        {"cost": {"training_epsilon": 1.497}},
        {"cost": {"run_epsilon": 1.497}},
        {"cost": {"run_epsilon": 9.0}},
        {"cost": {"run_epsilon": None}},
        {"cost": {"planned_epsilon": 1.0}},
        {"cost": {"delta": 1e-4}},
        {"lifetime": {"epsilon": 1.0}},
        {"lifetime": {"epsilon": 4.6}},
        {"lifetime": {"n_unprotected": 3}},
        {"lifetime": {"epsilon_cap": 20.0}},
        {"lifetime": {"delta_cap": 1e-4}},
        {"mechanism": {"noise_multipliers": [9.0]}},
        {"mechanism": {"clip_norm": 0.1}},
        {"mechanism": {"steps": 1}},
        {"declared_patients": 10_000},
        {"run": "another-run"},
        {"role": "external"},
        {"cohorts": []},
        {"releases": []},
        {"governed_by": ["Ada Lovelace"]},
        {"ledger": {"head_sha256": "5" * 64}},
        {"ledger": {"head_index": 2}},
    ],
    ids=str,
)
def test_a_statement_that_says_another_thing_than_the_files_is_refuted(
    handed: HandedOver, changes: dict[str, dict[str, object]]
) -> None:
    restate(handed, **changes)
    assert failed(recount(handed)) == {"statement"}


def test_a_repeated_verdict_holds_only_with_the_signed_report_that_gives_it(
    handed: HandedOver, tmp_path: Path
) -> None:
    auditor, stranger = (create_key(tmp_path / f"{name}.pem") for name in ("auditor", "stranger"))
    report = signed_report(handed, tmp_path, auditor, elm="fail")

    def judged(verdict: str, *reports: Path, key: SigningKey = auditor) -> Finding:
        audit = {"method": "canary", "verdict": verdict, "auditor_key": key.public_hex}
        restate(handed, audits=[audit | {"report_sha256": hash_file(report)}])
        return recount(handed, reports=reports)["statement"]

    assert judged("fail", report).verdict == "pass"
    for found, said in (
        (judged("fail"), "was not handed over"),
        (judged("pass", report), "is not the one it repeats"),
        (judged("fail", report, key=stranger), "has not signed"),
    ):
        assert found.verdict == "fail"
        assert said in found.because


def test_a_cap_that_the_export_and_the_statement_tell_differently_is_refuted(
    handed: HandedOver,
) -> None:
    account = handed.export().account
    for changes in ({"epsilon_cap": account.epsilon_cap + 5}, {"delta": account.delta / 2}):
        other = account.model_copy(update=changes)
        handed.forge_ledger(
            handed.rows(),
            account=other,
            countersignatures=handed.export().countersignatures,
        )
        statement = recount(handed)["statement"]
        assert statement.verdict == "fail"
        assert "lifetime cap" in statement.because
        assert "the ledger was exported under" in statement.because


def test_a_statement_edited_after_it_was_signed_is_refuted(handed: HandedOver) -> None:
    shutil.copyfile(handed.statement("fir"), handed.statement("elm"))
    evidence = replace(handed.evidence("elm", statements=[]), statement=handed.statement())
    found = recount_site(handed.plan, evidence)[-1]
    assert found.verdict == "fail"
    assert "has not signed" in found.because


def test_files_of_strangers_or_twice_of_one_site_are_refused(handed: HandedOver) -> None:
    with pytest.raises(AuditError, match="two files"):
        handed.evidence(ledgers=[handed.ledger(), handed.ledger()])
    with pytest.raises(AuditError, match="unlike"):
        handed.evidence("elm", statements=[handed.statement("fir")])
    handed.ledger().write_text("{}")
    with pytest.raises(AuditError, match="not a ledger export"):
        handed.evidence()
    with pytest.raises(AuditError, match="is not a run folder"):
        gather_evidence(handed.plan, ledgers=[handed.ledger("fir")], run_folder=handed.folder)


def test_a_statement_remains_true_when_the_ledger_grows(handed: HandedOver) -> None:
    rows = handed.rows()
    later = replace(rows[first(rows, "charge")], plan_sha256="8" * 64, run="later", request_sha256="9")
    handed.forge_ledger([*rows, later], countersignatures=handed.export().countersignatures)
    found = recount(handed, run_folder=None, outboxes={})
    assert found["statement"].verdict == "pass", found["statement"].because


def test_a_statement_may_not_forget_what_other_runs_have_cost(handed: HandedOver) -> None:
    rows = handed.rows()
    earlier = replace(
        rows[first(rows, "charge")], plan_sha256="8" * 64, run="other", request_sha256="9"
    )
    handed.forge_ledger([*rows, earlier], countersignatures=handed.export().countersignatures)
    last = handed.rows()[-1]
    restate(handed, ledger={"head_sha256": last.sha256, "head_index": last.index})
    statement = recount(handed)["statement"]
    assert statement.verdict == "fail"
    assert "lifetime epsilon 2.99" in statement.because


def test_a_site_that_has_replaced_its_key_is_recounted_under_either(handed: HandedOver) -> None:
    old = handed.site().key
    rotate_key(handed.site(), by="Ada Lovelace")
    handed.hand_over("elm")
    new = handed.site().key.public_hex
    for trusted in (old.public_hex, new):
        found = recount(handed, site_keys={"elm": trusted})
        assert {finding.verdict for finding in found.values()} == {"pass"}
    write_statement(
        handed.statement(), sign_statement(open_statement(read_statement(handed.statement())), old)
    )
    found = recount(handed)
    assert failed(found) == {"statement"}
    assert "not in force" in found["statement"].because


def test_evidence_says_whether_a_key_is_known_or_only_named(made_run: HandedOver) -> None:
    key = made_run.plan.entry("elm").public_key
    named, known = made_run.evidence(), made_run.evidence(site_keys={"elm": key})
    assert isinstance(named, SiteEvidence)
    assert "named by the plan's roster only" in recount_site(made_run.plan, named)[0].because
    assert "known from enrolment" in recount_site(made_run.plan, known)[0].because


def test_a_clone_that_answered_is_seen_by_two_rows_at_one_place(handed: HandedOver) -> None:
    rows = handed.rows()
    place = first(rows, "outcome")
    handed.forge_ledger(edit(rows, place, nonce="0" * 32))
    because = recount(handed)["held"].because
    assert f"forked: row {place} of the export is not what the coordinator was shown" in because


def test_a_charge_with_two_answers_of_which_one_is_a_refusal_is_named(handed: HandedOver) -> None:
    rows = handed.rows()
    answer = rows[first(rows, "outcome")]
    refusal = replace(answer, status="osteofed.internal", payload_sha256="9" * 64)
    handed.forge_ledger([*rows, refusal])
    found = [
        each for each in recount_site(handed.plan, handed.evidence()) if "one charge" in each.claim
    ]
    assert [each.verdict for each in found] == ["fail"]
    assert f"second release on the charge of row {answer.charge_index}" in found[0].because
