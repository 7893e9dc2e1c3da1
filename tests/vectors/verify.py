"""Checks the test vectors with nothing of ours: a second implementation of what is hashed and signed.

``python tests/vectors/verify.py tests/vectors/*.json`` says of each vector whether it holds, and
whether those named ``run`` are of one run. Needs Python and ``cryptography``.
docs/reference/signed-bytes.md is the specification.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from primitives import from_base64, need, need_signed, one_form, parse, sha256, write

FAILURES = (ValueError, KeyError, TypeError, IndexError, AttributeError)
DTYPES = {"<f4": ("float32", 4), "<f8": ("float64", 8)}


def same(one, other, *names):
    return all(one[name] == other[name] for name in names)


def lines_of(text):
    need(text == "" or text.endswith("\n"), "a line must end in a newline")
    return text.split("\n")[:-1]


def check_canonical(vector):
    need(write(parse(vector["file"])) == vector["canonical"], "canonical JSON")
    need(sha256(vector["canonical"]) == vector["sha256"], "sha256")


def check_plan(vector):
    envelope = parse(vector["file"])
    content = write(envelope["plan"])
    need(set(envelope) == {"plan", "sha256", "signature"}, "names of the file")
    need(content == vector["canonical"], "canonical JSON")
    need(sha256(content) == envelope["sha256"] == vector["sha256"], "hash of the plan")
    need(envelope["plan"]["coordinator_key"] == vector["coordinator_key"], "whose plan")
    need_signed(vector["coordinator_key"], content, envelope["signature"])
    return envelope["plan"] | {"sha256": vector["sha256"]}


def check_ledger(vector):
    """Rows in order, each of its version, chained, signed by the key that is due."""
    rows, head, signer = [], "0" * 64, None
    for line, signed, known in zip(
        lines_of(vector["file"]), vector["signed"], vector["row_sha256"], strict=True
    ):
        entry = one_form(line)
        row = entry["row"]
        need(set(entry) == {"row", "sha256", "signature"}, "names of a line")
        need(sorted(row) == sorted(vector["fields"][str(row["version"])]), "fields of the version")
        need((row["index"], row["previous_sha256"]) == (len(rows), head), "the row before")
        need(row["public_key"] == (signer or row["public_key"]), "whose row is due")
        check_kind(row, rows)
        text = "osteofed ledger row\n" + write(row)
        head = sha256(write(row))
        need((text, head, head) == (signed, known, entry["sha256"]), "signed bytes and hash")
        need_signed(row["public_key"], text, entry["signature"])
        signer = row.get("next_public_key") or row["public_key"]
        rows.append(row)
    need(vector["trusted_key"] in {row["public_key"] for row in rows} | {signer}, "trusted key")
    for line in lines_of(vector["countersigned"]):
        seen = one_form(line)
        need(seen["head_sha256"] in vector["row_sha256"], "a head that was seen")
        need_seen(rows[0]["site"], seen["head_sha256"], seen, seen["coordinator_key"], "signature")
    witness, kept = one_form(vector["witness"]), vector["countersigned"]
    stood = witness["witness"]
    text = "osteofed ledger witness\n" + write(stood)
    need_signed(witness["public_key"], text, witness["signature"])
    need((witness["public_key"], stood["site"]) == (signer, rows[0]["site"]), "whose witness")
    need(stood["head_sha256"] == head, "where the ledger stood")
    need(stood["n_row_bytes"] == len(vector["file"].encode()), "how many bytes of rows")
    need(stood["rows_sha256"] == sha256(vector["file"]), "which rows")
    need(stood["n_countersigned_bytes"] == len(kept.encode()), "how many bytes of heads")
    need(stood["countersigned_sha256"] == sha256(kept), "which heads")
    return rows


def check_kind(row, rows):
    """What a row of its kind must hold, beside the rows before it."""
    need(row["site"] == (rows[0]["site"] if rows else row["site"]), "whose ledger it is")
    need(row["version"] < 5 or re.fullmatch("[0-9a-f]{32}", row["nonce"]), "random bytes")
    need((row["kind"] == "accepted") == bool(row.get("lock_sha256")), "a lock is accepted")
    need((row["kind"] == "rotated") == bool(row.get("next_public_key")), "a key is handed over")
    if row["kind"] in ("attempt", "outcome"):
        charge = rows[row["charge_index"]]
        need(charge["kind"] == "charge" and same(charge, row, "request_sha256"), "about a charge")
    if row["kind"] == "rotated":
        keys = {"old_key": row["public_key"], "new_key": row["next_public_key"]}
        turn = {"site": row["site"], "ledger_head": row["previous_sha256"]} | keys
        text = "osteofed key rotation\n" + write(turn)
        need_signed(row["next_public_key"], text, row["next_signature"])


def need_seen(site, head, named, coordinator_key, signature):
    content = {"site": site, "ledger_head": head, "plan_sha256": named["plan_sha256"]}
    need_signed(coordinator_key, write(content), named[signature])


def numbers_of(packed):
    """A packed array's NumPy name, shape and bytes."""
    name, size = DTYPES[packed["dtype"]]
    data = from_base64(packed["data"])
    need(set(packed) == {"dtype", "data"} and len(data) % size == 0, "an array")
    return name, [len(data) // size], data


def signed_form(message):
    """What a site signs: all but the signature, an array by name, shape and hash."""
    return write(
        {
            name: [*numbers_of(value)[:2], sha256(numbers_of(value)[2])]
            if isinstance(value, dict)
            else value
            for name, value in message.items()
            if name != "signature"
        }
    )


def stored_form(message):
    """As a message is stored and named: a total without ledger head, index and signature."""
    blank = {"ledger_head": "", "ledger_index": 0, "charges": 0, "signature": ""}
    return write(message | blank if message["message"] == "SumReply" else message)


def check_request(vector):
    message = one_form(vector["file"])
    need(message["message"] == "SumRequest" and same(message, vector, "version"), "which message")
    named = ("plan_sha256", "stage", "release_sha256", "lock_sha256")
    identity = {name: message[name] for name in named} | {"round": str(message["round"])}
    identity["vector_sha256"] = sha256(numbers_of(message["vector"])[2])
    need(write(identity) == vector["identity"], "what makes it this request")
    need(sha256(vector["identity"]) == vector["request_sha256"], "hash of the request")
    key, head = vector["coordinator_key"], message["ledger_head"]
    need_seen(vector["site"], head, message, key, "countersignature")
    return message | identity | {"request_sha256": vector["request_sha256"]}


def check_reply(vector):
    message = one_form(vector["file"])
    need(same(message, vector, "version"), "version")
    need(stored_form(message) == vector["stored"], "stored bytes")
    need(sha256(vector["stored"]) == vector["payload_sha256"], "hash of the reply")
    need(("signature" in message) == (message["message"] != "Refusal"), "which message is signed")
    if "signature" in message:
        need(signed_form(message) == vector["signed"], "signed bytes")
        need_signed(vector["public_key"], vector["signed"], message["signature"])
    return message | {"payload_sha256": vector["payload_sha256"]}


def check_outbox(vector):
    left = []
    known = zip(vector["line_sha256"], vector["message_sha256"], strict=True)
    told = zip(lines_of(vector["file"]), vector["messages"], known, strict=True)
    for line, text, hashes in told:
        departure, message = one_form(line), one_form(text)
        need((sha256(line), sha256(text)) == hashes, "hash of the line, of the message as sent")
        need(same(departure, message, "message", "plan_sha256"), "what left, of which plan")
        need(departure["n_bytes"] == len(text.encode()), "how many bytes")
        need(departure["payload_sha256"] == sha256(stored_form(message)), "hash of what left")
        left.append(departure)
    return left


def check_statement(vector):
    need(vector["file"].endswith("\n"), "a newline ends it")
    envelope = one_form(vector["file"][:-1])
    kind, payload = envelope["payloadType"], from_base64(envelope["payload"]).decode()
    text = f"DSSEv1 {len(kind.encode())} {kind} {len(payload.encode())} {payload}"
    need((payload, text) == (vector["payload"], vector["signed"]), "payload and signed bytes")
    signers = [each["keyid"] for each in envelope["signatures"]]
    need(signers == vector["signers"] and len(set(signers)) == len(signers), "who signed")
    for each in envelope["signatures"]:
        need_signed(each["keyid"], text, from_base64(each["sig"]).hex())
    return one_form(payload)


def check_run(plan, ledger, request, reply, outbox, statement):
    """That six documents are of one run: each names another by its hash."""
    (charge, outcome), stated, left = ledger[-2:], statement["predicate"], outbox[-1]
    need(plan["sha256"] == request["plan_sha256"] == charge["plan_sha256"], "plan")
    need(charge["kind"] == "charge" and same(charge, request, "stage", "request_sha256"), "charge")
    need(same(reply, request, "plan_sha256", "stage", "vector_sha256", "release_sha256"), "answer")
    need(outcome["status"] == "released" and same(outcome, reply, "payload_sha256"), "outcome")
    need(reply["ledger_head"] == sha256(write(outcome)), "the reply names its outcome")
    need(reply["ledger_index"] == outcome["index"], "where the outcome stands")
    paid = [row for row in ledger if row["kind"] == "charge" and same(row, request, "request_sha256")]
    need(reply["charges"] == len(paid), "how often it was charged")
    need(same(left, reply, "payload_sha256", "release_class"), "what left")
    need(statement["subject"][0]["digest"]["sha256"] == reply["payload_sha256"], "subject")
    need(stated["ledger"]["head_sha256"] == reply["ledger_head"], "where the ledger stood")
    need(stated["cohorts"][0]["cohort_id"] == charge["members_sha256"], "who was touched")
    need(stated["plan_sha256"] == plan["sha256"] and same(stated, plan, "run"), "which run is stated")
    need(same(stated, reply, "site") and same(charge, reply, "site"), "whose run")


CHECKS = {
    "canonical": check_canonical,
    "plan": check_plan,
    "ledger": check_ledger,
    "request": check_request,
    "reply": check_reply,
    "outbox": check_outbox,
    "statement": check_statement,
}


def verify(vector):
    """What a vector holds; raises one of ``FAILURES`` where it does not hold."""
    return CHECKS[vector["format"]](vector)


def main(paths):
    run, is_whole = {}, True
    for vector in [each for path in paths for each in json.loads(Path(path).read_bytes())]:
        said = "holds"
        try:
            held = verify(vector)
            run |= {vector["format"]: held} if vector["name"] == "run" else {}
        except FAILURES as error:
            is_whole, said = False, f"does not hold: {error}"
        sys.stdout.write(f"{vector['format']}: {vector['name']}: {said}\n")
    if is_whole:
        check_run(**run)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
