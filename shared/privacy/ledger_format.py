"""The ledger's rows: their canonical form, hash chain and signatures, checkable offline.

A ledger is a file of JSON lines. Each line is a row, the SHA-256 of its canonical JSON, and the site's
Ed25519 signature of it; each row names the hash of the row before. A row of kind ``rotated`` hands the
ledger over to another key, which signs from the next row on. Member lists never appear, only their
hash, no count of patients, and no finer time than the hour: what came first follows from the chain.
Each row carries 16 random bytes, so that two copies of a site never write the same row: two rows at one
index are a fork. Each carries its format's version: rows of earlier versions are read as they were
written, since charges last for life; rows of a later version are refused. Imports canonical,
countersign, key_rotation, keys, hours, errors and events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, cast

from shared.errors import LedgerError
from shared.machine.hours import hour_in
from shared.privacy.events import GaussianEvent
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.countersign import verify_countersignature
from shared.signing.key_rotation import KeyRotation
from shared.signing.keys import SigningKey, verify

# 3: rows name the stage of the plan. 4: and what kind of stage it is. 5: attempts, moves, random bytes.
# 6: acceptance of a lock. 7: times are whole hours.
LEDGER_VERSION = 7
_HOURS_SINCE = 7
GENESIS = "0" * 64
# Status of an outcome whose total left, or stays at the site for ever.
RELEASED, KEPT = "released", "kept"
RowKind = Literal["opened", "charge", "attempt", "outcome", "rotated", "moved", "accepted"]
ChargeClass = Literal["dp", "governed", "off"]

# A signature of a row can never be taken for one of a message or a plan.
_ROW_DOMAIN = b"osteofed ledger row\n"
_NONCE = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class LedgerHead:
    """Where a ledger stands: index and hash of its last row."""

    index: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One row. Fields that a kind does not use are empty or null.

    Attributes:
        version: of the row's format.
        index: of the row, from 0 on.
        previous_sha256: hash of the row before.
        utc: the hour in which it was written; finer before version 7.
        site: whose ledger it is.
        public_key: that signs the row.
        kind: ``opened``: the ledger's first row. ``charge``: patients are about to be touched.
            ``attempt``: the same again under the same charge, since the one before died without an
            answer. ``outcome``: what became of a charge; it never lowers one. ``rotated``: the key
            hands over to another. ``moved``: the folder is a copy; charges before it that are open stay
            unanswered. ``accepted``: a named person accepted a lock; what was acquired later counts.
        nonce: 16 random bytes in hexadecimal digits.
        purpose: of a charge.
        plan_sha256: hash of the plan.
        run: the run.
        stage: of the plan.
        stage_kind: of a charge: what kind of stage; empty in rows that were written before version 4.
        round: of the stage.
        request_sha256: hash of the request that is charged.
        members_sha256: hash of the patients who are touched, by keyed pseudonym.
        charge_class: ``dp`` carries its noise; ``governed`` (exact numbers, approved by a named person)
            and ``off`` (training without noise) carry none and give no formal guarantee.
        noise_multiplier: of a ``dp`` charge.
        sample_rate: of a ``dp`` charge.
        steps: noised sums of a ``dp`` charge.
        approved_by: the person who approved exact numbers, a new key or a lock.
        canaries_sha256: commits to the coins of an audit's canaries before they are used.
        charge_index: of an attempt or an outcome: the charge that it is about.
        status: of an outcome: ``released``; ``kept`` where the total stays at the site; or the code of
            the refusal that was the answer.
        payload_sha256: of an outcome: hash of the reply, its total included; the reply names this row.
        next_public_key: of a rotation: signs from the next row on.
        next_signature: of a rotation: the new key agreed.
        place_sha256: of the first row and of a move: where the folder lies, as a hash.
        lock_sha256: of an acceptance: hash of the lock.
    """

    version: int = LEDGER_VERSION
    index: int
    previous_sha256: str
    utc: str
    site: str
    public_key: str
    kind: RowKind
    nonce: str = ""
    purpose: str = ""
    plan_sha256: str = ""
    run: str = ""
    stage: str = ""
    stage_kind: str = ""
    round: int = 0
    request_sha256: str = ""
    members_sha256: str = ""
    charge_class: ChargeClass | Literal[""] = ""
    noise_multiplier: float | None = None
    sample_rate: float | None = None
    steps: int | None = None
    approved_by: str = ""
    canaries_sha256: str = ""
    charge_index: int | None = None
    status: str = ""
    payload_sha256: str = ""
    next_public_key: str = ""
    next_signature: str = ""
    place_sha256: str = ""
    lock_sha256: str = ""

    def values(self) -> dict[str, object]:
        """The fields that a row of this version has, by name."""
        return {name: getattr(self, name) for name in _FIELDS[self.version]}

    @cached_property
    def content(self) -> bytes:
        """The row's canonical JSON, the bytes that are hashed and signed."""
        return canonical_json(self.values())

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of ``content``: what the next row names and what a head is."""
        return sha256_hex(self.content)

    @property
    def head(self) -> LedgerHead:
        """The ledger's head while this row is its last."""
        return LedgerHead(index=self.index, sha256=self.sha256)

    @property
    def successor_key(self) -> str:
        """The public key that must sign the next row."""
        return self.next_public_key or self.public_key

    @property
    def rotation(self) -> KeyRotation:
        """What a row of kind ``rotated`` states."""
        return KeyRotation(
            site=self.site,
            old_key=self.public_key,
            new_key=self.next_public_key,
            ledger_head=self.previous_sha256,
        )

    @property
    def event(self) -> GaussianEvent | None:
        """The charged event; None for a row that promises nothing formal or charges nothing."""
        if self.noise_multiplier is None or self.sample_rate is None or self.steps is None:
            return None
        return GaussianEvent(
            noise_multiplier=self.noise_multiplier,
            sample_rate=self.sample_rate,
            steps=self.steps,
        )


