"""The ClientApp from outside: whatever goes wrong, a code leaves and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from practice_offline import key_of
from table_site import TableSites

import client.answers.hello
import client.site.approved
from client.app import app
from client.site.approved import Approved
from server.engines.local import LocalGrid
from shared.contract.protocol import (
    Hello,
    HelloReply,
    Refusal,
    SumReply,
    WeightsChunk,
    WeightsReply,
    from_record,
    signed_bytes,
    to_record,
)
from shared.signing.canonical import sha256_hex
from shared.signing.code_hash import installed_code_hash
from shared.signing.countersign import countersign
from shared.signing.keys import verify

SECRET = "Erika Mustermann /archive/4711.dcm"


def send(
    folder: Path | None,
    record: RecordDict,
    message_type: str,
    *,
    run_config: Mapping[str, object] | None = None,
) -> Message:
    """What the site's ClientApp answers to one message of the coordinator."""
    grid = LocalGrid(app, {"elm": folder or Path()})
    grid._contexts[2].run_config = dict(run_config or {})
    if folder is None:
        grid._contexts[2].node_config = {}
    message = grid.create_message(record, message_type, 2, "test", 60.0)
    [reply] = grid.send_and_receive([message])
    return reply


def refusal_of(reply: Message) -> Refusal:
    return from_record(reply.content, Refusal)


def test_every_kind_of_message_is_answered_by_its_handler_and_signed(sites: TableSites) -> None:
    folder, public = sites.folder / "sites" / "elm", sites.site().key.public_hex
    hello = Hello(plan_sha256=sites.plan_sha256, nonce="n" * 32)
    answers = [
        from_record(send(folder, to_record(hello), "query.hello").content, HelloReply),
        from_record(send(folder, to_record(sites.train_request()), "train").content, SumReply),
        from_record(send(folder, to_record(sites.measure_request()), "train").content, SumReply),
    ]
    for answer in answers:
        assert verify(public, signed_bytes(answer), answer.signature)
        assert answer.site == "elm"
    assert isinstance(answers[0], HelloReply)
    assert (answers[0].nonce, answers[0].code_sha256) == ("n" * 32, installed_code_hash())
    kinds = [departure.release_class for departure in sites.gate().outbox.show()]
    assert kinds == ["public", "dp", "dp"]


def test_a_hello_names_the_newest_head_that_the_coordinator_has_countersigned_under_this_plan(
    sites: TableSites,
) -> None:
    folder = sites.folder / "sites" / "elm"
    hello = to_record(Hello(plan_sha256=sites.plan_sha256, nonce="n" * 32))

    def told() -> str:
        return from_record(send(folder, hello, "query.hello").content, HelloReply).countersigned

    assert told() == ""
    sites.answer(sites.train_request())
    ledger, key = sites.gate().ledger, key_of(sites)
    head = ledger.head().sha256
    for plan_sha256 in (sites.plan_sha256, "9" * 64):
        signature = countersign(key, site="elm", plan_sha256=plan_sha256, ledger_head=head)
        ledger.record_countersignature(
            head, signature, plan_sha256=plan_sha256, coordinator_key=key.public_hex
        )
        assert told() == head
    rows = [each.plan_sha256 for each in ledger.countersignatures()]
    assert rows[-1] == "9" * 64, "of another plan, which this hello is not about"


@pytest.mark.parametrize("damage", ["garbage", "no-folder", "not-a-site", "no-policy", "other-plan"])
def test_what_cannot_be_answered_is_refused_with_a_code(sites: TableSites, damage: str) -> None:
    folder: Path | None = sites.folder / "sites" / "elm"
    record, code = to_record(sites.train_request()), ""
    if damage == "garbage":
        record, code = RecordDict(), "protocol."
    elif damage == "no-folder":
        folder, code = None, "engine.no-site-folder"
    elif damage == "not-a-site":
        folder, code = sites.folder / SECRET.replace("/", "_"), "intake.no-site"
    elif damage == "no-policy":
        (sites.folder / "sites" / "elm" / "policy.yaml").unlink()
        code = "policy."
    else:
        record, code = to_record(sites.train_request(plan_sha256="a" * 64)), "plan.not-approved"
    reply = send(folder, record, "train")
    assert refusal_of(reply).code.startswith(code)
    assert not reply.has_error()


@pytest.mark.parametrize(
    "run_config", [{"noise-multiplier": 0.0}, {"run-folder": "r", "stage": "train", "site-folder": "/"}]
)
def test_a_run_that_sets_what_only_plan_or_policy_may_set_is_refused_and_charges_nothing(
    sites: TableSites, run_config: dict[str, object]
) -> None:
    folder = sites.folder / "sites" / "elm"
    reply = send(folder, to_record(sites.train_request()), "train", run_config=run_config)
    assert refusal_of(reply).code == "protocol.unknown-run-setting"
    assert sites.charges() == 0


def test_a_run_with_this_projects_settings_is_answered(sites: TableSites) -> None:
    folder = sites.folder / "sites" / "elm"
    known = {"run-folder": "/somewhere", "stage": "train"}
    reply = send(folder, to_record(sites.train_request()), "train", run_config=known)
    assert from_record(reply.content, SumReply).site == "elm"


def test_the_text_of_an_unexpected_error_stays_in_the_sites_log(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(client.site.approved, "installed_code_hash", fail)
    folder = sites.folder / "sites" / "elm"
    hello = Hello(plan_sha256=sites.plan_sha256, nonce="n" * 32)
    reply = send(folder, to_record(hello), "query.hello")
    refusal = refusal_of(reply)
    assert refusal.code == "osteofed.internal"
    assert "Mustermann" not in repr(reply.content)
    [line] = (folder / "log" / "refusals.jsonl").read_text().splitlines()
    assert json.loads(line)["correlation_id"] == refusal.correlation_id
    assert "Mustermann" in line


def test_pieces_of_an_encoder_count_only_when_the_whole_has_the_plans_hash(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.random.default_rng(1).bytes(1000)
    site = sites.site()
    digest = sha256_hex(whole)
    encoder = sites.plan.settings.encoder.model_copy(update={"sha256": digest})
    settings = sites.plan.settings.model_copy(update={"encoder": encoder})
    plan = sites.plan.model_copy(update={"encoder_sha256": digest, "settings": settings})
    monkeypatch.setattr(client.answers.hello, "approved_plan", lambda *_: Approved(site, plan))
    cached = site.encoder_file(sha256_hex(whole))

    def push(index: int, data: bytes, *, file: bytes = whole, n_chunks: int = 2) -> Message:
        chunk = WeightsChunk(
            plan_sha256=plan.sha256,
            file_sha256=sha256_hex(file),
            index=index,
            n_chunks=n_chunks,
            data=data,
        )
        return send(site.folder, to_record(chunk), "query.weights")

    assert refusal_of(push(0, b"x", file=b"another")).code == "protocol.unwanted-weights"
    assert refusal_of(push(2, b"x")).code == "protocol.unwanted-weights"
    assert not from_record(push(1, whole[600:]).content, WeightsReply).is_complete
    assert refusal_of(push(0, whole[:599] + b"?")).code == "weights.wrong-hash"
    assert not cached.exists()
    assert not from_record(push(0, whole[:600]).content, WeightsReply).is_complete
    assert from_record(push(1, whole[600:]).content, WeightsReply).is_complete
    assert cached.read_bytes() == whole
    again = push(0, b"y" * 600)
    assert from_record(again.content, WeightsReply).is_complete
    assert [path.name for path in cached.parent.iterdir()] == [cached.name], "nothing more is kept"
    assert cached.read_bytes() == whole
