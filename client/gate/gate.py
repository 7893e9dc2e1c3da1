"""The gate: the one door through which anything leaves a site.

Every reply passes here: policy, then the ledger's charge, then the outbox log, then the signature.
Nothing else at a site signs a message, and only what carries the type ``Released`` is sent. Classes:
``public`` (no patient was looked at), ``dp`` (charged), ``governed`` (exact numbers under the policy's
named person, no cell below its minimum), ``off`` (training without privacy, where the policy allows
it) and ``status``: a reply or refusal that only says whether a site can answer, and so may tell that a
cohort is absent or too small. Errors leave as a code and a correlation id, their text stays in the log.
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
from numpy.typing import NDArray

from client.gate.ledger import Charge, Ledger
from client.gate.outbox import Departure, Outbox
from client.site.policy import (
    PolicySettings,
    Purpose,
    read_policy,
    require_plan,
    table_event,
    training_event,
)
from shared.contract.payload import pack
from shared.contract.plan import Plan
from shared.contract.protocol import (
    EvaluateReply,
    EvaluateRequest,
    HelloReply,
    Refusal,
    TrainReply,
    TrainRequest,
    Vector,
    WeightsReply,
    Wire,
    signed_bytes,
    vector_sha256,
)
from shared.errors import OsteoFedError, PolicyError, PrivacyError, ProtocolError
from shared.machine.files import append_line
from shared.measure.description.rows import description_spec, withhold_small_groups
from shared.measure.table.rows import pool_small_cells, table_spec
from shared.privacy.accountant import epsilon_of
from shared.privacy.ledger_format import LedgerHead, LedgerRow
from shared.signing.canonical import hash_of, sha256_hex
from shared.signing.keys import SigningKey

Floats = NDArray[np.float64]
SignedReply = TypeVar("SignedReply", bound=HelloReply | WeightsReply | TrainReply | EvaluateReply)
_EVALUATIONS: dict[str, Purpose] = {
    "internal": "evaluate.internal",
    "external": "evaluate.external",
    "prospective": "evaluate.prospective",
    "description": "evaluate.description",
}
# float32 rounding of an update that was scaled to the bound
_NORM_TOLERANCE = 1e-5
_SHA256 = re.compile("[0-9a-f]{64}")
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

    def repeat(self, request: TrainRequest | EvaluateRequest) -> Released | None:
        """The identical reply to a request that was answered before; None when it was not.

        Costs nothing: what is sent again has already been charged.
        """
        reply = self.outbox.stored_reply(request_sha256(request))
        if reply is None:
            return None
        self._log(reply, channel=channel_of(request), release_class="repeat", epsilon=0.0)
        return Released(reply)

    def charge_training(
        self,
        plan: Plan,
        request: TrainRequest,
        *,
        members: Collection[str],
        canaries_sha256: str = "",
    ) -> LedgerHead:
        """Charge one round's steps to the patients that it will touch; call before drawing noise.

        Args:
            plan: the approved plan.
            request: what the coordinator asked.
            members: PatientKeys of everybody in the training split.
            canaries_sha256: commitment to the coins of an audit's canaries.

        Raises:
            PolicyError: the policy forbids the plan, the purpose or so small a cohort.
            PrivacyError: a budget is exhausted, or the round was charged for another request.
            LedgerError: the ledger is behind the coordinator's countersigned head.
            ProtocolError: the request is not of this plan, its round is not in it, or its weights are
                no numbers.
        """
        self._require_allowed(plan, request.plan_sha256, "train")
        federation = plan.settings.federation
        if not 1 <= request.round <= (federation.rounds or 0):
            raise ProtocolError(
                "no-such-round", f"round must be 1 to {federation.rounds}, not {request.round}"
            )
        _require_sound(request)
        self._require_patients(members, at_least=self.policy.minimum_cohort_patients)
        self._record_head(plan, request)
        event = training_event(plan, steps=federation.local_steps or 0)
        charge = Charge(
            charge_class="off" if event is None else "dp",
            event=event,
            purpose="train",
            plan_sha256=plan.sha256,
            run=plan.run,
            round=request.round,
            request_sha256=request_sha256(request),
            canaries_sha256=canaries_sha256,
        )
        return self.ledger.charge(charge, members=members, allowance=self.policy.allowance)

    def charge_validation(
        self, plan: Plan, request: EvaluateRequest, *, members: Collection[str]
    ) -> LedgerHead:
        """Charge one table to the patients that it will measure or describe; call before noise.

        A governed table costs no ε; its row names who answers for it. Raises as ``charge_training``,
        and PlanError for a description that the plan does not release.
        """
        purpose = purpose_of(request)
        self._require_allowed(plan, request.plan_sha256, purpose)
        _require_sound(request)
        self._require_patients(members, at_least=self.policy.minimum_cell)
        self._record_head(plan, request)
        event = table_event(plan, purpose)
        charge = Charge(
            charge_class="governed" if event is None else "dp",
            event=event,
            purpose=purpose,
            plan_sha256=plan.sha256,
            run=plan.run,
            round=0,
            request_sha256=request_sha256(request),
            approved_by=(self.policy.governed_approved_by or "") if event is None else "",
        )
        return self.ledger.charge(charge, members=members, allowance=self.policy.allowance)

    def release_public(self, message: HelloReply | WeightsReply) -> Released:
        """Sign and log a reply for which no patient was looked at."""
        signed = self._sign(replace(message, site=self.site))
        channel = "query.hello" if isinstance(message, HelloReply) else "query.weights"
        return self._send(signed, channel=channel, release_class="public", epsilon=0.0)

    def release_update(self, message: TrainReply, *, plan: Plan, request: TrainRequest) -> Released:
        """Sign, store and log an update that was charged for.

        Site, ledger head and signature are filled in here.

        Raises:
            PrivacyError: no open charge stands for this request, or the update is not what the plan
                bounds it to be.
        """
        charged = self._open_charge(request)
        _require_bounded(message.update, norm_max=plan.settings.privacy.update_norm_max)
        if (message.plan_sha256, message.round) != (request.plan_sha256, request.round):
            raise ProtocolError("wrong-round", "the reply is not of the round that was asked")
        signed = self._sign(replace(message, site=self.site, ledger_head=charged.sha256))
        return self._send_charged(signed, charged=charged)

    def release_table(
        self, message: EvaluateReply, *, plan: Plan, request: EvaluateRequest
    ) -> Released:
        """Sign, store and log a validation table that was charged for.

        A reply with another status than ``measured`` has an empty table, costs nothing and is not
        stored, because the answer may be another one later. In a governed table, cells below the
        policy's minimum are pooled with their neighbours first; of a description they are withheld.

        Raises:
            PrivacyError: no open charge stands for this request, the table is not one of the plan's
                finite cells, or its release class is not the one that was charged.
            PolicyError: pooling cannot bring a governed table's cells up to the minimum.
            LedgerError: the ledger is behind the coordinator's countersigned head.
        """
        purpose = purpose_of(request)
        asked = (plan.sha256, request.plan_sha256, request.kind)
        if (request.plan_sha256, message.plan_sha256, message.kind) != asked:
            raise ProtocolError("wrong-release", "the reply is not of the validation that was asked")
        if message.status != "measured":
            if message.table.size:
                raise PrivacyError("not-charged", "a table that was not measured must be empty")
            self._record_head(plan, request)
            head = self.ledger.head().sha256
            signed = self._sign(replace(message, site=self.site, ledger_head=head))
            return self._send(signed, channel=purpose, release_class="status", epsilon=0.0)
        charged = self._open_charge(request)
        if message.release_class != charged.charge_class:
            raise PrivacyError(
                "wrong-release-class", f"the table must be of the charged class {charged.charge_class}"
            )
        is_exact = charged.charge_class == "governed"
        table = _checked_table(plan, message, minimum_cell=self.policy.minimum_cell if is_exact else 0)
        signed = self._sign(replace(message, site=self.site, table=table, ledger_head=charged.sha256))
        return self._send_charged(signed, charged=charged)

    def refuse(
        self,
        error: Exception,
        *,
        plan_sha256: str,
        request: TrainRequest | EvaluateRequest | None = None,
    ) -> Released:
        """Turn any error into a code and a correlation id; its text stays in ``log/refusals.jsonl``.

        A charge that stands for ``request`` gets the code as its outcome; it is not given back.
        """
        code = error.code if isinstance(error, OsteoFedError) else "osteofed.internal"
        correlation_id = secrets.token_hex(8)
        self._log_locally(error, code=code, correlation_id=correlation_id)
        channel = "refusal" if request is None else channel_of(request)
        if request is not None:
            self._close_charge(request, code)
        refusal = Refusal(
            plan_sha256=_hash_in(plan_sha256), site=self.site, code=code, correlation_id=correlation_id
        )
        return self._send(refusal, channel=channel, release_class="status", epsilon=0.0)

    def _require_allowed(self, plan: Plan, asked_plan_sha256: str, purpose: Purpose) -> None:
        if asked_plan_sha256 != plan.sha256:
            raise ProtocolError("wrong-plan", "the request belongs to another plan")
        require_plan(self.policy, plan, site=self.site)
        if purpose not in self.policy.allowed:
            raise PolicyError(
                "purpose-forbidden",
                f"this hospital allows {list(self.policy.allowed)}, not {purpose}",
                hint="change `allowed` in policy.yaml deliberately, or leave it",
            )

    def _record_head(self, plan: Plan, request: TrainRequest | EvaluateRequest) -> None:
        """Keep the countersigned head of a request; refuse when this ledger does not have it."""
        if request.ledger_head:
            self.ledger.record_countersignature(
                request.ledger_head,
                request.countersignature,
                plan_sha256=plan.sha256,
                coordinator_key=plan.coordinator_key,
            )

    def _require_patients(self, members: Collection[str], *, at_least: int) -> None:
        if len(set(members)) < at_least:
            # The count itself would be a patient's value if this text ever left.
            raise PolicyError(
                "cohort-too-small",
                f"there are fewer patients than the {at_least} that the policy asks for",
                hint="ingest more films, or change policy.yaml deliberately",
            )

    def _open_charge(self, request: TrainRequest | EvaluateRequest) -> LedgerRow:
        # The hash of a request covers its purpose: a charge for training pays for no table.
        charged = self.ledger.open_charge(request_sha256(request))
        if charged is None:
            raise PrivacyError(
                "not-charged",
                "nothing may leave that was not charged first, and one charge pays for one release",
                hint="call charge_training or charge_validation before drawing noise",
            )
        return charged

    def _send_charged(self, signed: TrainReply | EvaluateReply, *, charged: LedgerRow) -> Released:
        sha256 = sha256_hex(pack(signed))
        # The outcome claims the charge first: two processes cannot release on one charge.
        self.ledger.record_outcome(charged.request_sha256, status="released", payload_sha256=sha256)
        self.outbox.store_reply(charged.request_sha256, signed)
        event = charged.event
        epsilon = None if event is None else epsilon_of([event], self.policy.delta)
        return self._send(
            signed, channel=charged.purpose, release_class=charged.charge_class, epsilon=epsilon
        )

    def _send(
        self, message: Wire, *, channel: str, release_class: str, epsilon: float | None
    ) -> Released:
        self._log(message, channel=channel, release_class=release_class, epsilon=epsilon)
        return Released(message)

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

    def _sign(self, message: SignedReply) -> SignedReply:
        return replace(message, signature=self._key.sign(signed_bytes(message)))

    def _close_charge(self, request: TrainRequest | EvaluateRequest, code: str) -> None:
        try:
            if self.ledger.open_charge(request_sha256(request)) is not None:
                self.ledger.record_outcome(request_sha256(request), status=code)
        except OsteoFedError as error:
            # A ledger that cannot be written to must not keep a refusal from leaving.
            self._log_locally(error, code=error.code, correlation_id="")

    def _log_locally(self, error: Exception, *, code: str, correlation_id: str) -> None:
        _write_refusal(
            self._log_folder,
            error,
            code=code,
            correlation_id=correlation_id,
            utc=self._clock().isoformat(),
        )


def refuse_closed(folder: Path | None, error: Exception, *, plan_sha256: str) -> Released:
    """The refusal of a site with no known folder, a gate that cannot be opened, or a full disk.

    Only a code leaves, unsigned and without the site's name. Text and departure are logged at the
    site as far as its disk allows.
    """
    code = error.code if isinstance(error, OsteoFedError) else "osteofed.internal"
    correlation_id = secrets.token_hex(8)
    utc = datetime.now(UTC).isoformat()
    plan_sha256 = _hash_in(plan_sha256)
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


def _write_refusal(folder: Path, error: Exception, *, code: str, correlation_id: str, utc: str) -> None:
    line = {
        "utc": utc,
        "correlation_id": correlation_id,
        "code": code,
        "text": "".join(traceback.format_exception(error))[-_MAX_LOGGED_CHARACTERS:],
    }
    append_line(folder / "refusals.jsonl", json.dumps(line).encode() + b"\n")


def request_sha256(request: TrainRequest | EvaluateRequest) -> str:
    """What makes two requests the same: plan, purpose, round or release, and weights.

    Ledger head and countersignature are left out: they may differ when a round is asked for again.
    """
    content = {
        "channel": channel_of(request),
        "plan_sha256": request.plan_sha256,
        "weights_sha256": vector_sha256(request.weights),
    }
    if isinstance(request, TrainRequest):
        return hash_of(content | {"round": request.round})
    return hash_of(
        content | {"release_sha256": request.release_sha256, "lock_sha256": request.lock_sha256}
    )


def purpose_of(request: EvaluateRequest) -> Purpose:
    """The validation that is asked for.

    Raises:
        ProtocolError: an unknown kind.
    """
    if request.kind not in _EVALUATIONS:
        raise ProtocolError(
            "unknown-validation",
            f"validation must be one of {sorted(_EVALUATIONS)}, not {request.kind!r}",
        )
    return _EVALUATIONS[request.kind]


def channel_of(request: TrainRequest | EvaluateRequest) -> str:
    """The channel a reply to this request leaves by."""
    if isinstance(request, TrainRequest):
        return "train"
    return _EVALUATIONS.get(request.kind, "refusal")


def _hash_in(text: str) -> str:
    """A plan's hash as it may be repeated and logged; nothing if it is none."""
    return text if _SHA256.fullmatch(text) else ""


