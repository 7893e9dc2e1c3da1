"""Writes the test vectors by the code that writes the real files: ``make vectors``.

Nothing is drawn: the keys are practice keys (the 32 secret bytes are the SHA-256 of
``osteofed practice key NAME``), random bytes are counted, times are whole hours. So the same code
writes the same bytes, and a test tells when a format changed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from client.gate.gate import _departure
from client.gate.outbox import Outbox
from server.federation.compose import compose_settings
from shared.contract.payload import pack, payload_sha256, unsealed
from shared.contract.plan import Plan, write_plan
from shared.contract.protocol import (
    PROTOCOL_VERSION,
    HelloReply,
    Refusal,
    SumReply,
    SumRequest,
    WeightsReply,
    Wire,
    request_sha256,
    signed_bytes,
    vector_sha256,
)
from shared.privacy.cost import event_of
from shared.privacy.ledger_format import GENESIS, RELEASED, LedgerRow, members_sha256
from shared.privacy.statement import Artefact, Statement, countersign_statement, sign_statement
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.countersign import _content as countersigned_bytes
from shared.signing.envelope import encode_envelope, pre_auth_encoding
from tests.practice.practice_plan import plan_of
from tests.practice.practice_statement import predicate
from tests.vectors.ledgers import (
    COORDINATOR,
    ELM,
    HOUR,
    SITE,
    Vector,
    ledger_vectors,
    practice_key,
    row_after,
    seen_head,
)

FOLDER = Path(__file__).resolve().parent
EPSILON = 0.875  # of a departure; any number


@dataclass(frozen=True)
class Run:
    """One round of one run, whose documents name each other."""

    plan: Plan
    plan_file: str
    rows: tuple[LedgerRow, ...]
    request: SumRequest
    reply: SumReply


def play(folder: Path) -> Run:
    """A plan, a request for its first round, the charge, the reply and the outcome."""
    plan = practice_plan()
    write_plan(folder / "plan.json", plan, COORDINATOR)
    opened = row_after(None, "opened", place_sha256=sha256_hex(b"practice place"))
    state = np.array([0.25, -1.5, 3e-5], dtype="<f4")
    request = SumRequest(
        plan_sha256=plan.sha256,
        stage="train",
        round=1,
        vector=state,
        release_sha256="",
        lock_sha256="",
        ledger_head=opened.sha256,
        countersignature=seen_head(opened, plan.sha256).signature,
    )
    reply = SumReply(
        plan_sha256=plan.sha256,
        stage="train",
        round=1,
        site=SITE,
        status="measured",
        release_class="dp",
        vector_sha256=vector_sha256(state),
        release_sha256="",
        total=np.array([0.5, 0.125, -2e-9], dtype="<f4"),
        ledger_head="",
    )
    charge = row_after(opened, "charge", **_charged(plan, request))
    outcome = row_after(charge, "outcome", **_about(charge, payload_sha256=payload_sha256(reply)))
    sealed = replace(reply, ledger_head=outcome.sha256, ledger_index=outcome.index)
    return Run(
        plan=plan,
        plan_file=(folder / "plan.json").read_text(),
        rows=(opened, charge, outcome),
        request=request,
        reply=replace(sealed, signature=ELM.sign(signed_bytes(sealed))),
    )


def practice_plan() -> Plan:
    """A plan over clinical fields; what it predicts is rounded, so that every machine says the same."""
    settings = compose_settings(["encoder=none", "fusion=clinical_only"])
    drafted = plan_of(settings, {SITE: 400, "fir": 300}, external="hop").model_dump(mode="json")
    for name, value in drafted["predicted"].items():
        drafted["predicted"][name] = round(value, 3) if name.endswith("epsilon") else value
    for split in drafted["predicted"]["splits"]:
        split["epsilon"] = round(split["epsilon"], 3)
    for entry in drafted["roster"]:
        entry["public_key"] = practice_key(entry["site"]).public_hex
        entry["weight"] = round(entry["weight"], 6)
    return Plan.model_validate(drafted | {"coordinator_key": COORDINATOR.public_hex})


def request_vectors(run: Run) -> Iterator[Vector]:
    """A request to train; one to measure a locked release at a state of a learner."""
    measuring = replace(
        run.request,
        stage="prospective",
        vector=np.array([1.0, -0.1], dtype="<f8"),
        release_sha256="e" * 64,
        lock_sha256="d" * 64,
    )
    for name, request in (("run", run.request), ("of a locked release", measuring)):
        identity = {
            "plan_sha256": request.plan_sha256,
            "stage": request.stage,
            "round": str(request.round),
            "vector_sha256": vector_sha256(request.vector),
            "release_sha256": request.release_sha256,
            "lock_sha256": request.lock_sha256,
        }
        seen = countersigned_bytes(SITE, request.plan_sha256, request.ledger_head)
        yield {
            "format": "request",
            "name": name,
            "version": PROTOCOL_VERSION,
            "site": SITE,
            "trusted": [COORDINATOR.public_hex],
            "file": pack(request).decode(),
            "hashed": [[canonical_json(identity).decode(), request_sha256(request)]],
            "signed": [[COORDINATOR.public_hex, seen.decode(), request.countersignature]],
        }


def replies(run: Run) -> dict[str, Wire]:
    """Every message that leaves a site, by the name of its vector."""
    plan = run.plan.sha256
    hello = HelloReply(
        plan_sha256=plan, nonce="f" * 64, site=SITE, code_sha256="c" * 64, has_encoder=True
    )
    weights = WeightsReply(plan_sha256=plan, site=SITE, index=0, is_complete=False)
    waiting = replace(run.reply, status="waiting", total=np.zeros(0, dtype="<f8"), signature="")
    signed = {"hello": hello, "a piece of an encoder": weights, "nothing to measure yet": waiting}
    refused = Refusal(
        plan_sha256=plan, site=SITE, code="privacy.budget-exhausted", correlation_id="0" * 16
    )
    made: dict[str, Wire] = {
        name: replace(message, signature=ELM.sign(signed_bytes(message)))  # type: ignore[type-var]
        for name, message in signed.items()
    }
    return {"run": run.reply, **made, "a refusal, which is not signed": refused}


def reply_vectors(run: Run) -> Iterator[Vector]:
    """Replies as they travel, as they are stored, as they are signed."""
    with tempfile.TemporaryDirectory() as found:
        outbox = Outbox(Path(found, "outbox"), Path(found, "replies"))
        for name, message in replies(run).items():
            stored = outbox_form(outbox, Path(found, "replies"), message)
            signed = []
            if not isinstance(message, Refusal):
                signed = [[ELM.public_hex, signed_bytes(message).decode(), message.signature]]
            yield {
                "format": "reply",
                "name": name,
                "version": PROTOCOL_VERSION,
                "trusted": [key for key, *_ in signed],
                "file": pack(message).decode(),
                "hashed": [[stored, payload_sha256(message)]],
                "signed": signed,
            }


def outbox_form(outbox: Outbox, folder: Path, message: Wire) -> str:
    """The bytes that the outbox stores of a message, as the gate hands it over."""
    outbox.store_reply(GENESIS, unsealed(message))
    return (folder / f"{GENESIS}.json").read_text()


def outbox_vectors(run: Run) -> Iterator[Vector]:
    """The log of what left: a hello, a refusal, and the total of the run."""
    made, hashed = replies(run), list[list[str]]()
    left = [
        (made["hello"], "query.hello", "public", 0.0),
        (made["a refusal, which is not signed"], "refusal", "status", 0.0),
        (run.reply, "train", "dp", EPSILON),
    ]
    with tempfile.TemporaryDirectory() as found:
        outbox = Outbox(Path(found), Path(found))
        for message, channel, release_class, epsilon in left:
            outbox.record(
                _departure(
                    message, utc=HOUR, channel=channel, release_class=release_class, epsilon=epsilon
                )
            )
        text = Path(found, "outbox.jsonl").read_text()
        for (message, *_), line in zip(left, text.splitlines(), strict=True):
            stored, sent = outbox_form(outbox, Path(found), message), pack(message)
            hashed.append([stored, payload_sha256(message)])
            hashed += [[said, sha256_hex(said.encode())] for said in (line, sent.decode())]
    yield {
        "format": "outbox",
        "name": "run",
        "file": text,
        "messages": [pack(message).decode() for message, *_ in left],
        "trusted": [],
        "hashed": hashed,
        "signed": [],
    }


def statement_vectors(run: Run) -> Iterator[Vector]:
    """A statement about the run, signed by the site, and by the coordinator after it."""
    charge, outcome = run.rows[-2:]
    left = {"utc": HOUR, "channel": "train", "release_class": "dp", "epsilon": EPSILON}
    stated = Statement(
        subject=(
            Artefact(
                name=f"train, round 1, ledger row {charge.index}",
                digest={"sha256": outcome.payload_sha256},
            ),
        ),
        predicate=predicate(
            site=SITE,
            run=run.plan.run,
            plan_sha256=run.plan.sha256,
            issued_utc=HOUR,
            cohorts=[{"cohort_id": charge.members_sha256, "purposes": ["train"]}],
            ledger={
                "head_sha256": outcome.sha256,
                "head_index": outcome.index,
                "countersigned": None,
            },
            releases=[left | {"payload_sha256": outcome.payload_sha256}],
        ),
    )
    once = sign_statement(stated, ELM)
    for name, envelope in (("run", once), ("countersigned", countersign_statement(once, COORDINATOR))):
        signed = pre_auth_encoding(envelope.payload_type, envelope.payload).decode()
        yield {
            "format": "statement",
            "name": name,
            "trusted": [each.public_key for each in envelope.signatures],
            "file": encode_envelope(envelope).decode(),
            "hashed": [],
            "signed": [[each.public_key, signed, each.signature] for each in envelope.signatures],
        }


def plan_vectors(run: Run) -> Iterator[Vector]:
    """The run's plan, and the same with a last day."""
    ends = Plan.model_validate(run.plan.model_dump(mode="json") | {"valid_until": "2026-12-31"})
    with tempfile.TemporaryDirectory() as folder:
        write_plan(Path(folder) / "plan.json", ends, COORDINATOR)
        file = (Path(folder) / "plan.json").read_text()
    for name, plan, text in (("run", run.plan, run.plan_file), ("with a last day", ends, file)):
        content, signature = plan.canonical().decode(), json.loads(text)["signature"]
        yield {
            "format": "plan",
            "name": name,
            "trusted": [COORDINATOR.public_hex],
            "file": text,
            "hashed": [[content, plan.sha256]],
            "signed": [[COORDINATOR.public_hex, content, signature]],
        }


