"""The ledger's rows: their canonical form, hash chain and signatures, checkable offline.

A ledger is a file of JSON lines. Each line is a row, the SHA-256 of its canonical JSON, and the site's
Ed25519 signature of it; each row names the hash of the row before. Member lists never appear, only
their hash, and no count of patients. The format is versioned; other versions are refused. Imports
canonical, countersign, keys, errors and events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, cast

from shared.canonical import canonical_json, sha256_hex
from shared.countersign import verify_countersignature
from shared.errors import LedgerError
from shared.keys import SigningKey, verify
from shared.privacy.events import GaussianEvent

LEDGER_VERSION = 1
GENESIS = "0" * 64
RowKind = Literal["opened", "charge", "outcome"]
ChargeClass = Literal["dp", "governed", "off"]

# A signature of a row can never be taken for one of a message or a plan.
_ROW_DOMAIN = b"osteofed ledger row\n"


@dataclass(frozen=True, kw_only=True)
class LedgerHead:
    """Where a ledger stands: index and hash of its last row."""

    index: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One row. Fields that a kind does not use are empty or None.

    ``charge``: the patients of ``members_sha256`` are about to be touched for ``purpose``. Class
    ``dp`` carries its noise; ``governed`` (exact numbers, approved by a named person) and ``off``
    (training without noise) carry none and give no formal privacy guarantee. ``canaries_sha256``
    commits to the coins of an audit's canaries before they are used.
    ``outcome``: what became of the charge at ``charge_index``; it never lowers a charge.
    """

    version: int = LEDGER_VERSION
    index: int
    previous_sha256: str
    utc: str
    site: str
    public_key: str
    kind: RowKind
    purpose: str = ""
    plan_sha256: str = ""
    run: str = ""
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

    @cached_property
    def content(self) -> bytes:
        """The row's canonical JSON, the bytes that are hashed and signed."""
        return canonical_json({field.name: getattr(self, field.name) for field in fields(self)})

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of ``content``: what the next row names and what a head is."""
        return sha256_hex(self.content)

    @property
    def head(self) -> LedgerHead:
        """The ledger's head while this row is its last."""
        return LedgerHead(index=self.index, sha256=self.sha256)

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


@dataclass(frozen=True, kw_only=True)
class Countersignature:
    """A coordinator's statement that it has seen this head of this site's ledger."""

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
        "row": {field.name: getattr(row, field.name) for field in fields(row)},
        "sha256": row.sha256,
        "signature": key.sign(_ROW_DOMAIN + row.content),
    }
    return canonical_json(line) + b"\n"


def decode_row(line: bytes, *, after: LedgerHead | None, trusted_key: str) -> LedgerRow:
    """The row in a line, checked against the row before.

    Args:
        line: one line of a ledger, newline optional.
        after: head before this row; None for the first row.
        trusted_key: public key that must have signed.

    Raises:
        LedgerError: not a row, of another version, changed, out of order, or signed by another key.
    """
    position = 0 if after is None else after.index + 1
    try:
        content = json.loads(line)
        values = cast("Mapping[str, object]", content["row"])
        stated, signature = str(content["sha256"]), str(content["signature"])
        version = values["version"]
        names = {field.name for field in fields(LedgerRow)}
        if version == LEDGER_VERSION and set(values) != names:
            raise ValueError("fields differ")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(position, f"is not a row ({type(error).__name__})") from None
    if version != LEDGER_VERSION:
        raise LedgerError(
            "unknown-version",
            f"ledger version must be {LEDGER_VERSION}, not {version!r}",
            hint="install the release of OsteoFed that wrote this ledger",
        )
    row = LedgerRow(**values)  # type: ignore[arg-type]
    if stated != row.sha256 or not verify(trusted_key, _ROW_DOMAIN + row.content, signature):
        raise _damaged(position, "was changed or is signed by another key")
    if row.public_key != trusted_key:
        raise _damaged(position, "names another key than the one that signed it")
    if (row.index, row.previous_sha256) != (position, GENESIS if after is None else after.sha256):
        raise _damaged(position, "does not follow the row before it")
    return row


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
        trusted_key: the site's public key, known from enrolment and not from the ledger.
        countersignatures: heads that a coordinator has seen; each must be in the chain.
        coordinator_key: the key that must have countersigned; None accepts the one that is named.

    Raises:
        LedgerError: the ledger was edited, reordered, cut behind a countersigned head, or is foreign.
    """
    rows: list[LedgerRow] = []
    hashes: set[str] = set()
    head: LedgerHead | None = None
    for line in lines:
        row = decode_row(line, after=head, trusted_key=trusted_key)
        if rows and row.site != rows[0].site:
            raise _damaged(row.index, "is of another site")
        rows.append(row)
        head = row.head
        hashes.add(head.sha256)
    for countersignature in countersignatures:
        check_countersignature(
            countersignature,
            site=rows[0].site if rows else "",
            coordinator_key=coordinator_key or countersignature.coordinator_key,
        )
        if countersignature.head_sha256 not in hashes:
            raise behind_error()
    return rows


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
        "this ledger lacks a row that the coordinator has already seen",
        hint="it was rolled back or cut; restore the newest copy, never an older one",
    )


def _damaged(position: int, what: str) -> LedgerError:
    return LedgerError(
        "damaged",
        f"ledger row {position} {what}",
        hint="keep the file as evidence, restore the newest intact copy, tell the auditor",
    )
