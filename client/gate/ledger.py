"""A site's ledger: every touch of its patients, charged before it happens, for ever.

Append-only rows, flushed to disk before a charge counts (``client.gate.ledger_file``), hash-chained and
signed (``shared.privacy.ledger_format``). A charge binds patients, not cohorts: what a patient has
spent is the sum over all charges whose member list names the patient, so a new cohort version or a
second schema over the same people starts where the old one ended. Member lists stay in this folder,
readable by its owner only. There are no refunds, and a crash leaves a charge standing: it pays for one
release, not for one attempt (``shared.privacy.attempts``).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from client.gate.charges import Charges
from client.gate.exact_releases import ExactReleases
from client.gate.ledger_file import LedgerFile, has_rows
from shared.errors import LedgerError, PlanError, PrivacyError
from shared.machine.files import make_folder, write_atomic
from shared.machine.hours import hour_text
from shared.privacy.accountant import epsilon_of
from shared.privacy.events import GaussianEvent
from shared.privacy.filter import Allowance, filter_epsilon, fits
from shared.privacy.ledger_export import Account, LedgerExport, write_export
from shared.privacy.ledger_format import (
    GENESIS,
    LEDGER_VERSION,
    RELEASED,
    ChargeClass,
    Countersignature,
    LedgerHead,
    LedgerRow,
    RowKind,
    behind_error,
    check_countersignature,
    members_sha256,
)
from shared.signing.canonical import canonical_json
from shared.signing.keys import SigningKey

if TYPE_CHECKING:
    from client.site.folder import Site


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What is about to be done to patients. ``event`` None: nothing formal is promised."""

    charge_class: ChargeClass
    event: GaussianEvent | None
    purpose: str
    plan_sha256: str
    run: str
    stage: str
    round: int
    request_sha256: str
    stage_kind: str = ""
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
        clock: gives the time of which rows carry the hour.

    Raises:
        LedgerError: damaged, gone, of another version, site or key, or behind a head that was seen.
    """

    def __init__(
        self, folder: Path, *, site: str, key: SigningKey, clock: Callable[[], datetime]
    ) -> None:
        self._site = site
        self._clock = clock
        self._members_folder = folder / "members"
        self._members: dict[str, frozenset[str]] = {}
        self._charges = Charges()
        self._file = LedgerFile(folder, site=site, key=key, admit=self._charges.admit)
        make_folder(self._members_folder, mode=0o700)
        with self._file.held():
            if not has_rows(folder):
                self._file.append(self._placed_row("opened"))

    def head(self) -> LedgerHead:
        """Where the ledger stands on disk."""
        with self._file.held():
            return self._file.rows[-1].head

    def show(self) -> tuple[LedgerRow, ...]:
        """All rows, first to last."""
        with self._file.held():
            return tuple(self._file.rows)

    def charge(
        self,
        charge: Charge,
        *,
        members: Collection[str],
        allowance: Allowance,
        governed_releases: int = 1,
        minimum_cell: int = 1,
    ) -> LedgerRow:
        """Append a charge and flush it; only afterwards may noise be drawn and patients be touched.

        An equal charge whose attempts died without an answer pays once more: then an attempt is
        appended, and nothing is spent.

        Args:
            charge: what is about to happen.
            members: PatientKeys of every patient that it touches.
            allowance: the hospital's caps.
            governed_releases: most governed releases of the same patients, over all plans.
            minimum_cell: of the policy; fewer may not be everybody but those of an internal split.

        Returns:
            The charge that pays.

        Raises:
            PrivacyError: ``budget-exhausted`` when any of the patients, or the run, would overspend;
                ``round-repeated`` when this round of the plan was charged for another request;
                ``governed-repeated`` when a split has had its governed releases;
                ``governed-other-members`` when a further one would be of some of those patients only,
                or of more.
            PolicyError: ``exact-beside-exact`` when a further one is of anything but main statistics,
                or not of what the earlier ones were.
        """
        with self._file.held():
            self._refuse_other_request(charge)
            open_charge = self._charges.newest(charge.request_sha256)
            if open_charge is not None and self._may_repeat(open_charge, charge, members):
                self._file.append(self._row_about(open_charge, "attempt"))
                return open_charge
            if charge.charge_class == "governed":
                self._exact().require_no_difference(
                    self._row_of(charge, members),
                    frozenset(members),
                    most=governed_releases,
                    least=minimum_cell,
                )
            if charge.event is not None:
                self._refuse_overspending(charge, charge.event, frozenset(members), allowance)
            self._store_members(members)
            self._note_place()
            return self._file.append(self._row_of(charge, members))

    def record_outcome(
        self, request_sha256: str, *, status: str, payload_sha256: str = ""
    ) -> LedgerRow:
        """Append what became of the newest charge for a request; it changes no balance.

        Args:
            request_sha256: hash of the request that was charged.
            status: ``released``, ``kept``, or the code of the refusal that is the answer.
            payload_sha256: hash of the answer.

        Raises:
            PrivacyError: nothing was charged for this request, or the charge has its outcome: one
                charge pays for one release.
        """
        with self._file.held():
            charged = self._charges.newest(request_sha256)
            if charged is None:
                raise PrivacyError("not-charged", "nothing was charged for this request")
            if self._charges.attempts.outcome_of(charged) is not None:
                raise PrivacyError(
                    "already-released",
                    "the charge for this request has already paid for a release",
                    hint="send the stored reply again",
                )
            row = self._row_about(charged, "outcome")
            return self._file.append(replace(row, status=status, payload_sha256=payload_sha256))

    def open_charge(self, request_sha256: str) -> LedgerRow | None:
        """The newest charge for a request if it is unanswered, in this very folder."""
        with self._file.held():
            charged = self._charges.newest(request_sha256)
            return charged if charged is not None and self._is_open_here(charged) else None

    def n_charges(self, request_sha256: str) -> int:
        """How often a request was charged: more than once where a charge could pay for no attempt."""
        with self._file.held():
            return len(self._charges.of_request(request_sha256))

    def answered(self, request_sha256: str) -> tuple[LedgerRow, LedgerRow] | None:
        """The newest charge for a request and the outcome that names its answer, if there is one."""
        with self._file.held():
            charged = self._charges.newest(request_sha256)
            outcome = None if charged is None else self._charges.attempts.outcome_of(charged)
            if charged is None or outcome is None:
                return None
            # Before version 5 a refusal was written down without its answer, which was not kept.
            is_kept = outcome.payload_sha256 or outcome.status == RELEASED
            return (charged, outcome) if is_kept else None

    def governed_so_far(
        self, charge: Charge, *, members: Collection[str], most: int, minimum_cell: int = 1
    ) -> int:
        """How many governed releases of its kind these patients had; refuses as ``charge`` would.

        Nothing is written.

        Args:
            charge: of class ``governed``.
            members: PatientKeys of every patient that it would touch.
            most: governed releases of the same patients, over all plans.
            minimum_cell: as of ``charge``.
        """
        with self._file.held():
            return self._exact().require_no_difference(
                self._row_of(charge, members), frozenset(members), most=most, least=minimum_cell
            )

    def governed_before(self, charged: LedgerRow) -> tuple[LedgerRow, ...]:
        """Governed charges of the same patients that were released before this one, oldest first."""
        with self._file.held():
            return self._exact().released_before(charged)

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
        with self._file.held():
            self._file.append_countersignature(countersignature)

    def countersignatures(self) -> tuple[Countersignature, ...]:
        """Heads that a coordinator has countersigned, oldest first."""
        with self._file.held():
            return tuple(self._file.countersignatures)

    def hand_over(self, new_key: SigningKey, *, by: str) -> LedgerRow:
        """Append the row with which this site's key hands over to a new one, signed by both.

        Args:
            new_key: signs every row from the next one on.
            by: first and last name of the person who decided it.
        """
        with self._file.held():
            row = replace(
                self._blank_row("rotated"), next_public_key=new_key.public_hex, approved_by=by
            )
            signed = replace(row, next_signature=new_key.sign(row.rotation.content))
            self._file.append(signed, next_key=new_key)
            return signed

    def accept_lock(
        self, lock_sha256: str, *, plan_sha256: str, run: str, by: str, after: str
    ) -> LedgerRow:
        """Append that a person accepted a lock; or the row of its earlier acceptance, unchanged.

        Args:
            lock_sha256: hash of the lock.
            plan_sha256: of the plan under which it will be measured.
            run: that plan's run.
            by: first and last name of the person.
            after: this site's last head that the lock's maker had seen; empty: it had seen none.

        Raises:
            LedgerError: this ledger does not have that head, so that it is no later than the lock; or
                the lock names none though heads of this ledger were countersigned.
        """
        with self._file.held():
            if after and all(row.sha256 != after for row in self._file.rows):
                raise behind_error()
            if not after and self._file.countersignatures:
                raise LedgerError(
                    "unseen-lock",
                    "the lock names no head of this ledger, though its maker has countersigned one",
                    hint="ask the coordinator for a lock of the home that holds this run",
                )
            accepted = self._acceptance(lock_sha256)
            if accepted is not None:
                return accepted
            row = replace(
                self._blank_row("accepted"),
                purpose="evaluate.prospective",
                plan_sha256=plan_sha256,
                run=run,
                approved_by=by,
                lock_sha256=lock_sha256,
            )
            return self._file.append(row)

    def acceptance_of(self, lock_sha256: str) -> LedgerRow | None:
        """The row by which a lock was accepted; None for one that nobody accepted here."""
        with self._file.held():
            return self._acceptance(lock_sha256)

    def budget(
        self,
        members: Collection[str],
        *,
        allowance: Allowance,
        further: Collection[GaussianEvent] = (),
        besides: Collection[str] = (),
    ) -> Budget:
        """What the dearest of these patients has spent and has left for life.

        Args:
            members: PatientKeys.
            allowance: the hospital's caps.
            further: events as if they had been charged to all of them; nothing is written.
            besides: hashes of plans whose charges are left out: their whole price is ``further``.
        """
        with self._file.held():
            lists = self._lists_of(frozenset(members))
            spent = max(
                (
                    filter_epsilon(
                        (*self._charges.events_of(group, besides=besides), *further), allowance.delta
                    )
                    for group in lists
                ),
                default=0.0,
            )
            touched = frozenset().union(*lists)
            n_unprotected = sum(
                row.kind == "charge" and row.event is None and row.members_sha256 in touched
                for row in self._file.rows
            )
        return Budget(
            epsilon_spent=spent,
            epsilon_left=max(0.0, allowance.epsilon_lifetime - spent),
            delta=allowance.delta,
            n_unprotected=n_unprotected,
        )

    def budget_of_everybody(self, *, allowance: Allowance) -> Budget:
        """The account of the dearest patient that was ever charged."""
        with self._file.held():
            members = self._members_of(self._charges.lists)
        return self.budget(members, allowance=allowance)

    def members_of(self, charges: Iterable[LedgerRow]) -> frozenset[str]:
        """PatientKeys of everybody that these charges touched.

        Raises:
            LedgerError: a member list is gone, or is not the one that was charged.
        """
        with self._file.held():
            return self._members_of({row.members_sha256 for row in charges})

    def charges_of(self, patient: str) -> tuple[LedgerRow, ...]:
        """Every charge whose member list names a patient, oldest first."""
        with self._file.held():
            return tuple(
                row
                for row in self._file.rows
                if row.kind == "charge" and patient in self._load_members(row.members_sha256)
            )

    def run_epsilon(self, plan_sha256: str, members: Collection[str], *, delta: float) -> float:
        """What one plan has cost the dearest of these patients so far (accountant, not filter)."""
        with self._file.held():
            lists = self._lists_of(frozenset(members))
            return max(
                (epsilon_of(self._charges.events_of(group, plan_sha256), delta) for group in lists),
                default=0.0,
            )

    def verify(self) -> LedgerHead:
        """Check every row, link, signature, countersignature and member list from the files.

        Raises:
            LedgerError: edited, reordered, cut behind a countersigned head, or foreign.
        """
        with self._file.held():
            head = self._file.verify()
            self._members.clear()
            for sha256 in self._charges.lists:
                self._load_members(sha256)
            return head

    def account_for(self, *, allowance: Allowance) -> LedgerExport:
        """Rows, countersignatures and the dearest patient's account; member lists are not in it."""
        budget = self.budget_of_everybody(allowance=allowance)
        with self._file.held():
            return LedgerExport(
                site=self._site,
                public_key=self._file.key.public_hex,
                account=Account(epsilon_cap=allowance.epsilon_lifetime, **asdict(budget)),
                lines=tuple(json.loads(line) for line in self._file.lines()),
                countersignatures=tuple(self._file.countersignatures),
            )

    def export(self, path: Path, *, allowance: Allowance) -> None:
        """Write ``account_for`` where it stays; ``client.gate.export`` writes what is handed over."""
        write_export(path, self.account_for(allowance=allowance))

    def _acceptance(self, lock_sha256: str) -> LedgerRow | None:
        found = (row for row in self._file.rows if row.kind == "accepted")
        return next((row for row in found if row.lock_sha256 == lock_sha256), None)

    def _members_of(self, lists: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*(self._load_members(sha256) for sha256 in lists))

    def _is_open_here(self, charged: LedgerRow) -> bool:
        return self._charges.attempts.is_open(charged) and self._is_in_place()

    def _may_repeat(self, charged: LedgerRow, charge: Charge, members: Collection[str]) -> bool:
        """Whether a charge pays for one more attempt: open, here, and of the very same."""
        is_same = _terms(charged) == _terms(self._row_of(charge, members))
        return is_same and self._charges.attempts.may_repeat(charged) and self._is_in_place()

    def _is_in_place(self) -> bool:
        """Whether the folder lies where its rows say, and is no copy."""
        placed = self._charges.attempts.placed
        return placed is not None and self._file.place_sha256(placed.nonce) == placed.place_sha256

    def _note_place(self) -> None:
        """Append that the folder is a copy, before its first charge."""
        if not self._is_in_place():
            self._file.append(self._placed_row("moved"))

    def _refuse_other_request(self, charge: Charge) -> None:
        asked = self._charges.request_of(charge.plan_sha256, charge.stage, charge.round)
        if asked not in (None, charge.request_sha256):
            raise PrivacyError(
                "round-repeated",
                f"{charge.stage} of round {charge.round} was already charged for another "
                "request of this plan",
                hint="a round is answered once; the coordinator must resume, not repeat it",
            )

    def _exact(self) -> ExactReleases:
        """Governed charges so far; for the holder of the lock."""
        return ExactReleases(self._file.rows, load_members=self._load_members)

    def _refuse_overspending(
        self, charge: Charge, event: GaussianEvent, members: frozenset[str], allowance: Allowance
    ) -> None:
        for group in self._lists_of(members) or {frozenset()}:
            of_life = (*self._charges.events_of(group), event)
            if not fits(of_life, epsilon=allowance.epsilon_lifetime, delta=allowance.delta):
                raise _exhausted(f"the lifetime cap of {allowance.epsilon_lifetime:g}")
            of_run = (*self._charges.events_of(group, charge.plan_sha256), event)
            if epsilon_of(of_run, allowance.delta) > allowance.epsilon_per_run:
                raise _exhausted(f"the cap of {allowance.epsilon_per_run:g} per run")

    def _lists_of(self, members: frozenset[str]) -> set[frozenset[str]]:
        """For each patient the member lists that name the patient; equal answers merged."""
        groups: dict[str, set[str]] = {patient: set() for patient in members}
        for sha256 in self._charges.lists:
            for patient in self._load_members(sha256) & members:
                groups[patient].add(sha256)
        return {frozenset(group) for group in groups.values()}

    def _store_members(self, members: Collection[str]) -> None:
        sha256 = members_sha256(members)
        path = self._members_folder / f"{sha256}.json"
        if sha256 not in self._members or not path.exists():
            write_atomic(path, canonical_json(sorted(set(members))), mode=0o600)
            self._members[sha256] = frozenset(members)

    def _load_members(self, sha256: str) -> frozenset[str]:
        if sha256 not in self._members:
            try:
                members = json.loads((self._members_folder / f"{sha256}.json").read_bytes())
                is_whole = members_sha256(members) == sha256
            except (OSError, ValueError, TypeError):
                is_whole = False
            if not is_whole:
                raise LedgerError(
                    "members-missing",
                    f"the member list {sha256[:12]} of a charge is missing or was changed",
                    hint="restore the ledger folder as a whole from its newest copy",
                )
            self._members[sha256] = frozenset(members)
        return self._members[sha256]

    def _blank_row(self, kind: RowKind) -> LedgerRow:
        after = self._file.rows[-1].head if self._file.rows else None
        return LedgerRow(
            index=0 if after is None else after.index + 1,
            previous_sha256=GENESIS if after is None else after.sha256,
            utc=hour_text(self._clock()),
            site=self._site,
            public_key=self._file.key.public_hex,
            kind=kind,
            nonce=secrets.token_hex(16),
        )

    def _placed_row(self, kind: RowKind) -> LedgerRow:
        row = self._blank_row(kind)
        return replace(row, place_sha256=self._file.place_sha256(row.nonce))

    def _row_of(self, charge: Charge, members: Collection[str]) -> LedgerRow:
        event = charge.event
        return replace(
            self._blank_row("charge"),
            purpose=charge.purpose,
            plan_sha256=charge.plan_sha256,
            run=charge.run,
            stage=charge.stage,
            stage_kind=charge.stage_kind,
            round=charge.round,
            request_sha256=charge.request_sha256,
            members_sha256=members_sha256(members),
            charge_class=charge.charge_class,
            noise_multiplier=event.noise_multiplier if event else None,
            sample_rate=event.sample_rate if event else None,
            steps=event.steps if event else None,
            approved_by=charge.approved_by,
            canaries_sha256=charge.canaries_sha256,
        )

    def _row_about(self, charged: LedgerRow, kind: RowKind) -> LedgerRow:
        """A row about a charge: which one it is, and of which request."""
        return replace(
            self._blank_row(kind),
            purpose=charged.purpose,
            plan_sha256=charged.plan_sha256,
            run=charged.run,
            stage=charged.stage,
            round=charged.round,
            request_sha256=charged.request_sha256,
            charge_index=charged.index,
        )


