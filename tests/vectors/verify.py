"""Checks the test vectors with nothing of ours: a second implementation of what is hashed and signed.

``python tests/vectors/verify.py tests/vectors/*.json`` names each vector that holds and stops at one
that does not, or where those named ``run`` are not of one run. Needs Python and ``cryptography``.
docs/reference/signed-bytes.md is the specification.
"""

import base64
import hashlib
import json
import math
import re
import sys
from decimal import Decimal
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FAILURES = (ValueError, KeyError, TypeError, IndexError, AttributeError, InvalidSignature)
DTYPES = {"<f4": ("float32", 4), "<f8": ("float64", 8)}
IDENTITY = ("plan_sha256", "stage", "release_sha256", "lock_sha256")
# In each line: places of one run at which the same value stands.
SAME = """
plan.sha256 request.plan_sha256 charge.plan_sha256 reply.plan_sha256 stated.plan_sha256
request.request_sha256 charge.request_sha256
request.stage charge.stage reply.stage
request.vector_sha256 reply.vector_sha256
request.release_sha256 reply.release_sha256
reply.payload_sha256 outcome.payload_sha256 left.payload_sha256 subject.digest.sha256
reply.release_class left.release_class
reply.ledger_head outcome.sha256 stated.ledger.head_sha256
reply.ledger_index outcome.index
charge.members_sha256 stated.cohorts.0.cohort_id
plan.run stated.run
reply.site charge.site stated.site
"""


def need(holds, what):
    if not holds:
        raise ValueError(what)


def number(value):
    """ECMAScript's shortest form of a double (RFC 8785, 3.2.2.3)."""
    need(math.isfinite(value), "a number must be finite")
    if value and not 1e-6 <= abs(value) < 1e21:
        return repr(value).replace("e-0", "e-")
    return f"{Decimal(repr(value or 0.0)):f}".removesuffix(".0")