_NEWEST = tuple(field.name for field in fields(LedgerRow))
_SINCE = {
    "canaries_sha256": 2,
    "next_public_key": 2,
    "next_signature": 2,
    "stage": 3,
    "stage_kind": 4,
    "nonce": 5,
    "place_sha256": 5,
    "lock_sha256": 6,
}
_FIELDS = {
    version: tuple(name for name in _NEWEST if _SINCE.get(name, 1) <= version)
    for version in range(1, LEDGER_VERSION + 1)
}


@dataclass(frozen=True, kw_only=True)
class Countersignature:
    """A coordinator's statement that it has seen this head of this site's ledger.

    Attributes:
        head_sha256: hash of the row.
        plan_sha256: plan under which it was signed.
        coordinator_key: that signed.
        signature: of the coordinator.
    """

    head_sha256: str
    plan_sha256: str
    coordinator_key: str
    signature: str


def members_sha256(members: Iterable[str]) -> str:
    """Hash that names a set of PatientKeys, whatever their order or repetition."""
    return sha256_hex(canonical_json(sorted(set(members))))


def encode_row(row: LedgerRow, key: SigningKey) -> bytes:
    """The row's line, signed, newline included."""
    line = {
        "row": row.values(),
        "sha256": row.sha256,
        "signature": key.sign(_ROW_DOMAIN + row.content),
    }
    return canonical_json(line) + b"\n"


def decode_row(line: bytes, *, after: LedgerRow | None) -> LedgerRow:
    """The row in a line, checked against the row before.

    Args:
        line: one line of a ledger, newline optional.
        after: the row before, which says whose signature is due; None for the first row, which is
            checked against the key that it names itself.

    Raises:
        LedgerError: not a row, of another version, changed, out of order, or signed by another key.
    """
    position = 0 if after is None else after.index + 1
    row, signature = _parse(line, position)
    signer = row.public_key if after is None else after.successor_key
    if row.public_key != signer or not verify(signer, _ROW_DOMAIN + row.content, signature):
        raise _damaged(position, "was changed or is signed by another key")
    if (row.index, row.previous_sha256) != (position, GENESIS if after is None else after.sha256):
        raise _damaged(position, "does not follow the row before it")
    if "nonce" in _FIELDS[row.version] and not _NONCE.fullmatch(row.nonce):
        raise _damaged(position, "lacks its random bytes")
    if row.version >= _HOURS_SINCE and not _is_whole_hour(row.utc):
        raise _damaged(position, "carries a finer time than its hour")
    if (row.kind == "accepted") != bool(row.lock_sha256):
        raise _damaged(position, "names a lock without accepting one")
    if (row.kind == "rotated") != bool(row.next_public_key):
        raise _damaged(position, "hands over to a key without saying so")
    if row.kind == "rotated" and not row.rotation.is_signed(row.next_public_key, row.next_signature):
        raise _damaged(position, "hands over to a key that did not agree")
    return row


