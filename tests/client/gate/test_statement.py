"""The signed statement: what it says, that it says it of the files, and that no byte can be changed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from handed_over import RUN, HandedOver, signed_report
from table_site import TableSites, found_table_sites

from client.answers.answer import charge_for
from client.gate.statement import SignedAudit, _cost, _ledger_state, make_statement, state_run
from client.site.approved import approved_plan
from shared.contract.release import read_release
from shared.errors import AuditError
from shared.privacy.accountant import gaussian_epsilon
from shared.privacy.events import GaussianEvent
from shared.privacy.ledger_format import Countersignature
from shared.privacy.statement import (
    PAYLOAD_TYPE,
    countersign_statement,
    read_statement,
    verify_statement,
    write_statement,
)
from shared.privacy.statement_text import statement_text
from shared.signing.canonical import hash_file
from shared.signing.envelope import Envelope, Signature, add_signature, pre_auth_encoding, read_envelope
from shared.signing.keys import create_key


def site_key(handed: HandedOver, name: str = "elm") -> str:
    return handed.plan.entry(name).public_key


def test_pre_auth_encoding_is_that_of_the_standard() -> None:
    # the example of DSSE's protocol.md
    made = pre_auth_encoding("http://example.com/HelloWorld", b"hello world")
    assert made == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_another_program_can_verify_and_read_a_statement(made_run: HandedOver) -> None:
    content = json.loads(made_run.statement().read_text())
    assert set(content) == {"payload", "payloadType", "signatures"}
    payload, kind = base64.b64decode(content["payload"]), content["payloadType"].encode()
    assert kind == b"application/vnd.in-toto+json"
    signed = b" ".join([b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload])
    (signature,) = content["signatures"]
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(site_key(made_run)))
    key.verify(base64.b64decode(signature["sig"]), signed)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"].startswith("urn:")
    assert {"name", "digest"} == set(statement["subject"][0])


def test_subjects_are_what_left_and_the_release_that_was_measured(made_run: HandedOver) -> None:
    statement = verify_statement(made_run.statement(), site_key(made_run))
    release = read_release(
        made_run.run_folder / "release", coordinator_key=made_run.plan.coordinator_key
    )
    left = {row.payload_sha256 for row in made_run.rows() if row.payload_sha256}
    assert len(left) == 3
    assert {each.sha256 for each in statement.subject} == left | {release.sha256}
    names = [each.name for each in statement.subject]
    assert names[:2] == ["train, round 1, ledger row 1", "train, round 2, ledger row 3"]


def test_of_the_countersigned_heads_the_furthest_is_stated() -> None:
    rows = [SimpleNamespace(sha256=f"{index}" * 64, index=index) for index in range(4)]
    heads = [
        Countersignature(
            head_sha256=rows[index].sha256,
            plan_sha256="a" * 64,
            coordinator_key="b" * 64,
            signature="c" * 128,
        )
        for index in (1, 2, 0)
    ]
    stated = _ledger_state(SimpleNamespace(countersignatures=lambda: tuple(heads)), rows)
    assert stated.countersigned is not None
    assert (stated.countersigned.index, stated.head_index) == (2, 3)


def test_exact_figures_of_a_validation_leave_a_run_without_an_epsilon(made_run: HandedOver) -> None:
    plan = made_run.plan
    charges = [
        SimpleNamespace(purpose="train", event=GaussianEvent(noise_multiplier=4.0)),
        SimpleNamespace(purpose="evaluate.internal", event=None),
    ]
    cost = _cost(SimpleNamespace(), plan, plan.entry("elm"), charges)
    assert (cost.n_unprotected, cost.run_epsilon) == (1, None)
    assert cost.training_epsilon == pytest.approx(
        gaussian_epsilon(1 / 4.0, plan.predicted.delta), abs=1e-6
    )


def test_epsilons_are_those_of_the_charges(made_run: HandedOver) -> None:
    predicate = verify_statement(made_run.statement(), site_key(made_run)).predicate
    training = made_run.plan.training
    assert training is not None
    noise = training.noise_multiplier
    # two full-batch rounds of one step: μ = √2/σ
    trained = gaussian_epsilon(2**0.5 / noise, 1e-5)
    assert predicate.cost.training_epsilon == pytest.approx(trained, abs=1e-9)
    # training and validation splits share no patient, so the dearest pays for one of them
    assert predicate.cost.run_epsilon == pytest.approx(trained, abs=1e-9)
    assert predicate.lifetime.epsilon == pytest.approx(trained, abs=1e-9)
    external = verify_statement(made_run.statement("hop"), site_key(made_run, "hop")).predicate
    assert external.mechanism is None
    assert external.cost.training_epsilon == 0.0
    table = made_run.plan.predicted.validation_epsilon
    assert external.cost.run_epsilon == pytest.approx(table, abs=1e-9)


def test_a_reply_that_was_sent_again_is_stated_again_and_costs_nothing(sites: TableSites) -> None:
    request = sites.train_request()
    for _ in range(2):
        sites.answer(request)
    first, again = make_statement(sites.site(), RUN).predicate.releases
    assert (first.release_class, again.release_class, again.epsilon) == ("dp", "repeat", 0.0)
    assert first.payload_sha256 == again.payload_sha256


def test_every_epsilon_comes_with_its_qualifiers_and_no_count_of_patients(
    made_run: HandedOver,
) -> None:
    predicate = verify_statement(made_run.statement(), site_key(made_run)).predicate
    assert (predicate.unit, predicate.adjacency) == ("patient", "add/remove")
    assert (predicate.cost.delta, predicate.trust_tier) == (1e-5, "T1 local")
    assert predicate.cost.accountant == "exact Gaussian"
    assert predicate.cost.accountant_version.startswith("scipy ")
    assert predicate.software.code_sha256 == predicate.software.plan_code_sha256
    assert predicate.ledger.countersigned is not None
    assert predicate.declared_patients == 100
    assert whole_numbers(predicate.model_dump(mode="json")) == {
        "version",
        "declared_patients",
        "n_unprotected",
        "steps",
        "rounds",
        "head_index",
        "index",
        "public",
    }
    for members in (made_run.folder / "sites" / "elm" / "ledger" / "members").glob("*.json"):
        assert not any(
            patient in predicate.model_dump_json() for patient in json.loads(members.read_text())
        )


def whole_numbers(value: object, name: str = "") -> set[str]:
    """Names of all whole numbers in a JSON value: where a count could hide."""
    if isinstance(value, dict):
        return set().union(*(whole_numbers(item, key) for key, item in value.items()))
    if isinstance(value, list):
        return set().union(*(whole_numbers(item, name) for item in value))
    return {name} if isinstance(value, int) else set()


@pytest.fixture
def small(made_run: HandedOver, tmp_path: Path) -> Path:
    """A statement with both signatures."""
    envelope = countersign_statement(read_statement(made_run.statement()), made_run.coordinator)
    path = tmp_path / "statement.json"
    write_statement(path, envelope)
    return path


def test_site_and_coordinator_are_both_verified(made_run: HandedOver, small: Path) -> None:
    coordinator = made_run.plan.coordinator_key
    assert verify_statement(small, site_key(made_run), coordinator) == verify_statement(
        made_run.statement(), site_key(made_run)
    )
    with pytest.raises(AuditError, match="has not signed"):
        verify_statement(made_run.statement(), site_key(made_run), coordinator)
    with pytest.raises(AuditError, match="has not signed"):
        verify_statement(small, site_key(made_run, "fir"))
    again = countersign_statement(read_statement(small), made_run.coordinator)
    assert again == read_statement(small)


def test_no_byte_of_a_statement_can_be_changed(
    made_run: HandedOver, small: Path, tmp_path: Path
) -> None:
    data, key = small.read_bytes(), site_key(made_run)
    changed = tmp_path / "changed.json"
    payload = json.loads(data)["payload"].encode()
    start = data.index(payload)
    inside = range(start, start + len(payload), 7)
    outside = [place for place in range(len(data)) if not start <= place < start + len(payload)]
    assert len(outside) > 400
    for place in (*outside, *inside):
        changed.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(AuditError):
            verify_statement(changed, key)
    for edited in (
        data[:-1],
        data + b"\n",
        data.replace(b'","', b'", "', 1),
        data.replace(b"a", b"A", 1),
    ):
        changed.write_bytes(edited)
        with pytest.raises(AuditError):
            verify_statement(changed, key)


def test_a_forged_second_signature_is_noticed_even_by_who_does_not_ask_for_it(
    made_run: HandedOver, tmp_path: Path
) -> None:
    envelope = read_statement(made_run.statement())
    stranger = create_key(tmp_path / "stranger.pem")
    for forged in (
        Signature(public_key=made_run.plan.coordinator_key, signature=stranger.sign(b"else")),
        envelope.signatures[0],
        Signature(
            stranger.public_hex.upper(), add_signature(envelope, stranger).signatures[1].signature
        ),
    ):
        write_statement(
            tmp_path / "forged.json", replace(envelope, signatures=(*envelope.signatures, forged))
        )
        with pytest.raises(AuditError, match="not of this content"):
            verify_statement(tmp_path / "forged.json", site_key(made_run))


def test_an_envelope_of_something_else_is_no_statement(made_run: HandedOver, tmp_path: Path) -> None:
    key = made_run.site().key
    for kind, payload in ((PAYLOAD_TYPE, b"{}"), ("text/plain", b"hello")):
        write_statement(tmp_path / "else.json", add_signature(Envelope(kind, payload), key))
        with pytest.raises(AuditError):
            verify_statement(tmp_path / "else.json", key.public_hex)
    with pytest.raises(AuditError, match="not a signed envelope"):
        read_envelope(made_run.ledger(), payload_type=PAYLOAD_TYPE)


def test_the_page_is_one_page_made_from_the_predicate_alone(made_run: HandedOver) -> None:
    statement = verify_statement(made_run.statement(), site_key(made_run))
    text = made_run.statement().with_suffix(".txt").read_text()
    assert text == statement_text(statement.predicate)
    assert len(text.splitlines()) <= 66
    assert max(len(line) for line in text.splitlines()) <= 96
    for words in (
        "epsilon 2.994",
        "delta",
        "patient",
        "add/remove",
        "T1 local",
        "not a medical device",
    ):
        assert words in text
    for caveat in statement.predicate.caveats:
        assert caveat.split()[0] in text


def test_privacy_off_is_said_in_words(tmp_path: Path) -> None:
    sites: TableSites = found_table_sites(tmp_path, "privacy=off")
    sites.change_policy(allows_privacy_off=True)
    sites.answer(sites.train_request())
    out = tmp_path / "statement.json"
    predicate = state_run(sites.site(), RUN, out).predicate
    assert predicate.guarantee == "no formal privacy guarantee: the run trained without noise"
    assert (predicate.cost.training_epsilon, predicate.cost.run_epsilon) == (None, None)
    assert (predicate.cost.n_unprotected, predicate.lifetime.n_unprotected) == (1, 1)
    text = out.with_suffix(".txt").read_text()
    promised, _, rest = text.partition("\nHow\n")
    assert "no formal privacy guarantee" in promised
    for word in ("epsilon", "delta", "Gaussian", "adjacency"):
        assert word not in promised.partition("What a patient is promised")[2], word
    assert "epsilon 0.000" not in rest


def test_verdicts_about_this_site_are_repeated_from_what_an_auditor_signed(
    made_run: HandedOver, tmp_path: Path
) -> None:
    auditor = create_key(tmp_path / "auditor.pem")
    path = signed_report(made_run, tmp_path, auditor, elm="fail", fir="pass")
    signed = SignedAudit(path, auditor.public_hex)
    (audit,) = make_statement(made_run.site(), RUN, audit=signed).predicate.audits
    assert (audit.method, audit.verdict) == ("canary", "fail")
    assert (audit.auditor_key, audit.report_sha256) == (auditor.public_hex, hash_file(path))


def test_a_verdict_that_nobody_signed_or_of_another_plan_or_site_is_not_stated(
    made_run: HandedOver, tmp_path: Path
) -> None:
    auditor, stranger = (create_key(tmp_path / f"{name}.pem") for name in ("auditor", "stranger"))
    other_plan = made_run.plan.model_copy(update={"run": "other"})
    other_plan.__dict__.pop("sha256", None)
    genuine = signed_report(made_run, tmp_path / "a", auditor, elm="pass")
    edited = tmp_path / "edited.json"
    edited.write_bytes(genuine.read_bytes().replace(b'"payload":"', b'"payload":"e30', 1))
    findings = tmp_path / "a" / "findings" / "canary.json"
    for path, key, code in (
        (genuine, stranger, "audit.signer-missing"),
        (edited, auditor, "audit.unreadable-envelope"),
        (findings, auditor, "audit.unreadable-envelope"),
        (
            signed_report(made_run, tmp_path / "b", auditor, plan=other_plan, elm="pass"),
            auditor,
            "audit.other-report",
        ),
        (
            signed_report(made_run, tmp_path / "c", auditor, fir="pass"),
            auditor,
            "audit.other-report",
        ),
    ):
        with pytest.raises(AuditError) as caught:
            make_statement(made_run.site(), RUN, audit=SignedAudit(path, key.public_hex))
        assert caught.value.code == code


def test_a_run_that_is_unknown_or_let_nothing_out_cannot_be_stated(
    made_run: HandedOver, tmp_path: Path
) -> None:
    with pytest.raises(AuditError, match="exactly one run spring"):
        make_statement(made_run.site(), "spring")
    by_hash = make_statement(made_run.site(), made_run.plan.sha256)
    assert by_hash.predicate.run == RUN
    sites = found_table_sites(tmp_path)
    request = sites.train_request()
    approved = approved_plan(sites.site(), sites.plan_sha256)
    charge = charge_for(approved, sites.plan.stage("train"), request, canaries_sha256="")
    gate, members = sites.gate(), [f"P{n}" for n in range(60)]
    gate.ledger.charge(charge, members=members, allowance=gate.policy.allowance)
    with pytest.raises(AuditError, match="nothing about patients has left"):
        make_statement(sites.site(), RUN)


def test_the_command_writes_envelope_and_page(made_run: HandedOver, tmp_path: Path) -> None:
    out = tmp_path / "elm.json"
    folder = str(made_run.folder / "sites" / "elm")
    arguments = ["statement", RUN, "--out", str(out), "--folder", folder, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from client.command.app import app; app()", *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["guarantee"] == "differential privacy for all that left about patients"
    assert verify_statement(out, site_key(made_run)).predicate.run == RUN
    assert out.with_suffix(".txt").exists()