def _require_sound(request: TrainRequest | EvaluateRequest) -> None:
    """Refuse, before anybody is charged, what could only fail or give noise afterwards."""
    if request.weights.dtype != np.dtype("<f4") or not np.isfinite(request.weights).all():
        raise ProtocolError(
            "unsound-weights", "the weights of a request must be finite float32 numbers"
        )
    if not isinstance(request, EvaluateRequest):
        return
    if request.kind == "description":
        if request.weights.size or request.release_sha256 or request.lock_sha256:
            raise ProtocolError(
                "unwanted-weights", "a description is of patients: it names no weights and no release"
            )
    elif not _SHA256.fullmatch(request.release_sha256):
        raise ProtocolError("no-such-release", "a release is named by 64 hexadecimal digits")


def _checked_table(plan: Plan, message: EvaluateReply, *, minimum_cell: int) -> Floats:
    """The finite cells [m] that the plan says; of an exact table no group below the minimum.

    Args:
        minimum_cell: 0 for a noised table, which is left as it is.
    """
    described = description_spec(plan.settings) if message.kind == "description" else None
    measured = table_spec(plan.settings)
    n_cells = measured.n_cells if described is None else described.n_cells
    if message.table.shape != (n_cells,) or not np.isfinite(message.table).all():
        raise PrivacyError("wrong-table", f"a table must be {n_cells} finite cells")
    table = message.table.astype(np.float64)
    if not minimum_cell:
        return table
    if described is None:
        return pool_small_cells(table, measured, minimum_cell=minimum_cell)
    return withhold_small_groups(table, described, minimum_cell=minimum_cell)


def _require_bounded(update: Vector, *, norm_max: float | None) -> None:
    norm = float(np.linalg.norm(update.astype(np.float64)))
    if norm_max is None or not norm <= norm_max * (1 + _NORM_TOLERANCE):
        raise PrivacyError(
            "update-unbounded", f"an update must be finite with a norm of at most {norm_max}"
        )
