"""The gate: the one door through which anything leaves a site.

Every reply passes here: the ledger's charge, then the outbox log, then the signature. Nothing else at a
site signs a message, and only what carries the type ``Released`` is sent. The gate knows events,
bounds, members and bytes; what a sum means, it does not. Classes: ``public`` (no patient was looked
at), ``dp`` (charged), ``governed`` (exact numbers under the policy's named person, no cell below its
minimum), ``off`` (training without privacy, where the policy allows it) and ``status``: a reply or
refusal that only says whether a site can answer, and so may tell that a cohort is absent or too small.
Errors leave as a code and a correlation id, their text stays in the log.

What a hospital trains for itself passes here too, since it is charged: it is kept and never sent.

A charge pays for one release: charge row, total, reply stored, outcome row with its hash, sending, in
this order, each on disk before the next, under one lock of the round. Whatever dies in between, the
next request goes on from there (``shared.privacy.attempts``).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from client.gate.failures import code_of, is_of_the_disk, log_failure, log_refusal
from client.gate.ledger import Charge, Ledger
from client.gate.outbox import Departure, Outbox
from client.site.policy import PolicySettings, read_policy
from shared.contract.payload import pack, payload_sha256
from shared.contract.protocol import (
    HelloReply,
    Refusal,
    SumReply,
    SumRequest,
    Vector,
    WeightsReply,
    Wire,
    request_sha256,
    signed_bytes,
)
from shared.contract.stages import PROSPECTIVE
from shared.errors import LedgerError, PolicyError, PrivacyError, ProtocolError
from shared.machine.hours import hour_text
from shared.privacy.accountant import epsilon_of
from shared.privacy.ledger_format import KEPT, RELEASED, LedgerRow
from shared.signing.keys import SigningKey
from shared.stages.stage_sum import Bound, numbers_of

SignedReply = TypeVar("SignedReply", bound=HelloReply | WeightsReply | SumReply)
_SHA256 = re.compile("[0-9a-f]{64}")
_UNCHARGED = ("public", "status", "repeat")
# Rounding of a norm that was scaled to its bound.
_NORM_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Released:
    """A message that has passed the gate, signed and logged; made here and nowhere else."""

    message: Wire


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a request asks of patients, before anything is drawn.

    Attributes:
        charge: what is about to be done; its class says whether noise protects anybody.
        members: PatientKeys of everybody whose row may be added.
        bound: what the total must be.
        reply: draws the noise and makes the total; called once the charge is on disk.
    """

    charge: Charge
    members: Collection[str]
    bound: Bound
    reply: Callable[[], SumReply]


def open_gate(folder: Path, *, site: str, key: SigningKey, clock: Callable[[], datetime]) -> Gate:
    """The gate of a site folder, with its policy as it stands now.

    Raises:
        PolicyError: there is no valid ``policy.yaml``.
        LedgerError: the ledger is damaged or behind.
    """
    return Gate(
        site=site,
        policy=read_policy(folder / "policy.yaml"),
        ledger=Ledger(folder / "ledger", site=site, key=key, clock=clock),
        outbox=Outbox(folder / "outbox", folder / "replies"),
        key=key,
        log_folder=folder / "log",
        clock=clock,
    )


