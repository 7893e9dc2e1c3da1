"""Ledgers among the test vectors: rows of every version and kind, signed by practice keys."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.gate.ledger_file import _WITNESS_DOMAIN, LedgerFile
from shared.privacy.ledger_format import (
    _FIELDS,
    _ROW_DOMAIN,
    GENESIS,
    LEDGER_VERSION,
    RELEASED,
    Countersignature,
    LedgerRow,
    members_sha256,
)
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.countersign import _content as countersigned_bytes
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey

SITE = "elm"
HOUR = "2026-01-01T10:00:00+00:00"
Vector = dict[str, object]


def practice_key(name: str) -> SigningKey:
    """A key that everybody knows."""
    secret = hashlib.sha256(f"osteofed practice key {name}".encode()).digest()
    return SigningKey(Ed25519PrivateKey.from_private_bytes(secret))


ELM, ELM_NEXT, COORDINATOR = map(practice_key, ("elm", "elm next", "coordinator"))


def row_after(
    before: LedgerRow | None,
    kind: str,
    *,
    version: int = LEDGER_VERSION,
    key: SigningKey = ELM,
    **values: object,
) -> LedgerRow:
    """The next row of a kind; of what its version does not have nothing is set."""
    index = before.index + 1 if before else 0
    plain = {
        "version": version,
        "index": index,
        "previous_sha256": before.sha256 if before else GENESIS,
        "utc": HOUR,
        "site": SITE,
        "public_key": key.public_hex,
        "kind": kind,
        "nonce": f"{index:032x}",
    }
    known = {name: value for name, value in (plain | values).items() if name in _FIELDS[version]}
    return LedgerRow(**known)  # type: ignore[arg-type]


def rows_of_version(version: int) -> Iterator[tuple[LedgerRow, SigningKey | None]]:
    """A row of each kind that a version had, with the key that a row hands over to."""
    hashes = {"plan_sha256": "a" * 64, "request_sha256": "b" * 64, "payload_sha256": "c" * 64}
    named = {"purpose": "train", "run": "practice", "stage": "train", "round": 1, **hashes}
    of_patients = {"members_sha256": members_sha256(["x", "y"]), "charge_class": "dp"}
    of_noise = {"noise_multiplier": 4.25, "sample_rate": 1.0, "steps": 3, "stage_kind": "gradient"}
    charged = named | of_patients | of_noise | {"payload_sha256": ""}
    place = {"place_sha256": sha256_hex(b"practice place")}
    yield (row := row_after(None, "opened", version=version, **place)), None
    yield (charge := row_after(row, "charge", version=version, **charged)), None
    row = charge
    if version >= 5:
        about = named | {"charge_index": charge.index, "payload_sha256": ""}
        yield (row := row_after(row, "attempt", version=version, **about)), None
    about = named | {"charge_index": charge.index, "status": RELEASED}
    yield (row := row_after(row, "outcome", version=version, **about)), None
    if version >= 6:
        lock = {"lock_sha256": "d" * 64, "approved_by": "Ada Lovelace"}
        yield (row := row_after(row, "accepted", version=version, **lock)), None
    key = ELM
    if version >= 2:
        new = {"next_public_key": ELM_NEXT.public_hex, "approved_by": "Ada Lovelace"}
        draft = row_after(row, "rotated", version=version, **new)
        signature = ELM_NEXT.sign(draft.rotation.content)
        yield (row := replace(draft, next_signature=signature)), ELM_NEXT
        key = ELM_NEXT
    if version >= 5:
        yield row_after(row, "moved", version=version, key=key, **place), None


def grown_rows() -> Iterator[tuple[LedgerRow, SigningKey | None]]:
    """A ledger that lived through every version: a charge by each."""
    row = None
    for version in range(1, LEDGER_VERSION + 1):
        values = {"plan_sha256": "a" * 64, "request_sha256": f"{version:064x}", "stage": "train"}
        kind = "charge" if row else "opened"
        yield (row := row_after(row, kind, version=version, **(values if row else {}))), None


def ledger_vectors(run: Sequence[LedgerRow], *, plan_sha256: str) -> Iterator[Vector]:
    """The ledger of the run, one of each version, one of all."""
    yield _ledger("run", [(row, None) for row in run], seen=plan_sha256)
    for version in range(1, LEDGER_VERSION + 1):
        yield _ledger(f"every kind of row, version {version}", list(rows_of_version(version)))
    yield _ledger("rows of every version", list(grown_rows()))


def _ledger(
    name: str, rows: Sequence[tuple[LedgerRow, SigningKey | None]], *, seen: str = ""
) -> Vector:
    """A ledger as the site's own writer leaves it on disk."""
    with tempfile.TemporaryDirectory() as found:
        folder = Path(found, "ledger")
        ledger = LedgerFile(folder, site=SITE, key=ELM, admit=lambda _: None)
        with ledger.held():
            for row, next_key in rows:
                ledger.append(row, next_key=next_key)
            if seen:
                ledger.append_countersignature(seen_head(rows[0][0], seen))
        beside, witness = folder / "countersigned.jsonl", Path(found, "ledger-witness.json")
        versions = sorted({row.version for row, _ in rows})
        text, seen_by = (folder / "ledger.jsonl").read_text(), [COORDINATOR] if seen else []
        heads = beside.read_text() if beside.exists() else ""
        return {
            "format": "ledger",
            "name": name,
            "site": SITE,
            "trusted": [key.public_hex for key in (ELM, *seen_by)],
            "fields": {str(version): list(_FIELDS[version]) for version in versions},
            "file": text,
            "countersigned": heads,
            "witness": witness.read_text(),
            "hashed": [[row.content.decode(), row.sha256] for row, _ in rows],
            "signed": [
                *_signed_rows([row for row, _ in rows], text),
                *_signed_heads(heads),
                _signed_witness(witness.read_bytes()),
            ],
        }


def _signed_rows(rows: Sequence[LedgerRow], text: str) -> Iterator[list[str]]:
    """What each row signs, and what a new key agrees to."""
    for row, line in zip(rows, text.splitlines(), strict=True):
        signature = json.loads(line)["signature"]
        yield [row.public_key, (_ROW_DOMAIN + row.content).decode(), signature]
        if row.kind == "rotated":
            yield [row.next_public_key, row.rotation.content.decode(), row.next_signature]


def _signed_heads(text: str) -> Iterator[list[str]]:
    """What a coordinator signs of the heads that it has seen."""
    for line in text.splitlines():
        head = Countersignature(**json.loads(line))
        content = countersigned_bytes(SITE, head.plan_sha256, head.head_sha256)
        yield [head.coordinator_key, content.decode(), head.signature]


def _signed_witness(file: bytes) -> list[str]:
    """What a witness signs."""
    found = json.loads(file)
    content = _WITNESS_DOMAIN + canonical_json(found["witness"])
    return [found["public_key"], content.decode(), found["signature"]]


def seen_head(row: LedgerRow, plan_sha256: str) -> Countersignature:
    """What the coordinator says of a head that it has seen."""
    signature = countersign(COORDINATOR, site=SITE, plan_sha256=plan_sha256, ledger_head=row.sha256)
    return Countersignature(
        head_sha256=row.sha256,
        plan_sha256=plan_sha256,
        coordinator_key=COORDINATOR.public_hex,
        signature=signature,
    )