def canonical_vectors() -> Iterator[Vector]:
    """Numbers, names and text in other spellings than the canonical one."""
    texts = {
        "numbers": "[0, -0.0, 1.0, 0.1, 1e21, 1E20, 1e-6, 1e-7, 123.4500, 5e-324, 333333333.33333329, "
        "1.7976931348623157e308, 9007199254740991, -4.50]",
        "order of names": '{"€": 1, "\\r": 2, "דּ": 3, "1": 4, "😀": 5, "\\u0080": 6, "ö": 7}',
        "text": '{ "text" : "€$\\u000f\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/\\u007f" }',
    }
    for name, text in texts.items():
        written = canonical_json(json.loads(text))
        yield {
            "format": "canonical",
            "name": name,
            "trusted": [],
            "file": text,
            "hashed": [[written.decode(), sha256_hex(written)]],
            "signed": [],
        }


def vectors() -> dict[str, str]:
    """Every file of vectors, by its name."""
    with tempfile.TemporaryDirectory() as found:
        run = play(Path(found))
    made = {
        "canonical": canonical_vectors(),
        "plan": plan_vectors(run),
        "ledger": ledger_vectors(run.rows, plan_sha256=run.plan.sha256),
        "request": request_vectors(run),
        "reply": reply_vectors(run),
        "outbox": outbox_vectors(run),
        "statement": statement_vectors(run),
    }
    return {
        f"{name}.json": json.dumps(list(found), indent=1, ensure_ascii=False) + "\n"
        for name, found in made.items()
    }


def _charged(plan: Plan, request: SumRequest) -> dict[str, object]:
    stage = plan.stage(request.stage)
    event = event_of(stage, request.round)
    if event is None:
        raise ValueError("the practice plan trains with noise")
    return {
        "purpose": "train",
        "plan_sha256": plan.sha256,
        "run": plan.run,
        "stage": stage.name,
        "stage_kind": stage.kind,
        "round": request.round,
        "request_sha256": request_sha256(request),
        "members_sha256": members_sha256(["x", "y"]),
        "charge_class": "dp",
        "noise_multiplier": event.noise_multiplier,
        "sample_rate": event.sample_rate,
        "steps": event.steps,
    }


def _about(charge: LedgerRow, *, payload_sha256: str) -> dict[str, object]:
    names = ("purpose", "plan_sha256", "run", "stage", "round", "request_sha256")
    return {name: getattr(charge, name) for name in names} | {
        "charge_index": charge.index,
        "status": RELEASED,
        "payload_sha256": payload_sha256,
    }


if __name__ == "__main__":
    for name, text in vectors().items():
        (FOLDER / name).write_text(text)