class Gate:
    """The only exit of a site.

    Args:
        site: the site's name, which every reply carries.
        policy: the hospital's policy.
        ledger: the site's one ledger.
        outbox: log of departures and store of replies.
        key: signs what leaves.
        log_folder: where the text of errors stays.
        clock: gives the time of lines in the log, which stays, and their hour to the outbox.
    """

    def __init__(
        self,
        *,
        site: str,
        policy: PolicySettings,
        ledger: Ledger,
        outbox: Outbox,
        key: SigningKey,
        log_folder: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self.site = site
        self.policy = policy
        self.ledger = ledger
        self.outbox = outbox
        self._key = key
        self._log_folder = log_folder
        self._clock = clock

    def answer(
        self,
        request: SumRequest,
        prepare: Callable[[], SumReply | Prepared],
        *,
        purpose: str,
        coordinator_key: str,
    ) -> Released:
        """Answer a request for a sum, once: the same bytes again, or charge, total and release.

        Args:
            request: what the coordinator asked.
            prepare: finds the patients; a reply without a total says that there is nothing to measure.
            purpose: of the stage, which is logged.
            coordinator_key: whose countersigned head the request carries.

        Returns:
            The total; or the refusal that is the charge's answer, since noise was drawn before it.

        Raises:
            PolicyError: the policy forbids the purpose, the class or so small a cohort.
            PrivacyError: a budget is exhausted, the round was charged for another request, or the
                split has had its governed releases.
            LedgerError: the ledger is behind the coordinator's countersigned head, or the reply that
                was charged for is lost.
            OSError: the disk failed; the charge is open and pays for another attempt.
        """
        with self._held(request):
            # What was answered is sent again; nobody is looked at.
            answered = self.ledger.answered(request_sha256(request))
            if answered is not None:
                return self._send_answer(*answered, is_new=False)
            self._record_head(request, coordinator_key)
            found = self._settle(request, prepare, status=RELEASED)
            if isinstance(found, SumReply):
                return self._release_status(found, purpose=purpose)
            return self._send_answer(*found, is_new=True)

    def keep(self, request: SumRequest, prepare: Callable[[], SumReply | Prepared]) -> Wire:
        """Have a total made that stays at this hospital: charged and stored as one that leaves.

        Nothing is signed, logged as having left, or sent; the outcome says ``kept``, for ever.

        Args:
            request: what the hospital asks of itself.
            prepare: as of ``answer``.

        Returns:
            The total as it is stored here, the same each time; or the refusal that is its answer.

        Raises:
            OsteoFedError: as ``answer``.
        """
        with self._held(request):
            answered = self.ledger.answered(request_sha256(request))
            found = answered or self._settle(request, prepare, status=KEPT)
            return found if isinstance(found, SumReply) else self._stored_answer(*found)

    def release_public(self, message: HelloReply | WeightsReply) -> Released:
        """Sign and log a reply for which no patient was looked at."""
        signed = self._sign(replace(message, site=self.site))
        channel = "query.hello" if isinstance(message, HelloReply) else "query.weights"
        return self._send(signed, channel=channel, release_class="public", epsilon=0.0)

    def refuse(self, error: Exception, *, plan_sha256: str) -> Released:
        """Turn any error into a code and a correlation id; its text stays in ``log/refusals.jsonl``.

        Of one code the first in a minute is logged there and in the outbox; the others are counted.
        """
        logged = log_refusal(self._log_folder, error, utc=self._clock().isoformat())
        refusal = Refusal(
            plan_sha256=_as_hash(plan_sha256),
            site=self.site,
            code=code_of(error),
            correlation_id=logged.correlation_id,
        )
        if not logged.is_new:
            return Released(refusal)
        return self._send(refusal, channel="refusal", release_class="status", epsilon=0.0)

    def _held(self, request: SumRequest) -> contextlib.AbstractContextManager[None]:
        """The lock of a request's round."""
        return self.outbox.held(
            plan_sha256=request.plan_sha256, stage=request.stage, round_number=request.round
        )

    def _settle(
        self, request: SumRequest, prepare: Callable[[], SumReply | Prepared], *, status: str
    ) -> SumReply | tuple[LedgerRow, LedgerRow]:
        """A charge, its reply stored, and the outcome of that status; a reply that there is nothing."""
        # What was stored and has no outcome yet: an attempt that died just before.
        charge = self.ledger.open_charge(request_sha256(request))
        stored = None if charge is None else self.outbox.stored_reply(charge.sha256)
        if charge is not None and stored is not None:
            return charge, self._record_outcome(charge, stored, status)
        # The charge, on disk before anything is drawn, and its one release.
        prepared = prepare()
        if isinstance(prepared, SumReply):
            return prepared
        charge = self._charge(prepared)
        reply = self._reply_or_refusal(prepared, charge, request)
        self.outbox.store_reply(charge.sha256, reply)
        return charge, self._record_outcome(charge, reply, status)

    def _charge(self, prepared: Prepared) -> LedgerRow:
        """The charge that pays for a request, on disk."""
        self._require_allowed(prepared.charge, prepared.members)
        return self.ledger.charge(
            prepared.charge,
            members=prepared.members,
            allowance=self.policy.allowance,
            governed_releases=self.policy.governed_releases_per_split,
            minimum_cell=self.policy.minimum_cell,
        )

    def _reply_or_refusal(self, prepared: Prepared, charge: LedgerRow, request: SumRequest) -> Wire:
        """The total as it may leave, but for head and signature; or why there is none.

        A refusal after noise was drawn is an answer, as a total is: were it tried again, the noise
        would be chosen among those that are not refused.

        Raises:
            OSError: the disk failed, whatever was drawn.
        """
        try:
            if charge.charge_class == "governed":  # of who came after a lock it was not asked before
                _require_enough(prepared.members, self.policy.minimum_cell)
            return self._total(prepared.reply(), prepared.bound, charge, request)
        except Exception as error:
            if is_of_the_disk(error):
                raise
            return self._refusal(error, request.plan_sha256)

    def _total(
        self, message: SumReply, bound: Bound, charge: LedgerRow, request: SumRequest
    ) -> SumReply:
        """A total that is what was charged for, within its bound, small cells of exact numbers hidden.

        Raises:
            PrivacyError: the total is not what ``bound`` says, or of another class than the charge.
            PolicyError: exact numbers cannot be brought up to the policy's smallest cell.
            ProtocolError: the reply answers another request.
        """
        asked = (request.plan_sha256, request.stage, request.round)
        if (message.plan_sha256, message.stage, message.round) != asked:
            raise ProtocolError("wrong-round", "the reply is not of the round that was asked")
        if message.release_class != charge.charge_class:
            raise PrivacyError(
                "wrong-release-class",
                f"the total must be of the charged class {charge.charge_class}",
            )
        total = _checked(message.total, bound)
        if charge.charge_class == "governed":
            if bound.suppress is None:
                raise PrivacyError(
                    "not-suppressible",
                    f"stage {message.stage} says of no cell how many patients it needs to be shown",
                )
            total = bound.suppress(total, self.policy.minimum_cell, self._shown_before(charge))
        return replace(message, site=self.site, total=total)

    def _record_outcome(self, charge: LedgerRow, reply: Wire, status: str) -> LedgerRow:
        """Write down a stored reply as what its charge has paid for."""
        return self.ledger.record_outcome(
            charge.request_sha256,
            status=reply.code if isinstance(reply, Refusal) else status,
            payload_sha256=payload_sha256(reply),
        )

    def _stored_answer(self, charge: LedgerRow, outcome: LedgerRow) -> Wire:
        """The stored reply to a charge.

        Raises:
            LedgerError: the reply is not kept any more, or is not what the outcome names.
        """
        reply = self.outbox.stored_reply(charge.sha256)
        if reply is None or payload_sha256(reply) != outcome.payload_sha256:
            raise LedgerError(
                "reply-lost",
                "the reply that a charge has paid for is not kept any more, or was changed",
                hint="restore the site's replies folder; a charge that was answered is not answered "
                "anew",
            )
        return reply

    def _send_answer(self, charge: LedgerRow, outcome: LedgerRow, *, is_new: bool) -> Released:
        """Send the stored reply to a charge: its head names the outcome, so its bytes never differ.

        Raises:
            LedgerError: the reply is not kept any more, or is not what the outcome names.
            PolicyError: it is to stay at this hospital.
        """
        if outcome.status == KEPT:
            raise PolicyError(
                "stays-here",
                "what a hospital has trained for itself does not leave it",
                hint="`osteofed-site personalise` writes what may be handed over: its comparison",
            )
        reply = self._stored_answer(charge, outcome)
        if isinstance(reply, SumReply):
            n_charges = self.ledger.n_charges(charge.request_sha256)
            reply = self._sign(
                replace(
                    reply, ledger_head=outcome.sha256, ledger_index=outcome.index, charges=n_charges
                )
            )
        release_class, epsilon = self._class_of(reply, charge, outcome, is_new=is_new)
        return self._send(reply, channel=charge.purpose, release_class=release_class, epsilon=epsilon)

    def _class_of(
        self, reply: Wire, charge: LedgerRow, outcome: LedgerRow, *, is_new: bool
    ) -> tuple[str, float | None]:
        """The class and cost under which an answer is logged; a code says nothing of a patient."""
        if isinstance(reply, Refusal):
            return "status", 0.0
        if not is_new and self.outbox.has_left(outcome.payload_sha256):
            return "repeat", 0.0
        return str(charge.charge_class), self._price(charge)

    def _price(self, charge: LedgerRow) -> float | None:
        return None if charge.event is None else epsilon_of([charge.event], self.policy.delta)

    def _release_status(self, message: SumReply, *, purpose: str) -> Released:
        """Sign and log that there is nothing to measure (yet): an empty total, which costs nothing.

        It is not stored, because the answer may be another one later.

        Raises:
            PrivacyError: the total is not empty.
        """
        if message.status == "measured" or message.total.size:
            raise PrivacyError("not-charged", "a total that was not measured must be empty")
        head = self.ledger.head()
        signed = self._sign(
            replace(
                message, site=self.site, ledger_head=head.sha256, ledger_index=head.index, charges=0
            )
        )
        return self._send(signed, channel=purpose, release_class="status", epsilon=0.0)

    def _refusal(self, error: Exception, plan_sha256: str) -> Refusal:
        correlation_id, utc = secrets.token_hex(8), self._clock().isoformat()
        log_failure(self._log_folder, error, correlation_id=correlation_id, utc=utc)
        return Refusal(
            plan_sha256=_as_hash(plan_sha256),
            site=self.site,
            code=code_of(error),
            correlation_id=correlation_id,
        )

    def _sign(self, message: SignedReply) -> SignedReply:
        return replace(message, signature=self._key.sign(signed_bytes(message)))

    def _send(
        self, message: Wire, *, channel: str, release_class: str, epsilon: float | None
    ) -> Released:
        """Log a departure, then let the message go."""
        now = self._clock()
        departure = _departure(
            message,
            utc=hour_text(now),
            channel=channel,
            release_class=release_class,
            epsilon=epsilon,
        )
        if release_class in _UNCHARGED:
            self.outbox.record_often(departure, minute=now.isoformat()[:16])
        else:
            self.outbox.record(departure)
        return Released(message)

    def _require_allowed(self, charge: Charge, members: Collection[str]) -> None:
        policy = self.policy
        if charge.purpose not in policy.allowed:
            raise PolicyError(
                "purpose-forbidden",
                f"this hospital allows {list(policy.allowed)}, not {charge.purpose}",
                hint="change `allowed` in policy.yaml deliberately, or leave it",
            )
        is_allowed = {
            "dp": charge.event is not None,
            "off": charge.event is None and policy.allows_privacy_off and charge.purpose == "train",
            "governed": charge.event is None and policy.allows_governed and bool(charge.approved_by),
        }
        if not is_allowed[charge.charge_class]:
            raise PolicyError(
                "class-forbidden",
                f"this hospital's policy does not let numbers of class {charge.charge_class} leave",
                hint="change policy.yaml deliberately, or ask for a plan with noise",
            )
        is_training = charge.purpose == "train"
        # From a public day on patients are asked however few: a refusal would end when the n-th came.
        # Noise protects them; exact numbers of few are refused as the charge's one answer.
        if charge.purpose != PROSPECTIVE:
            _require_enough(
                members, policy.minimum_cohort_patients if is_training else policy.minimum_cell
            )

    def _shown_before(self, row: LedgerRow) -> tuple[Vector, ...]:
        """Totals [m] of the governed releases of the same split before a charge, oldest first.

        Raises:
            PrivacyError: one of them is not kept any more, so that nobody can tell what it showed.
        """
        totals = []
        for before in self.ledger.governed_before(row):
            reply = self.outbox.stored_reply(before.sha256)
            if not isinstance(reply, SumReply):
                raise PrivacyError(
                    "governed-unknown",
                    f"what stage {before.stage} of run {before.run} showed of this split is not kept",
                    hint="restore the site's replies folder, or ask for noised tables",
                )
            totals.append(reply.total)
        return tuple(totals)

    def _record_head(self, request: SumRequest, coordinator_key: str) -> None:
        """Keep the countersigned head of a request; refuse when this ledger does not have it."""
        if request.ledger_head:
            self.ledger.record_countersignature(
                request.ledger_head,
                request.countersignature,
                plan_sha256=request.plan_sha256,
                coordinator_key=coordinator_key,
            )


def _require_enough(members: Collection[str], least: int) -> None:
    """Refuse to add up too few patients.

    Raises:
        PolicyError: there are fewer than ``least``.
    """
    if len(set(members)) < least:
        # The count itself would be a patient's value if this text ever left.
        raise PolicyError(
            "cohort-too-small",
            f"there are fewer patients than the {least} that the policy asks for",
            hint="ingest more films, or change policy.yaml deliberately",
        )


def _checked(total: Vector, bound: Bound) -> Vector:
    if total.shape != (bound.length,) or total.dtype != np.dtype(bound.kind):
        raise PrivacyError("wrong-table", f"a total must be {bound.length} numbers of {bound.kind}")
    norm = float(np.linalg.norm(numbers_of(total, bound).astype(np.float64)))
    limit = np.inf if bound.norm_max is None else bound.norm_max * (1 + _NORM_TOLERANCE)
    if not np.isfinite(norm) or norm > limit:
        raise PrivacyError(
            "update-unbounded", f"a total must be finite with a norm of at most {limit:g}"
        )
    return total


def refuse_closed(folder: Path | None, error: Exception, *, plan_sha256: str) -> Released:
    """The refusal of a site with no known folder, a gate that cannot be opened, or a full disk.

    Only a code leaves, unsigned and without the site's name. Text and departure are logged at the
    site as far as its disk allows.
    """
    now = datetime.now(UTC)
    refusal = Refusal(
        plan_sha256=_as_hash(plan_sha256),
        site="",
        code=code_of(error),
        correlation_id=secrets.token_hex(8),
    )
    with contextlib.suppress(OSError):
        if folder is None:
            return Released(refusal)
        logged = log_refusal(folder / "log", error, utc=now.isoformat())
        refusal = replace(refusal, correlation_id=logged.correlation_id)
        if not logged.is_new:
            return Released(refusal)
        Outbox(folder / "outbox", folder / "replies").record(
            _departure(
                refusal,
                utc=hour_text(now),
                channel="refusal",
                release_class="status",
                epsilon=0.0,
            )
        )
    return Released(refusal)


def _departure(
    message: Wire, *, utc: str, channel: str, release_class: str, epsilon: float | None
) -> Departure:
    return Departure(
        utc=utc,
        channel=channel,
        release_class=release_class,
        message=type(message).__name__,
        n_bytes=len(pack(message)),
        payload_sha256=payload_sha256(message),
        epsilon=epsilon,
        plan_sha256=message.plan_sha256,
    )


def _as_hash(text: str) -> str:
    """A hash as it may be repeated and logged; nothing if it is none."""
    return text if _SHA256.fullmatch(text) else ""
