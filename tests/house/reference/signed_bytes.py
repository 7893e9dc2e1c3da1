"""``signed-bytes.md``: what is hashed and signed, byte by byte, for who reads it with other code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from reference.markdown import code, page, table

from client.gate.ledger_file import _WITNESS_DOMAIN, WITNESS_VERSION
from shared.contract.plan import CODE_LENGTH, Plan
from shared.contract.protocol import PROTOCOL_VERSION
from shared.privacy.ledger_format import _FIELDS, _ROW_DOMAIN, GENESIS, LEDGER_VERSION
from shared.privacy.statement import PAYLOAD_TYPE, PREDICATE_TYPE
from shared.signing.key_rotation import _DOMAIN as ROTATION_DOMAIN

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
_INTRODUCTION = (
    "What an auditor needs to check a hospital's files with a program of their own. Meanings of fields "
    "are in [files handed over](handed-over.md), [plan.json](plan.md) and [protocol](protocol.md); "
    "where files lie, in [file formats](file-formats.md). Everything said here is in the "
    "[test vectors](#test-vectors)."
)
_RULES = (
    "- *Canonical JSON* is RFC 8785: UTF-8, no spaces, names in the order of their UTF-16 code units, "
    "numbers as ECMAScript writes them (`1e-05` is `0.00001`, `1.0` is `1`). A file of canonical JSON "
    "has one form: any other spelling of it is refused.",
    "- *Hash* is SHA-256, 64 lower-case hexadecimal digits.",
    "- *Key* and *signature* are Ed25519 (RFC 8032), 64 and 128 lower-case hexadecimal digits. "
    "`\\n` in a prefix is one byte, 0x0A.",
    "- Times (`utc`, `written_utc`, `issued_utc`) are text in ISO 8601 and are read as text. Those of "
    "ledger, outbox and statement are whole hours and say nothing of order: the order of two events is "
    "that of their positions in the file.",
    "- Trust begins at a key that was learnt at enrolment, never at one that a file names.",
)


def signed_bytes_page() -> str:
    """The page."""
    parts = (_ledger(), _plan(), _messages(), _outbox(), _statement(), _links(), _vectors())
    return page("Signed bytes", _INTRODUCTION, ["## Rules", "", *_RULES], *parts)


def _ledger() -> Iterator[str]:
    yield from ("", "## Ledger", "")
    yield "`ledger.jsonl`: a line a row, `{row, sha256, signature}` as canonical JSON, then a newline."
    yield "A ledger export carries the same objects in `lines`; spell each canonically before checking."
    yield from ("", "1. `row` has exactly the fields of its `version`:")
    since: dict[str, int] = {}
    for version in reversed(_FIELDS):
        since |= dict.fromkeys(_FIELDS[version], version)
    rows = [
        (version, " ".join(code(name) for name in sorted(since) if since[name] == version))
        for version in sorted(_FIELDS)
    ]
    yield from table(("version", "fields, besides those before"), rows)
    yield "2. `sha256` is the hash of the canonical JSON of `row`."
    yield f"3. `signature` is of {_shown(_ROW_DOMAIN)} and the same canonical JSON, by `public_key`."
    yield "4. `index` counts from 0; `previous_sha256` is the `sha256` of the row before, of the first"
    yield f"   row {len(GENESIS)} zeros; `site` is one for all."
    yield "5. `public_key` is that of the row before, or its `next_public_key` where that is not"
    yield "   empty. Only `rotated` has one, and its `next_signature` is, by the new key, of"
    yield f"   {_shown(ROTATION_DOMAIN)} and canonical JSON of"
    yield "   `{site, old_key, new_key, ledger_head}`; `ledger_head` is `previous_sha256`. The key"
    yield "   known from enrolment is one of the chain's."
    yield "6. From version 5 on `nonce` is 32 digits. `accepted`, and only it, has a `lock_sha256`."
    yield "7. `attempt` and `outcome` name by `charge_index` a `charge` before them, of the same"
    yield "   `request_sha256`."
    yield ""
    yield "`countersigned.jsonl`: canonical JSON of `{head_sha256, plan_sha256, coordinator_key,"
    yield "signature}` a line. The signature is of canonical JSON of `{site, ledger_head,"
    yield "plan_sha256}`, and the head is the hash of a row of this ledger: else the ledger was cut."
    yield ""
    yield "`ledger-witness.json`: `{witness, public_key, signature}` as canonical JSON, signed over"
    yield f"{_shown(_WITNESS_DOMAIN)} and canonical JSON of `witness`, version {WITNESS_VERSION}:"
    yield "`site`,"
    yield "`head_sha256` (hash of the newest row when it was written), and length and hash of both"
    yield "files:"
    yield "`n_row_bytes`, `rows_sha256`, `n_countersigned_bytes`, `countersigned_sha256`."


def _plan() -> Iterator[str]:
    version = Plan.model_fields["version"].default
    yield from ("", "## Plan", "")
    yield f"`plan.json`, version {version}: `{{sha256, signature, plan}}`, spelled in any way. `sha256`"
    yield "is the hash of the canonical JSON of `plan`, `signature` the signature of the same bytes by"
    yield f"`plan.coordinator_key`. Its first {CODE_LENGTH} digits are the code that a person types."
    yield "`valid_until` is left out where there is none; other empty fields stand as they are."


def _messages() -> Iterator[str]:
    yield from ("", "## Request and reply", "")
    yield f"*Packed* (version {PROTOCOL_VERSION}): canonical JSON of `message` (its name), `version`"
    yield "and all fields; an array as `{dtype, data}` with `<f4` or `<f8` and base64 of little-endian"
    yield "bytes."
    yield ""
    yield "- A *request* is named by the hash of canonical JSON of `{plan_sha256, stage, round,"
    yield "  vector_sha256, release_sha256, lock_sha256}`: `round` as text, `vector_sha256` the hash of"
    yield "  the array's bytes. Its `countersignature` is of `{site, ledger_head, plan_sha256}`, as"
    yield "  above."
    yield "- A reply's `signature` is of canonical JSON of all but `signature`; an array as"
    yield "  `[float32 or float64, [length], hash of its bytes]`. A `Refusal` is not signed."
    yield "- *Stored* and named by its hash is the packed reply; of a `SumReply` with `ledger_head` and"
    yield "  `signature` empty, `ledger_index` and `charges` 0, since the head is the row that carries"
    yield "  this hash."
    yield "  A site keeps it as `replies/SHA256.json`, by the hash of the charge's row."


def _outbox() -> Iterator[str]:
    yield from ("", "## Outbox", "")
    yield "`outbox.jsonl`: canonical JSON a line, not signed. `payload_sha256` is the hash of the"
    yield "stored form, or of the file that was written; `n_bytes` the length of the packed message as"
    yield "it was sent, or of the file."


def _statement() -> Iterator[str]:
    yield from ("", "## Statement", "")
    yield "A DSSE 1.0 envelope: canonical JSON of `{payload, payloadType, signatures: [{keyid, sig}]}`"
    yield f"and a newline. `payloadType` is `{PAYLOAD_TYPE}`; `payload` and `sig` are base64, `keyid`"
    yield "is the public key. Signed is `DSSEv1 LENGTH TYPE LENGTH PAYLOAD`, lengths in bytes, joined"
    yield "by spaces. No key signs twice; the site signs first. The payload is canonical JSON of an"
    yield f"in-toto Statement v1 with predicate `{PREDICATE_TYPE}`."


def _links() -> Iterator[str]:
    rows = [
        ("request, reply, charge, statement", "`plan_sha256`", "plan"),
        ("request", "`ledger_head`", "a row of the ledger that the coordinator has seen"),
        ("charge", "`request_sha256`", "request"),
        ("outcome", "`charge_index`, `payload_sha256`", "charge; stored reply"),
        ("reply", "`ledger_head`, `ledger_index`", "the outcome's row"),
        ("outbox", "`payload_sha256`", "stored reply"),
        ("statement", "`subject.digest.sha256`", "stored reply"),
        ("statement", "`predicate.ledger.head_sha256`", "the ledger's last row"),
        ("statement", "`predicate.cohorts.cohort_id`", "`members_sha256` of its charges"),
    ]
    yield from ("", "## How documents of a run name each other")
    yield from table(("in", "field", "names"), rows)


def _vectors() -> Iterator[str]:
    rows = []
    for path in sorted(VECTORS.glob("*.json")):
        vectors = json.loads(path.read_bytes())
        fields = dict.fromkeys(name for each in vectors for name in each)
        shown = " ".join(code(name) for name in fields if name not in ("format", "name"))
        rows.append((code(path.name), len(vectors), shown))
    yield from ("", "## Test vectors", "")
    yield f"`tests/vectors/*.json`, ledger rows in versions 1 to {LEDGER_VERSION}; `file` is the text"
    yield "of the file or message, `trusted` the keys that were learnt at enrolment. A program has"
    yield "read a file rightly when it hashes and signs what the vector says, in this order: `hashed`"
    yield "holds `[text, hash]`, `signed` holds `[key, text, signature]`. Vectors named `run` are of"
    yield "one run. The secret of a practice key NAME is the SHA-256 of `osteofed practice key NAME`:"
    yield "`elm`, `elm next`, `coordinator`."
    yield from table(("file", "vectors", "hold"), rows)
    yield "`python tests/vectors/verify.py tests/vectors/*.json` checks them with nothing of this"
    yield "project: it is one file and needs Python and `cryptography`. A test changes one byte at a"
    yield "time and sees each refused; another breaks what each of its checks is for. `make vectors`"
    yield "writes the vectors anew after a format was changed on purpose."


def _shown(prefix: bytes) -> str:
    return code(prefix.decode().replace("\n", "\\n"))