def find_ledger(site: Site) -> Ledger | None:
    """A site's ledger, or None where nothing was ever charged; unlike ``Ledger`` it begins none.

    Raises:
        LedgerError: ``missing``: it is gone, but what else is there shows that it existed; or as for
            ``Ledger``.
    """
    folder = site.folder / "ledger"
    if not has_rows(folder):
        return None
    return Ledger(folder, site=site.name, key=site.key, clock=site.clock)


def require_ledger(site: Site) -> Ledger:
    """The ledger of a site where something was charged, for whoever only reads in it.

    Raises:
        LedgerError: ``nothing-charged``; or as for ``find_ledger``.
    """
    ledger = find_ledger(site)
    if ledger is None:
        raise LedgerError(
            "nothing-charged",
            f"site {site.name} has no such run and no ledger: nothing was ever charged here",
            hint="the first round of an approved plan begins the ledger; is --folder the right one?",
        )
    return ledger


def _terms(row: LedgerRow) -> LedgerRow:
    """A charge but for where and when it stands in which version of the format."""
    blank = {"index": 0, "previous_sha256": "", "utc": "", "public_key": "", "nonce": ""}
    return replace(row, version=LEDGER_VERSION, **blank)  # type: ignore[arg-type]


def _exhausted(cap: str) -> PrivacyError:
    return PrivacyError(
        "budget-exhausted",
        f"this would spend more on some patients than {cap} allows",
        hint="`osteofed-site ledger show` lists what was spent; only the hospital can raise its cap",
    )


def require_acceptance(site: Site, lock_sha256: str) -> LedgerRow:
    """The row by which a person here accepted a lock.

    Raises:
        PlanError: nobody has.
        LedgerError: as for ``find_ledger``.
    """
    ledger = find_ledger(site)
    accepted = None if ledger is None else ledger.acceptance_of(lock_sha256)
    if accepted is None:
        raise PlanError(
            "no-lock",
            "prospective validation needs a lock that this site has accepted",
            hint="`osteofed-site accept-lock LOCK --by NAME` accepts one, before the patients come",
        )
    return accepted
