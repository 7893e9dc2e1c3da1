"""A site's ledger: every touch of its patients, charged before it happens, for ever.

Append-only JSON lines under one writer lock, flushed to disk before a charge counts, hash-chained and
signed (``shared.privacy.ledger_format``). A charge binds patients, not cohorts: what a patient has
spent is the sum over all charges whose member list names the patient, so a new cohort version or a
second schema over the same people starts where the old one ended. Member lists stay in this folder,
readable by its owner only. There are no refunds, and a crash leaves a charge standing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from shared.canonical import canonical_json
from shared.errors import LedgerError, PrivacyError
from shared.files import sync_folder, write_atomic
from shared.keys import SigningKey
from shared.privacy.accountant import epsilon_of
from shared.privacy.events import GaussianEvent, merge_events
from shared.privacy.filter import Allowance, filter_epsilon, fits
from shared.privacy.ledger_export import Account, LedgerExport, write_export
from shared.privacy.ledger_format import (
    GENESIS,
    ChargeClass,
    Countersignature,
    LedgerHead,
    LedgerRow,
    RowKind,
    behind_error,
    check_countersignature,
    decode_row,
    encode_row,
    members_sha256,
    verify_chain,
)

Events = tuple[GaussianEvent, ...]


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What is about to be done to patients. ``event`` None: nothing formal is promised."""

    charge_class: ChargeClass
    event: GaussianEvent | None
    purpose: str
    plan_sha256: str
    run: str
    round: int
    request_sha256: str
    approved_by: str = ""
    canaries_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The dearest patient's account: what was spent and is left, at one δ.

    ``epsilon_spent`` is the lifetime filter's. ``n_unprotected`` counts charges with no formal
    guarantee (governed releases, privacy off) that touched any of the patients; no ε covers them.
    """

    epsilon_spent: float
    epsilon_left: float
    delta: float
    n_unprotected: int


class Ledger:
    """The one ledger of a site.

    Args:
        folder: the site's ``ledger`` folder; made when absent.
        site: the site's name.
        key: the site's signing key.
        clock: gives the time that rows carry.

    Raises:
        LedgerError: damaged, of another version or site, or behind its last countersigned head.
    """

    def __init__(
        self, folder: Path, *, site: str, key: SigningKey, clock: Callable[[], datetime]
    ) -> None:
        self._folder = folder
        self._site = site
        self._key = key
        self._clock = clock
        self._path = folder / "ledger.jsonl"
        self._countersigned_path = folder / "countersigned.jsonl"
        self._rows: list[LedgerRow] = []
        self._hashes: set[str] = set()
        self._n_read = 0
        self._members: dict[str, frozenset[str]] = {}
        # (member list, plan) → what was charged, merged, so that a query does not grow with rounds
        self._charged: dict[tuple[str, str], Events] = {}
        (folder / "members").mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            if not self._rows:
                self._append(self._blank_row("opened"))

    def head(self) -> LedgerHead:
        """Where the ledger stands on disk."""
        with self._locked():
            return self._rows[-1].head

    def show(self) -> tuple[LedgerRow, ...]:
        """All rows, first to last."""
        with self._locked():
            return tuple(self._rows)

    def charge(self, charge: Charge, *, members: Collection[str], allowance: Allowance) -> LedgerHead:
        """Append a charge and flush it; only afterwards may noise be drawn and patients be touched.

        Args:
            charge: what is about to happen.
            members: PatientKeys of every patient that it touches.
            allowance: the hospital's caps.

        Raises:
            PrivacyError: ``budget-exhausted`` when any of the patients, or the run, would overspend;
                ``round-repeated`` when this round of the plan was charged for another request.
        """
        with self._locked():
            self._refuse_other_request(charge)
            if charge.event is not None:
                self._refuse_overspending(charge, charge.event, frozenset(members), allowance)
            event = charge.event
            row = replace(
                self._blank_row("charge"),
                purpose=charge.purpose,
                plan_sha256=charge.plan_sha256,
                run=charge.run,
                round=charge.round,
                request_sha256=charge.request_sha256,
                members_sha256=self._store_members(members),
                charge_class=charge.charge_class,
                noise_multiplier=event.noise_multiplier if event else None,
                sample_rate=event.sample_rate if event else None,
                steps=event.steps if event else None,
                approved_by=charge.approved_by,
                canaries_sha256=charge.canaries_sha256,
            )
            return self._append(row)

    def record_outcome(
        self, request_sha256: str, *, status: str, payload_sha256: str = ""
    ) -> LedgerHead:
        """Append what became of the newest charge for a request; it changes no balance.

        Raises:
            PrivacyError: nothing was charged for this request, or the charge has its outcome: one
                charge pays for one release.
        """
        with self._locked():
            charged = self._newest_charge(request_sha256)
            if charged is None:
                raise PrivacyError("not-charged", "nothing was charged for this request")
            if self._has_outcome(charged):
                raise PrivacyError(
                    "already-released",
                    "the charge for this request has already paid for a release",
                    hint="send the stored reply again, or charge afresh",
                )
            row = replace(
                self._blank_row("outcome"),
                purpose=charged.purpose,
                plan_sha256=charged.plan_sha256,
                run=charged.run,
                round=charged.round,
                request_sha256=request_sha256,
                charge_index=charged.index,
                status=status,
                payload_sha256=payload_sha256,
            )
            return self._append(row)

    def open_charge(self, request_sha256: str) -> LedgerRow | None:
        """The newest charge for a request, unless it has its outcome."""
        with self._locked():
            charged = self._newest_charge(request_sha256)
            return None if charged is None or self._has_outcome(charged) else charged

    def record_countersignature(
        self, head_sha256: str, signature: str, *, plan_sha256: str, coordinator_key: str
    ) -> None:
        """Keep the coordinator's countersignature of one of this ledger's heads.

        Raises:
            LedgerError: ``bad-countersignature``; or ``behind``, when this ledger has no such head
                because it was rolled back or cut.
        """
        countersignature = Countersignature(
            head_sha256=head_sha256,
            plan_sha256=plan_sha256,
            coordinator_key=coordinator_key,
            signature=signature,
        )
        check_countersignature(countersignature, site=self._site, coordinator_key=coordinator_key)
        with self._locked():
            if head_sha256 not in self._hashes:
                raise behind_error()
            if countersignature not in self.countersignatures():
                line = canonical_json(asdict(countersignature)) + b"\n"
                _append_and_sync(self._countersigned_path, line)

    def countersignatures(self) -> tuple[Countersignature, ...]:
        """Heads that a coordinator has countersigned, oldest first."""
        if not self._countersigned_path.exists():
            return ()
        whole, _, _ = self._countersigned_path.read_bytes().rpartition(b"\n")
        return tuple(Countersignature(**json.loads(line)) for line in whole.splitlines())

    def budget(self, members: Collection[str], *, allowance: Allowance) -> Budget:
        """What the dearest of these patients has spent and has left for life."""
        with self._locked():
            lists = self._lists_of(frozenset(members))
            spent = max(
                (filter_epsilon(self._events_of(group), allowance.delta) for group in lists),
                default=0.0,
            )
            touched = frozenset().union(*lists)
            n_unprotected = sum(
                row.kind == "charge" and row.event is None and row.members_sha256 in touched
                for row in self._rows
            )
        return Budget(
            epsilon_spent=spent,
            epsilon_left=max(0.0, allowance.epsilon_lifetime - spent),
            delta=allowance.delta,
            n_unprotected=n_unprotected,
        )

    def budget_of_everybody(self, *, allowance: Allowance) -> Budget:
        """The account of the dearest patient that was ever charged."""
        with self._locked():
            charged = {row.members_sha256 for row in self._rows if row.kind == "charge"}
            members = frozenset().union(*(self._load_members(sha256) for sha256 in charged))
        return self.budget(members, allowance=allowance)

    def run_epsilon(self, plan_sha256: str, members: Collection[str], *, delta: float) -> float:
        """What one plan has cost the dearest of these patients so far (accountant, not filter)."""
        with self._locked():
            lists = self._lists_of(frozenset(members))
            return max(
                (epsilon_of(self._events_of(group, plan_sha256), delta) for group in lists),
                default=0.0,
            )

    def verify(self) -> LedgerHead:
        """Check every row, link, signature and countersignature from the file, and return the head.

        Raises:
            LedgerError: edited, reordered, cut behind a countersigned head, or foreign.
        """
        with self._locked():
            rows = verify_chain(
                self._lines(),
                trusted_key=self._key.public_hex,
                countersignatures=self.countersignatures(),
            )
            self._members.clear()
            for sha256 in {members for members, _ in self._charged}:
                self._load_members(sha256)
            return rows[-1].head

    def export(self, path: Path, *, allowance: Allowance) -> None:
        """Write rows, countersignatures and the account for an auditor; member lists are not in it."""
        budget = self.budget_of_everybody(allowance=allowance)
        with self._locked():
            export = LedgerExport(
                site=self._site,
                public_key=self._key.public_hex,
                account=Account(epsilon_cap=allowance.epsilon_lifetime, **asdict(budget)),
                lines=tuple(json.loads(line) for line in self._lines()),
                countersignatures=tuple(self.countersignatures()),
            )
        write_export(path, export)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the one writer lock with every row on disk read and checked."""
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._read_new_rows()
            yield
        finally:
            os.close(descriptor)

    def _read_new_rows(self) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < self._n_read:
            raise behind_error()
        if size > self._n_read:
            with self._path.open("r+b") as stream:
                stream.seek(self._n_read)
                whole, newline, torn = stream.read().rpartition(b"\n")
                if torn:
                    # The charge was never acknowledged, so nothing was trained on it.
                    stream.truncate(self._n_read + len(whole) + len(newline))
                    os.fsync(stream.fileno())
            for line in (whole + newline).split(b"\n")[:-1]:
                after = self._rows[-1].head if self._rows else None
                row = decode_row(line, after=after, trusted_key=self._key.public_hex)
                self._admit(row, n_bytes=len(line) + 1)
        if any(each.head_sha256 not in self._hashes for each in self.countersignatures()):
            raise behind_error()

    def _lines(self) -> list[bytes]:
        return self._path.read_bytes().split(b"\n")[:-1]

    def _append(self, row: LedgerRow) -> LedgerHead:
        line = encode_row(row, self._key)
        _append_and_sync(self._path, line)
        self._admit(row, n_bytes=len(line))
        return row.head

    def _admit(self, row: LedgerRow, *, n_bytes: int) -> None:
        if row.site != self._site:
            raise LedgerError("wrong-site", f"this ledger belongs to {row.site}, not {self._site}")
        self._rows.append(row)
        self._hashes.add(row.sha256)
        self._n_read += n_bytes
        if row.kind == "charge":
            account = (row.members_sha256, row.plan_sha256)
            new = () if row.event is None else (row.event,)
            self._charged[account] = merge_events((*self._charged.get(account, ()), *new))

    def _newest_charge(self, request_sha256: str) -> LedgerRow | None:
        for row in reversed(self._rows):
            if row.kind == "charge" and row.request_sha256 == request_sha256:
                return row
        return None

    def _has_outcome(self, charged: LedgerRow) -> bool:
        return any(row.charge_index == charged.index for row in self._rows[charged.index :])

    def _refuse_other_request(self, charge: Charge) -> None:
        wanted = (charge.plan_sha256, charge.purpose, charge.round)
        for row in self._rows:
            if (
                row.kind == "charge"
                and (row.plan_sha256, row.purpose, row.round) == wanted
                and row.request_sha256 != charge.request_sha256
            ):
                raise PrivacyError(
                    "round-repeated",
                    f"{charge.purpose} of round {charge.round} was already charged for another "
                    "request of this plan",
                    hint="a round is answered once; the coordinator must resume, not repeat it",
                )

    def _refuse_overspending(
        self, charge: Charge, event: GaussianEvent, members: frozenset[str], allowance: Allowance
    ) -> None:
        for group in self._lists_of(members) or {frozenset()}:
            of_life = (*self._events_of(group), event)
            if not fits(of_life, epsilon=allowance.epsilon_lifetime, delta=allowance.delta):
                raise _exhausted(f"the lifetime cap of {allowance.epsilon_lifetime:g}")
            of_run = (*self._events_of(group, charge.plan_sha256), event)
            if epsilon_of(of_run, allowance.delta) > allowance.epsilon_per_run:
                raise _exhausted(f"the cap of {allowance.epsilon_per_run:g} per run")

    def _lists_of(self, members: frozenset[str]) -> set[frozenset[str]]:
        """For each patient the member lists that name the patient; equal answers merged."""
        groups: dict[str, set[str]] = {patient: set() for patient in members}
        for sha256 in {members for members, _ in self._charged}:
            for patient in self._load_members(sha256) & members:
                groups[patient].add(sha256)
        return {frozenset(group) for group in groups.values()}

    def _events_of(self, lists: frozenset[str], plan_sha256: str | None = None) -> Events:
        """Every event charged to any of these member lists, of one plan or of all."""
        return merge_events(
            event
            for (members, plan), events in self._charged.items()
            if members in lists and plan_sha256 in (None, plan)
            for event in events
        )

    def _store_members(self, members: Collection[str]) -> str:
        sha256 = members_sha256(members)
        path = self._folder / "members" / f"{sha256}.json"
        if sha256 not in self._members or not path.exists():
            write_atomic(path, canonical_json(sorted(set(members))), mode=0o600)
            self._members[sha256] = frozenset(members)
        return sha256

    def _load_members(self, sha256: str) -> frozenset[str]:
        if sha256 not in self._members:
            try:
                members = json.loads((self._folder / "members" / f"{sha256}.json").read_bytes())
            except (OSError, ValueError):
                members = None
            if not isinstance(members, list) or members_sha256(members) != sha256:
                raise LedgerError(
                    "members-missing",
                    f"the member list {sha256[:12]} of a charge is missing or was changed",
                    hint="restore the ledger folder as a whole from its newest copy",
                )
            self._members[sha256] = frozenset(members)
        return self._members[sha256]

    def _blank_row(self, kind: RowKind) -> LedgerRow:
        after = self._rows[-1].head if self._rows else None
        return LedgerRow(
            index=0 if after is None else after.index + 1,
            previous_sha256=GENESIS if after is None else after.sha256,
            utc=self._clock().isoformat(),
            site=self._site,
            public_key=self._key.public_hex,
            kind=kind,
        )


def _append_and_sync(path: Path, line: bytes) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        written = os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if written != len(line):
        raise LedgerError("disk-full", "a ledger row could not be written whole")
    if is_new:
        sync_folder(path.parent)


def _exhausted(cap: str) -> PrivacyError:
    return PrivacyError(
        "budget-exhausted",
        f"this would spend more on some patients than {cap} allows",
        hint="`osteofed-site ledger show` lists what was spent; only the hospital can raise its cap",
    )