def write(value):
    """Canonical JSON (RFC 8785): names in the order of their UTF-16 code units, no spaces."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{write(name)}:{write(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    if isinstance(value, float):
        return number(value)
    need(isinstance(value, str | bool | None) or abs(value) < 2**53, "an integer beyond 2^53")
    return json.dumps(value, ensure_ascii=False)


def unique(pairs):
    need(len(dict(pairs)) == len(pairs), "a name stands twice")
    return dict(pairs)


def parse(text, *names, is_canonical=True):
    """The value of a text, in its one form, with exactly these names where any are given."""
    value = json.loads(text, object_pairs_hook=unique)
    need(not is_canonical or write(value) == text, "not canonical JSON")
    need(not names or set(value) == set(names), "exactly these names")
    return value


def lines_of(text):
    need(text == "" or text.endswith("\n"), "a line must end in a newline")
    return text.split("\n")[:-1]


def sha256(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def from_base64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 has one form")
    return data


def array(packed):
    """A packed array as it is signed: name, shape, hash of its bytes."""
    (name, size), data = DTYPES[packed["dtype"]], from_base64(packed["data"])
    need(set(packed) == {"dtype", "data"} and len(data) % size == 0, "an array")
    return [name, [len(data) // size], sha256(data)]


def read_canonical(vector):
    text = write(parse(vector["file"], is_canonical=False))
    return text, [[text, sha256(text)]], []


def read_plan(vector):
    file = parse(vector["file"], "plan", "sha256", "signature", is_canonical=False)
    plan, text = file["plan"], write(file["plan"])
    signed = [[plan["coordinator_key"], text, file["signature"]]]
    return plan | {"sha256": file["sha256"]}, [[text, file["sha256"]]], signed


def read_ledger(vector):
    """Rows in order, each of its version, chained, by the key that is due; heads; the witness."""
    rows, hashed, signed = [], [], []
    for line in lines_of(vector["file"]):
        entry = parse(line, "row", "sha256", "signature")
        row, text = entry["row"], write(entry["row"])
        check_row(row, rows, vector)
        hashed.append([text, entry["sha256"]])
        signed.append([row["public_key"], "osteofed ledger row\n" + text, entry["signature"]])
        if row["kind"] == "rotated":
            turn = {"old_key": row["public_key"], "new_key": row["next_public_key"]}
            turn |= {"site": row["site"], "ledger_head": row["previous_sha256"]}
            text = "osteofed key rotation\n" + write(turn)
            signed.append([row["next_public_key"], text, row["next_signature"]])
        rows.append(row | {"sha256": entry["sha256"]})
    for line in lines_of(vector["countersigned"]):
        seen = parse(line, "head_sha256", "plan_sha256", "coordinator_key", "signature")
        need(seen["head_sha256"] in [row["sha256"] for row in rows], "a head that was seen")
        need([seen["coordinator_key"]] == vector["trusted"][1:], "who has seen it")
        text = head_seen(vector["site"], seen["head_sha256"], seen["plan_sha256"])
        signed.append([seen["coordinator_key"], text, seen["signature"]])
    witness = parse(vector["witness"], "witness", "public_key", "signature")
    stood = {"version": 2, "site": vector["site"], "head_sha256": rows[-1]["sha256"]}
    for name, file in (("row", "file"), ("countersigned", "countersigned")):
        stood[f"n_{name}_bytes"] = len(vector[file].encode())
        stood[f"{name.replace('row', 'rows')}_sha256"] = sha256(vector[file])
    need(witness["witness"] == stood, "where the ledger stood")
    need(witness["public_key"] == key_after(rows), "whose witness")
    text = "osteofed ledger witness\n" + write(stood)
    signed.append([witness["public_key"], text, witness["signature"]])
    keys = {row["public_key"] for row in rows} | {key_after(rows)}
    need(vector["trusted"][0] in keys, "trusted key")
    return rows, hashed, signed


def check_row(row, rows, vector):
    """What a row must hold, beside the rows before it."""
    kind, before = row["kind"], rows[-1]["sha256"] if rows else "0" * 64
    need(sorted(row) == sorted(vector["fields"][str(row["version"])]), "fields of the version")
    need((row["index"], row["previous_sha256"]) == (len(rows), before), "the row before")
    need(row["site"] == vector["site"], "whose ledger it is")
    need(not rows or row["public_key"] == key_after(rows), "whose row is due")
    need(row["version"] < 5 or re.fullmatch("[0-9a-f]{32}", row["nonce"]), "random bytes")
    need((kind == "accepted") == bool(row.get("lock_sha256")), "a lock is accepted")
    need((kind == "rotated") == bool(row.get("next_public_key")), "a key is handed over")
    if kind in ("attempt", "outcome"):
        charge = rows[row["charge_index"]]
        need(charge["kind"] == "charge", "about a charge")
        need(charge["request_sha256"] == row["request_sha256"], "of the same request")


def key_after(rows):
    return rows[-1].get("next_public_key") or rows[-1]["public_key"]


def head_seen(site, head, plan):
    return write({"site": site, "ledger_head": head, "plan_sha256": plan})


def read_request(vector):
    message = parse(vector["file"])
    kind = (message["message"], message["version"])
    need(kind == ("SumRequest", vector["version"]), "which message")
    identity = {name: message[name] for name in IDENTITY} | {"round": str(message["round"])}
    identity["vector_sha256"] = array(message["vector"])[2]
    text = write(identity)
    seen = head_seen(vector["site"], message["ledger_head"], message["plan_sha256"])
    signed = [[key, seen, message["countersignature"]] for key in vector["trusted"]]
    return message | identity | {"request_sha256": sha256(text)}, [[text, sha256(text)]], signed


def stored_form(message):
    """As a message is stored and named: a total without ledger head, index, charges and signature."""
    blank = {"ledger_head": "", "ledger_index": 0, "charges": 0, "signature": ""}
    return write(message | blank if message["message"] == "SumReply" else message)


def read_reply(vector):
    """A message of a site, which signs all but the signature; a refusal is not signed."""
    message = parse(vector["file"])
    need(message["version"] == vector["version"], "version")
    signature = message.get("signature")
    need((signature is None) == (message["message"] == "Refusal"), "which message is signed")
    content = {name: value for name, value in message.items() if name != "signature"}
    content |= {name: array(value) for name, value in content.items() if isinstance(value, dict)}
    stored = stored_form(message)
    signed = [[key, write(content), signature] for key in vector["trusted"]]
    return message | {"payload_sha256": sha256(stored)}, [[stored, sha256(stored)]], signed


def read_outbox(vector):
    left, hashed = [], []
    for line, text in zip(lines_of(vector["file"]), vector["messages"], strict=True):
        departure, message = parse(line), parse(text)
        need(departure["message"] == message["message"], "what left")
        need(departure["plan_sha256"] == message["plan_sha256"], "of which plan")
        need(departure["n_bytes"] == len(text.encode()), "how many bytes")
        hashed.append([stored_form(message), departure["payload_sha256"]])
        hashed += [[line, sha256(line)], [text, sha256(text)]]
        left.append(departure)
    return left, hashed, []


def read_statement(vector):
    need(vector["file"].endswith("\n"), "a newline ends it")
    file = parse(vector["file"][:-1], "payload", "payloadType", "signatures")
    kind, payload = file["payloadType"], from_base64(file["payload"]).decode()
    text = f"DSSEv1 {len(kind.encode())} {kind} {len(payload.encode())} {payload}"
    signed = [[each["keyid"], text, from_base64(each["sig"]).hex()] for each in file["signatures"]]
    need(len({key for key, *_ in signed}) == len(signed), "nobody signs twice")
    return parse(payload), [], signed


def check_run(plan, ledger, request, reply, outbox, statement):
    """That six documents are of one run: each names another by its hash."""
    (charge, outcome), [subject] = ledger[-2:], statement["subject"]
    told = {"plan": plan, "charge": charge, "outcome": outcome, "request": request, "reply": reply}
    told |= {"left": outbox[-1], "subject": subject, "stated": statement["predicate"]}
    for places in SAME.strip().splitlines():
        need(len({value_at(told, place) for place in places.split()}) == 1, places)
    need((charge["kind"], outcome["status"]) == ("charge", "released"), "charged, then released")
    paid = [row["request_sha256"] for row in ledger if row["kind"] == "charge"]
    need(reply["charges"] == paid.count(request["request_sha256"]), "how often it was charged")


def value_at(told, place):
    for name in place.split("."):
        told = told[int(name) if name.isdigit() else name]
    return told


def verify(vector):
    """What a vector holds; raises one of ``FAILURES`` where it does not hold."""
    held, hashed, signed = globals()[f"read_{vector['format']}"](vector)
    need(hashed == vector["hashed"], "what is hashed, to what")
    need(signed == vector["signed"], "what is signed, by whom, and how")
    signers = [key for key, *_ in signed]
    need(vector["format"] == "ledger" or signers == vector["trusted"], "who signs")
    need(all(sha256(text) == digest for text, digest in hashed), "a hash is not of this text")
    for key, text, signature in signed:
        need(re.fullmatch("[0-9a-f]{64}", key), "a key is 64 digits")
        need(re.fullmatch("[0-9a-f]{128}", signature), "a signature is 128 digits")
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), text.encode())
    return held


def main(paths):
    run = {}
    for vector in [each for path in paths for each in json.loads(Path(path).read_bytes())]:
        held = verify(vector)
        run |= {vector["format"]: held} if vector["name"] == "run" else {}
        sys.stdout.write(f"{vector['format']}: {vector['name']}: holds\n")
    check_run(**run)


if __name__ == "__main__":
    main(sys.argv[1:])