def reread_row(line: bytes) -> LedgerRow:
    """The row in a line that was checked before, which the caller knows by a hash: nothing is checked.

    Raises:
        LedgerError: of a version that this program does not know.
    """
    content = json.loads(line)
    _require_known(content["row"]["version"])
    row = LedgerRow(**content["row"])
    vars(row)["sha256"] = content["sha256"]
    return row


def _require_known(version: object) -> None:
    if version not in _FIELDS:
        raise LedgerError(
            "unknown-version",
            f"ledger version must be one of {sorted(_FIELDS)}, not {version!r}",
            hint="install the release of OsteoFed that wrote this ledger",
        )


def _is_whole_hour(text: str) -> bool:
    try:
        return hour_in(text).isoformat() == text
    except ValueError:
        return False


def _parse(line: bytes, position: int) -> tuple[LedgerRow, str]:
    """Row and signature in a line whose fields and hash are right."""
    try:
        content = json.loads(line)
        values = cast("Mapping[str, object]", content["row"])
        _require_known(values["version"])
        row = LedgerRow(**values)  # type: ignore[arg-type]
        is_whole = set(content) == {"row", "sha256", "signature"} and set(values) == set(row.values())
        is_genuine = is_whole and content["sha256"] == row.sha256
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(position, f"is not a row ({type(error).__name__})") from None
    if not is_genuine:
        raise _damaged(position, "was changed or is signed by another key")
    return row, str(content["signature"])


def verify_chain(
    lines: Iterable[bytes],
    *,
    trusted_key: str,
    countersignatures: Iterable[Countersignature] = (),
    coordinator_key: str | None = None,
) -> list[LedgerRow]:
    """All rows of a ledger, after checking every hash, signature and link.

    Args:
        lines: the ledger's lines, first to last.
        trusted_key: a public key of the site, known from enrolment and not from the ledger. It must be
            the key of the first row or one that a rotation hands over to: a key that is handed the
            ledger signs the hash of all rows before, so trust in it covers them.
        countersignatures: heads that a coordinator has seen; each must be in the chain.
        coordinator_key: the key that must have countersigned; None accepts the one that is named.

    Raises:
        LedgerError: the ledger was edited, reordered, cut behind a countersigned head, or is foreign.
    """
    rows: list[LedgerRow] = []
    for line in lines:
        row = decode_row(line, after=rows[-1] if rows else None)
        if rows and row.site != rows[0].site:
            raise _damaged(row.index, "is of another site")
        rows.append(row)
    if rows and trusted_key not in keys_of(rows):
        raise foreign_error()
    hashes = {row.sha256 for row in rows}
    for countersignature in countersignatures:
        check_countersignature(
            countersignature,
            site=rows[0].site if rows else "",
            coordinator_key=coordinator_key or countersignature.coordinator_key,
        )
        if countersignature.head_sha256 not in hashes:
            raise behind_error()
    return rows


def keys_of(rows: Iterable[LedgerRow]) -> frozenset[str]:
    """Every public key that has signed, or is handed, a ledger."""
    return frozenset(key for row in rows for key in (row.public_key, row.successor_key))


def check_countersignature(
    countersignature: Countersignature, *, site: str, coordinator_key: str
) -> None:
    """Refuse a countersignature that ``coordinator_key`` did not make.

    Raises:
        LedgerError: another key or a wrong signature.
    """
    is_genuine = verify_countersignature(
        coordinator_key,
        countersignature.signature,
        site=site,
        plan_sha256=countersignature.plan_sha256,
        ledger_head=countersignature.head_sha256,
    )
    if countersignature.coordinator_key != coordinator_key or not is_genuine:
        raise LedgerError(
            "bad-countersignature",
            "a ledger head is not countersigned by the coordinator of this plan",
            hint="ask the coordinator over another channel before running on",
        )


def behind_error() -> LedgerError:
    """The error of a ledger that lacks a row its coordinator has seen."""
    return LedgerError(
        "behind",
        "this ledger lacks a row that its witness or the coordinator has already seen",
        hint="it was rolled back or cut; restore the newest copy, never an older one",
    )


def foreign_error() -> LedgerError:
    """The error of a ledger that no trusted key has signed."""
    return _damaged(0, "is signed by another key than this site's")


def _damaged(position: int, what: str) -> LedgerError:
    return LedgerError(
        "damaged",
        f"ledger row {position} {what}",
        hint="keep the file as evidence, restore the newest intact copy, tell the auditor",
    )
