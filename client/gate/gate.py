"""The gate: the one door through which anything leaves a site.

Every reply passes here: the ledger's charge, then the outbox log, then the signature. Nothing else at a
site signs a message, and only what carries the type ``Released`` is sent. The gate knows events,
bounds, members and bytes; what a sum means, it does not. Classes: ``public`` (no patient was looked
at), ``dp`` (charged), ``governed`` (exact numbers under the policy's named person, no cell below its
minimum), ``off`` (training without privacy, where the policy allows it) and ``status``: a reply or
refusal that only says whether a site can answer, and so may tell that a cohort is absent or too small.
Errors leave as a code and a correlation id, their text stays in the log.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from client.gate.ledger import Charge, Ledger
from client.gate.outbox import Departure, Outbox
from client.site.policy import PolicySettings, read_policy
from shared.contract.payload import pack
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
from shared.errors import OsteoFedError, PolicyError, PrivacyError, ProtocolError
from shared.machine.files import append_line
from shared.privacy.accountant import epsilon_of
from shared.privacy.ledger_format import LedgerRow
from shared.signing.canonical import sha256_hex
from shared.signing.keys import SigningKey
from shared.stages.stage_sum import Bound, numbers_of

SignedReply = TypeVar("SignedReply", bound=HelloReply | WeightsReply | SumReply)
_SHA256 = re.compile("[0-9a-f]{64}")
# Rounding of a norm that was scaled to its bound.
_NORM_TOLERANCE = 1e-5
# What is logged of an error: a hostile message must not fill the disk through its own refusal.
_MAX_LOGGED_CHARACTERS = 20_000


@dataclass(frozen=True)
class Released:
    """A message that has passed the gate, signed and logged; made here and nowhere else."""

    message: Wire


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
        clock: gives the time that log lines carry.
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

    def repeat(self, request: SumRequest, *, purpose: str) -> Released | None:
        """The identical reply to a request that was answered before; None when it was not.

        Costs nothing: what is sent again has already been charged.
        """
        reply = self.outbox.stored_reply(request_sha256(request))
        if reply is None:
            return None
        self._log(reply, channel=purpose, release_class="repeat", epsilon=0.0)
        return Released(reply)

    def charge(
        self,
        request: SumRequest,
        charge: Charge,
        *,
        members: Collection[str],
        coordinator_key: str,
    ) -> Charged:
        """Charge one round of a stage to the patients that it will touch; call before drawing noise.

        Args:
            request: what the coordinator asked.
            charge: what is about to be done; its class says whether noise protects anybody.
            members: PatientKeys of everybody whose row may be added.
            coordinator_key: whose countersigned head the request carries.

        Returns:
            What alone can release an answer, once.

        Raises:
            PolicyError: the policy forbids the purpose, the class or so small a cohort.
            PrivacyError: a budget is exhausted, the round was charged for another request, or the
                split has had its governed releases.
            LedgerError: the ledger is behind the coordinator's countersigned head.
        """
        self._require_allowed(charge, members)
        self._record_head(request, coordinator_key)
        self.ledger.charge(
            charge,
            members=members,
            allowance=self.policy.allowance,
            governed_releases=self.policy.governed_releases_per_split,
        )
        charged = self.ledger.open_charge(charge.request_sha256)
        if charged is None:
            raise PrivacyError("not-charged", "the charge is not in the ledger")
        return Charged(self, charged, request)

    def _shown_before(self, row: LedgerRow) -> tuple[Vector, ...]:
        """Totals [m] of the governed releases of the same split before a charge, oldest first.

        Raises:
            PrivacyError: one of them is not kept any more, so that nobody can tell what it showed.
        """
        totals = []
        for before in self.ledger.governed_before(row):
            reply = self.outbox.stored_reply(before.request_sha256)
            if not isinstance(reply, SumReply):
                raise PrivacyError(
                    "governed-unknown",
                    f"what stage {before.stage} of run {before.run} showed of this split is not kept",
                    hint="restore the site's replies folder, or ask for noised tables",
                )
            totals.append(reply.total)
        return tuple(totals)

    def release_public(self, message: HelloReply | WeightsReply) -> Released:
        """Sign and log a reply for which no patient was looked at."""
        signed = self._sign(replace(message, site=self.site))
        channel = "query.hello" if isinstance(message, HelloReply) else "query.weights"
        return self._send(signed, channel=channel, release_class="public", epsilon=0.0)

    def release_status(
        self, message: SumReply, request: SumRequest, *, purpose: str, coordinator_key: str
    ) -> Released:
        """Sign and log that there is nothing to measure (yet): an empty total, which costs nothing.

        It is not stored, because the answer may be another one later.

        Raises:
            PrivacyError: the total is not empty.
            LedgerError: the ledger is behind the coordinator's countersigned head.
        """
        if message.status == "measured" or message.total.size:
            raise PrivacyError("not-charged", "a total that was not measured must be empty")
        self._record_head(request, coordinator_key)
        head = self.ledger.head().sha256
        signed = self._sign(replace(message, site=self.site, ledger_head=head))
        return self._send(signed, channel=purpose, release_class="status", epsilon=0.0)

    def refuse(
        self,
        error: Exception,
        *,
        plan_sha256: str,
        request: SumRequest | None = None,
    ) -> Released:
        """Turn any error into a code and a correlation id; its text stays in ``log/refusals.jsonl``.

        A charge that stands for ``request`` gets the code as its outcome; it is not given back.
        """
        code = error.code if isinstance(error, OsteoFedError) else "osteofed.internal"
        correlation_id = secrets.token_hex(8)
        self._log_locally(error, code=code, correlation_id=correlation_id)
        channel = "refusal"
        if request is not None:
            channel = self._close_charge(request, code) or channel
        refusal = Refusal(
            plan_sha256=_as_hash(plan_sha256), site=self.site, code=code, correlation_id=correlation_id
        )
        return self._send(refusal, channel=channel, release_class="status", epsilon=0.0)

    def _sign(self, message: SignedReply) -> SignedReply:
        return replace(message, signature=self._key.sign(signed_bytes(message)))

    def _send(
        self, message: Wire, *, channel: str, release_class: str, epsilon: float | None
    ) -> Released:
        """Log a departure, then let the message go."""
        self._log(message, channel=channel, release_class=release_class, epsilon=epsilon)
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
        least = policy.minimum_cohort_patients if is_training else policy.minimum_cell
        if len(set(members)) < least:
            # The count itself would be a patient's value if this text ever left.
            raise PolicyError(
                "cohort-too-small",
                f"there are fewer patients than the {least} that the policy asks for",
                hint="ingest more films, or change policy.yaml deliberately",
            )

    def _record_head(self, request: SumRequest, coordinator_key: str) -> None:
        """Keep the countersigned head of a request; refuse when this ledger does not have it."""
        if request.ledger_head:
            self.ledger.record_countersignature(
                request.ledger_head,
                request.countersignature,
                plan_sha256=request.plan_sha256,
                coordinator_key=coordinator_key,
            )

    def _log(self, message: Wire, *, channel: str, release_class: str, epsilon: float | None) -> None:
        payload = pack(message)
        self.outbox.record(
            Departure(
                utc=self._clock().isoformat(),
                channel=channel,
                release_class=release_class,
                message=type(message).__name__,
                n_bytes=len(payload),
                payload_sha256=sha256_hex(payload),
                epsilon=epsilon,
                plan_sha256=message.plan_sha256,
            )
        )

    def _close_charge(self, request: SumRequest, code: str) -> str:
        """Record a refusal as the outcome of an open charge; its purpose, empty where none is open."""
        try:
            charged = self.ledger.open_charge(request_sha256(request))
            if charged is not None:
                self.ledger.record_outcome(charged.request_sha256, status=code)
                return charged.purpose
        except OsteoFedError as error:
            # A ledger that cannot be written to must not keep a refusal from leaving.
            self._log_locally(error, code=error.code, correlation_id="")
        return ""

    def _log_locally(self, error: Exception, *, code: str, correlation_id: str) -> None:
        _write_refusal(
            self._log_folder,
            error,
            code=code,
            correlation_id=correlation_id,
            utc=self._clock().isoformat(),
        )


class Charged:
    """One charge that is on disk and open: it alone can release an answer, and only once.

    Args:
        gate: that made it.
        row: the charge, as the ledger has it.
        request: that it pays for.
    """

    def __init__(self, gate: Gate, row: LedgerRow, request: SumRequest) -> None:
        self._gate = gate
        self._row = row
        self._request = request

    def release(self, message: SumReply, *, bound: Bound) -> Released:
        """Sign, store and log the total that was charged for.

        Site, ledger head and signature are filled in here.

        Raises:
            PrivacyError: the total is not what ``bound`` says, is of another class than the charge, or
                the charge has paid for a release already.
            PolicyError: exact numbers cannot be brought up to the policy's smallest cell.
            ProtocolError: the reply answers another request.
        """
        row, request, gate = self._row, self._request, self._gate
        asked = (request.plan_sha256, request.stage, request.round)
        if (message.plan_sha256, message.stage, message.round) != asked:
            raise ProtocolError("wrong-round", "the reply is not of the round that was asked")
        if message.release_class != row.charge_class:
            raise PrivacyError(
                "wrong-release-class", f"the total must be of the charged class {row.charge_class}"
            )
        total = _checked(message.total, bound)
        if row.charge_class == "governed":
            if bound.suppress is None:
                raise PrivacyError(
                    "not-suppressible",
                    f"stage {message.stage} says of no cell how many patients it needs to be shown",
                )
            total = bound.suppress(total, gate.policy.minimum_cell, gate._shown_before(row))
        signed = gate._sign(replace(message, site=gate.site, total=total, ledger_head=row.sha256))
        payload_sha256 = sha256_hex(pack(signed))
        # The outcome claims the charge first: two processes cannot release on one charge.
        gate.ledger.record_outcome(row.request_sha256, status="released", payload_sha256=payload_sha256)
        gate.outbox.store_reply(row.request_sha256, signed)
        epsilon = None if row.event is None else epsilon_of([row.event], gate.policy.delta)
        return gate._send(
            signed, channel=row.purpose, release_class=str(row.charge_class), epsilon=epsilon
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
    code = error.code if isinstance(error, OsteoFedError) else "osteofed.internal"
    correlation_id = secrets.token_hex(8)
    utc = datetime.now(UTC).isoformat()
    plan_sha256 = _as_hash(plan_sha256)
    refusal = Refusal(plan_sha256=plan_sha256, site="", code=code, correlation_id=correlation_id)
    payload = pack(refusal)
    with contextlib.suppress(OSError):
        if folder is None:
            return Released(refusal)
        _write_refusal(folder / "log", error, code=code, correlation_id=correlation_id, utc=utc)
        Outbox(folder / "outbox", folder / "replies").record(
            Departure(
                utc=utc,
                channel="refusal",
                release_class="status",
                message="Refusal",
                n_bytes=len(payload),
                payload_sha256=sha256_hex(payload),
                epsilon=0.0,
                plan_sha256=plan_sha256,
            )
        )
    return Released(refusal)


def _as_hash(text: str) -> str:
    """A hash as it may be repeated and logged; nothing if it is none."""
    return text if _SHA256.fullmatch(text) else ""


def _write_refusal(folder: Path, error: Exception, *, code: str, correlation_id: str, utc: str) -> None:
    line = {
        "utc": utc,
        "correlation_id": correlation_id,
        "code": code,
        "text": "".join(traceback.format_exception(error))[-_MAX_LOGGED_CHARACTERS:],
    }
    append_line(folder / "refusals.jsonl", json.dumps(line).encode() + b"\n")
