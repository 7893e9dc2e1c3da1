"""Hostile requests under an approved plan, and messages that are none, each with the code it gets."""

from __future__ import annotations

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from hostile_asking import (
    FORBIDDEN,
    Case,
    add_stage,
    arrays,
    chunk,
    coordinator,
    countersigned,
    describe,
    described,
    described_before,
    head_of,
    head_of_hop,
    head_signed_by,
    ledger_put_back,
    locked,
    measure,
    not_a_lock,
    piece_in_words,
    replayed,
    scalars,
    second_release,
    seen_by,
    set_in,
    spoilt,
    train,
    vector,
    with_policy,
    written_by_hand,
)

from shared.contract.protocol import PROTOCOL_VERSION, Hello, Refusal, to_record

HOSTILE_REQUESTS: dict[str, Case] = {
    # requests for a round
    "another plan's hash": Case(lambda it: train(it, plan_sha256="b" * 64), "plan.not-approved"),
    "a path for a hash": Case(
        lambda it: train(it, plan_sha256="../../keys/signing"), "plan.not-approved"
    ),
    "a path to the approval": Case(
        lambda it: train(it, plan_sha256=f"../approvals/{it.plan_sha256}"), "plan.not-approved"
    ),
    "a hash of a megabyte": Case(
        lambda it: train(it, plan_sha256="a" * (1 << 20)), "plan.not-approved"
    ),
    "round 0": Case(lambda it: train(it, round=0), "protocol.no-such-round"),
    "a round beyond the last": Case(lambda it: train(it, round=4), "protocol.no-such-round"),
    "a round before time": Case(lambda it: train(it, round=-1), "protocol.no-such-round"),
    "a round without end": Case(lambda it: train(it, round=2**62), "protocol.no-such-round"),
    "a first round from other weights than the plan's": Case(
        lambda it: train(it, round=1, vector=it.weights), "protocol.wrong-initial-weights"
    ),
    "a stage that the plan does not have": Case(
        lambda it: train(it, stage="retrain"), "plan.no-such-stage"
    ),
    "a stage named by a path": Case(
        lambda it: train(it, stage="../../keys/signing"), "plan.no-such-stage"
    ),
    "a round that names a release": Case(
        lambda it: train(it, release_sha256="e" * 64), "protocol.unwanted-release"
    ),
    "a round under a lock": Case(
        lambda it: train(it, lock_sha256="e" * 64), "protocol.unwanted-release"
    ),
    "weights that no training reaches": Case(spoilt(1000.5, train), "protocol.weights-too-large"),
    "a table asked with weights that no training reaches": Case(
        spoilt(-1e6, measure), "protocol.weights-too-large"
    ),
    "a round replayed with other weights": Case(replayed, "privacy.round-repeated"),
    "weights that are no number": Case(spoilt(np.nan, train), "protocol.unsound-weights"),
    "weights without end": Case(spoilt(-np.inf, train), "protocol.unsound-weights"),
    "weights in another precision": Case(
        lambda it: train(it, vector=it.weights.astype(np.float64)), "protocol.unsound-weights"
    ),
    "a table asked with weights without end": Case(spoilt(np.inf, measure), "protocol.unsound-weights"),
    "one weight too few": Case(lambda it: train(it, vector=it.weights[:-1]), "protocol.wrong-shape"),
    "one weight too many": Case(
        lambda it: train(it, vector=np.append(it.weights, np.float32(0))), "protocol.wrong-shape"
    ),
    "no weights": Case(vector(np.zeros(0)), "protocol.wrong-shape"),
    "a table asked with two weights too few": Case(
        lambda it: measure(it, vector=it.weights[:-2]), "protocol.wrong-shape"
    ),
    "a table asked with one weight too many": Case(
        lambda it: measure(it, vector=np.append(it.weights, np.float32(1))), "protocol.wrong-shape"
    ),
    "weights in rows": Case(vector(np.zeros((2, 21))), "protocol.malformed"),
    "weights in whole numbers": Case(
        lambda it: (arrays(it.train_request(), np.zeros(42, dtype=np.int32)), "train"),
        "protocol.malformed",
    ),
    "a countersignature of one's own making": Case(
        lambda it: train(it, ledger_head="1" * 64, countersignature="2" * 128),
        "ledger.bad-countersignature",
    ),
    "a head that the ledger never had": Case(lambda it: head_of(it, head="1" * 64), "ledger.behind"),
    "a head signed for another plan": Case(
        lambda it: head_of(it, plan="3" * 64), "ledger.bad-countersignature"
    ),
    "a ledger put back from a copy": Case(ledger_put_back, "ledger.behind", opens=False),
    # requests for a table
    "an unknown validation": Case(lambda it: measure(it, "everything"), "plan.no-such-stage"),
    "internal validation at an external site": Case(measure, "plan.wrong-role", site="hop"),
    "external validation at a training site": Case(
        lambda it: measure(it, "external"), "plan.wrong-role"
    ),
    "a table asked with a countersignature of one's own making": Case(
        lambda it: measure(it, ledger_head="3" * 64, countersignature="2" * 128),
        "ledger.bad-countersignature",
    ),
    "a table asked with a head that the ledger never had": Case(
        lambda it: measure(it, **countersigned(it, "1" * 64)), "ledger.behind"
    ),
    "a release without a hash": Case(
        lambda it: measure(it, release_sha256="the best one"), "protocol.no-such-release"
    ),
    "a release named by a path": Case(
        lambda it: measure(it, release_sha256="../" * 20 + "keys"), "protocol.no-such-release"
    ),
    "a second release under one plan": Case(second_release, "privacy.round-repeated"),
    "a prospective table without a lock": Case(lambda it: measure(it, "prospective"), "plan.no-lock"),
    "a lock that nobody accepted": Case(
        lambda it: measure(it, "prospective", lock_sha256="a" * 64), "plan.no-lock"
    ),
    "a path for a lock": Case(
        lambda it: measure(it, "prospective", lock_sha256="../site"), "plan.no-lock"
    ),
    "an accepted lock whose file is no lock any more": Case(not_a_lock, "weights.unreadable"),
    "the lock of another release": Case(
        locked(release_sha256="e" * 64), "protocol.not-the-locked-release"
    ),
    "other weights than the locked ones": Case(locked(vector=()), "protocol.not-the-locked-release"),
    # requests for a description
    "a description that the plan does not release": Case(describe, "plan.no-such-stage"),
    "a description with weights": Case(
        described(vector=np.zeros(42, dtype=np.float32)), "protocol.wrong-shape"
    ),
    "a description of a release": Case(described(release_sha256="d" * 64), "protocol.unwanted-release"),
    "a description under a lock": Case(described(lock_sha256="a" * 64), "protocol.unwanted-release"),
    "a second description with other weights": Case(
        described(then=described_before, vector=np.ones(1, dtype=np.float32)),
        "protocol.wrong-shape",
    ),
    "a description by another name": Case(
        described(then=described_before, release_sha256="1" * 64), "protocol.unwanted-release"
    ),
    "a description with less noise than stated": Case(
        described(stages=set_in("description", noise_multipliers=[3.0])),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "a description cheaper than it is": Case(
        described(lie={"description_epsilon": 0.1}), FORBIDDEN, "description epsilon 0.99"
    ),
    "a description that the plan keeps quiet about": Case(
        described(lie={"description_epsilon": 0.0}),
        FORBIDDEN,
        "does not state its true cost",
    ),
    "a description beyond what training leaves of the cap": Case(
        with_policy(described(), epsilon_per_run=3.0), FORBIDDEN, "training with the description costs"
    ),
    "training under a plan whose description breaks the cap": Case(
        with_policy(described(then=train), epsilon_per_run=3.0), FORBIDDEN, "with the description costs"
    ),
    "a description where it is not allowed": Case(
        with_policy(described(), allowed=["train", "evaluate.internal"]), "policy.purpose-forbidden"
    ),
    "a description that a lifetime cannot pay": Case(
        with_policy(described(), epsilon_lifetime=0.2), "privacy.budget-exhausted"
    ),
    "a table for a second round": Case(lambda it: measure(it, round=2), "protocol.no-such-round"),
    "a table for a round before time": Case(lambda it: measure(it, round=-2), "protocol.no-such-round"),
    "a description for a third round": Case(described(round=3), "protocol.no-such-round"),
    "a stage whose name paints the terminal": Case(
        written_by_hand(add_stage("internal", name="x\x1b[2Jepsilon 0.1")), "plan.not-valid"
    ),
    "weights of complex numbers": Case(
        lambda it: (arrays(it.train_request(), it.weights.astype(np.complex64)), "train"),
        "protocol.malformed",
    ),
    "a lock of a megabyte": Case(
        lambda it: measure(it, "prospective", lock_sha256="a" * 2**20), "plan.no-lock"
    ),
    "a release of a megabyte": Case(
        lambda it: measure(it, release_sha256="e" * 2**20), "protocol.no-such-release"
    ),
    "a stage of a megabyte": Case(lambda it: train(it, stage="s" * 2**20), "plan.no-such-stage"),
    # pieces of an encoder
    "an encoder where the plan has none": Case(
        lambda it: chunk(it, encoder=False), "protocol.unwanted-weights"
    ),
    "another encoder than the plan's": Case(
        lambda it: chunk(it, file_sha256="1" * 64), "protocol.unwanted-weights"
    ),
    "an encoder named by a path": Case(
        lambda it: chunk(it, file_sha256="../../policy"), "protocol.unwanted-weights"
    ),
    "a piece beyond the last": Case(lambda it: chunk(it, index=2), "protocol.unwanted-weights"),
    "a piece before the first": Case(lambda it: chunk(it, index=-1), "protocol.unwanted-weights"),
    "pieces without end": Case(lambda it: chunk(it, n_chunks=1 << 30), "protocol.unwanted-weights"),
    "a piece too large": Case(
        lambda it: chunk(it, data=bytes((16 << 20) + 1)), "protocol.unwanted-weights"
    ),
    "a piece of nothing": Case(lambda it: chunk(it, data=b""), "protocol.unwanted-weights"),
    # messages
    "nothing": Case(lambda _: (RecordDict(), "train"), "protocol.malformed"),
    "something else": Case(
        lambda _: (RecordDict({"message": ConfigRecord({"round": 1})}), "train"), "protocol.malformed"
    ),
    "a field too few": Case(
        lambda it: (scalars(it.train_request(), round=None), "train"), "protocol.malformed"
    ),
    "a field too many": Case(
        lambda it: (scalars(it.train_request(), debug=True), "train"), "protocol.malformed"
    ),
    "a field of another type": Case(
        lambda it: (scalars(it.train_request(), round="1"), "train"), "protocol.malformed"
    ),
    "another protocol version": Case(
        lambda it: (scalars(it.train_request(), version=PROTOCOL_VERSION - 1), "train"),
        "protocol.unknown-version",
    ),
    "a version of a megabyte": Case(
        lambda it: (scalars(it.train_request(), version="2" * (1 << 20)), "train"),
        "protocol.unknown-version",
    ),
    "a sum asked where a greeting is due": Case(
        lambda it: (to_record(it.measure_request()), "query.hello"), "protocol.wrong-message"
    ),
    "a sum asked where pieces of an encoder are due": Case(
        lambda it: (to_record(it.train_request()), "query.weights"), "protocol.wrong-message"
    ),
    "a greeting where a sum is due": Case(
        lambda it: (to_record(Hello(plan_sha256=it.plan_sha256, nonce="n")), "train"),
        "protocol.wrong-message",
    ),
    "a reply for a request": Case(
        lambda it: (to_record(Refusal(plan_sha256="", site="", code="", correlation_id="")), "train"),
        "protocol.wrong-message",
    ),
    "a greeting under another plan": Case(
        lambda _: (to_record(Hello(plan_sha256="d" * 64, nonce="n")), "query.hello"),
        "plan.not-approved",
    ),
    # names in other spellings
    "a plan's hash in capitals": Case(
        lambda it: train(it, plan_sha256=it.plan_sha256.upper()), "plan.not-approved"
    ),
    "a plan's hash and a byte of zero": Case(
        lambda it: train(it, plan_sha256=f"{it.plan_sha256}\0"), "plan.not-approved"
    ),
    "a plan's hash and a line break": Case(
        lambda it: train(it, plan_sha256=f"{it.plan_sha256}\n"), "plan.not-approved"
    ),
    "a plan's hash in wide digits": Case(
        lambda it: train(it, plan_sha256="\uff11" * 64), "plan.not-approved"
    ),
    "no plan": Case(lambda it: train(it, plan_sha256=""), "plan.not-approved"),
    "the folder of plans": Case(lambda it: train(it, plan_sha256=".."), "plan.not-approved"),
    "a stage and a line break": Case(lambda it: train(it, stage="train\n"), "plan.no-such-stage"),
    "a stage in capitals": Case(lambda it: train(it, stage="TRAIN"), "plan.no-such-stage"),
    "a stage without a name": Case(lambda it: train(it, stage=""), "plan.no-such-stage"),
    "a stage with a letter of another alphabet": Case(
        lambda it: train(it, stage="tr\u0430in"), "plan.no-such-stage"
    ),
    "a stage written backwards": Case(lambda it: train(it, stage="train\u202e"), "plan.no-such-stage"),
    "a release in capitals": Case(
        lambda it: measure(it, release_sha256="F" * 64), "protocol.no-such-release"
    ),
    "a release and a line break": Case(
        lambda it: measure(it, release_sha256="f" * 64 + "\n"), "protocol.no-such-release"
    ),
    "a release in wide digits": Case(
        lambda it: measure(it, release_sha256="\uff16" * 64), "protocol.no-such-release"
    ),
    "a table of no release": Case(
        lambda it: measure(it, release_sha256=""), "protocol.no-such-release"
    ),
    "a table under a lock that it does not take": Case(
        lambda it: measure(it, lock_sha256="b" * 64), "protocol.unwanted-release", "takes no lock"
    ),
    # heads and who has seen them
    "a head that nobody has signed": Case(head_signed_by(lambda *_: ""), "ledger.bad-countersignature"),
    "a head with half a signature": Case(
        head_signed_by(lambda it, head: seen_by(coordinator(it), it, head)[:64]),
        "ledger.bad-countersignature",
    ),
    "a head whose signature is spelled in capitals": Case(
        head_signed_by(lambda it, head: seen_by(coordinator(it), it, head).upper()),
        "ledger.bad-countersignature",
    ),
    "a head that another hospital has signed": Case(
        head_signed_by(lambda it, head: seen_by(it.site("hop").key, it, head)),
        "ledger.bad-countersignature",
    ),
    "a head that the hospital has signed itself": Case(
        head_signed_by(lambda it, head: seen_by(it.site().key, it, head)),
        "ledger.bad-countersignature",
    ),
    "a head that was signed for another hospital": Case(
        head_signed_by(lambda it, head: seen_by(coordinator(it), it, head, site="hop")),
        "ledger.bad-countersignature",
    ),
    "a head in capitals": Case(lambda it: train(it, **countersigned(it, "A" * 64)), "ledger.behind"),
    "a head of a megabyte": Case(
        lambda it: train(it, **countersigned(it, "1" * 2**20)), "ledger.behind"
    ),
    "the head of another hospital": Case(head_of_hop, "ledger.behind"),
    # numbers and types
    "the first round that there never was": Case(
        lambda it: train(it, round=-(2**63)), "protocol.no-such-round"
    ),
    "half a round": Case(
        lambda it: (scalars(it.train_request(), round=2.5), "train"), "protocol.malformed"
    ),
    "a truth for a round": Case(
        lambda it: (scalars(it.train_request(), round=True), "train"), "protocol.malformed"
    ),
    "many rounds at once": Case(
        lambda it: (scalars(it.train_request(), round=[1, 2, 3]), "train"), "protocol.malformed"
    ),
    "a hash in bytes": Case(
        lambda it: (scalars(it.train_request(), plan_sha256=b"a" * 64), "train"), "protocol.malformed"
    ),
    "a truth for a version": Case(
        lambda it: (scalars(it.train_request(), version=True), "train"), "protocol.unknown-version"
    ),
    "no version": Case(
        lambda it: (scalars(it.train_request(), version=None), "train"), "protocol.malformed"
    ),
    "a greeting with a number for a token": Case(
        lambda it: (scalars(Hello(plan_sha256=it.plan_sha256, nonce="n"), nonce=1), "query.hello"),
        "protocol.malformed",
    ),
    "a greeting without a token": Case(
        lambda it: (scalars(Hello(plan_sha256=it.plan_sha256, nonce="n"), nonce=None), "query.hello"),
        "protocol.malformed",
    ),
    "an encoder's hash in capitals": Case(
        lambda it: chunk(it, file_sha256="A" * 64), "protocol.unwanted-weights"
    ),
    "an encoder in no pieces": Case(lambda it: chunk(it, n_chunks=0), "protocol.unwanted-weights"),
    "a piece of another encoder under the name of the plan's": Case(
        lambda it: chunk(it, n_chunks=1), "weights.wrong-hash"
    ),
    "a piece in words": Case(piece_in_words, "protocol.malformed"),
}
