"""What the coordinator believes of a reply: nothing that it has not checked.

Each check raises ``ProtocolError`` with the code that the events log and the report will show.
Cheap checks come first; nothing of a reply's text is ever logged. Imports protocol, plan, keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from shared.contract.plan import Plan
from shared.contract.protocol import (
    HelloReply,
    Refusal,
    SumReply,
    Vector,
    WeightsReply,
    Wire,
    signed_bytes,
    vector_sha256,
)
from shared.contract.stages import Stage, TrainingStage
from shared.errors import ProtocolError
from shared.signing.keys import verify
from shared.stages.stage_sum import StageSum, numbers_of

NORM_TOLERANCE = 1e-4  # float32 rounding of a sum of squares over 1e8 coordinates
MEASURED = "measured"
STATUSES = (MEASURED, "not-applicable", "waiting")
_CODE = re.compile(r"[a-z]{3,12}\.[a-z0-9-]{1,60}")
_HEAD = re.compile(r"[0-9a-f]{0,64}")
_BLOCK = 1 << 16  # stays in the processor's cache


@dataclass(frozen=True, kw_only=True)
class ReplyCheck:
    """What every total of a round must be."""

    plan: Plan
    stage: Stage
    asked: StageSum
    round: int
    vector_sha256: str
    release_sha256: str = ""

    def require(self, reply: SumReply, *, site: str) -> str:
        """Accept a total and return its SHA-256, or say why not.

        Raises:
            ProtocolError: wrong plan, site, round, state, class, shape, type, size or signature.
        """
        require_plan(reply, self.plan)
        require_site(reply.site, site)
        if (reply.stage, reply.round) != (self.stage.name, self.round):
            raise ProtocolError(
                "wrong-round", f"the total must be of round {self.round} of {self.stage.name}"
            )
        if reply.vector_sha256 != self.vector_sha256:
            raise ProtocolError("wrong-weights", "the total is of another state")
        if reply.release_sha256 != self.release_sha256:
            raise ProtocolError("wrong-release", "the total is not of the release that was asked")
        if reply.status not in self._statuses:
            raise ProtocolError("malformed", f"status must be one of {self._statuses}")
        if reply.release_class != self.stage.release_class:
            raise ProtocolError(
                "wrong-release-class", f"release class must be {self.stage.release_class}"
            )
        _require_ledger(reply)
        self._require_total(reply.total, is_measured=reply.status == MEASURED, site=site)
        total_sha256 = vector_sha256(reply.total)
        require_signature(reply, self.plan, site, array_sha256=total_sha256)
        return total_sha256

    @property
    def _statuses(self) -> tuple[str, ...]:
        """A site that trains answers or refuses; one that is measured may have nobody to measure."""
        return (MEASURED,) if isinstance(self.stage, TrainingStage) else STATUSES

    def _require_total(self, total: Vector, *, is_measured: bool, site: str) -> None:
        bound = self.asked.bound(self.round)
        length = bound.length if is_measured else 0
        if total.shape != (length,):
            raise ProtocolError("wrong-shape", f"the total must have {length} entries")
        if total.dtype != np.dtype(bound.kind if is_measured else "<f8"):
            raise ProtocolError("wrong-type", f"the total must be {bound.kind}, not {total.dtype}")
        norm = norm_of(numbers_of(total, bound))
        if not np.isfinite(norm):
            raise ProtocolError("not-finite", "the total must be finite")
        declared = self.plan.entry(site).declared_patients
        limit = self.asked.largest(self.round, declared_patients=declared)
        if norm > limit * (1 + NORM_TOLERANCE):
            raise ProtocolError("norm-exceeded", f"the total's norm must be at most {limit:g}")


def refusal_code(refusal: Refusal, plan: Plan, *, site: str) -> str:
    """The code of a refusal, or the code of what is wrong with it."""
    if refusal.plan_sha256 != plan.sha256:
        return "protocol.wrong-plan"
    if refusal.site not in ("", site):
        return "protocol.wrong-site"
    return refusal.code if _CODE.fullmatch(refusal.code) else "protocol.malformed"


def require_plan(reply: Wire, plan: Plan) -> None:
    """Raise ``protocol.wrong-plan`` unless the reply is about this plan."""
    if reply.plan_sha256 != plan.sha256:
        raise ProtocolError("wrong-plan", "the reply belongs to another plan")


def require_site(claimed: str, site: str) -> None:
    """Raise ``protocol.wrong-site`` unless the reply is by the site that was asked."""
    if claimed != site:
        raise ProtocolError("wrong-site", f"the reply must be by {site}")


def require_signature(
    reply: HelloReply | WeightsReply | SumReply,
    plan: Plan,
    site: str,
    *,
    array_sha256: str | None = None,
) -> None:
    """Raise ``protocol.bad-signature`` unless the roster's key of ``site`` signed the reply."""
    content = signed_bytes(reply, array_sha256=array_sha256)
    if not verify(plan.entry(site).public_key, content, reply.signature):
        raise ProtocolError("bad-signature", f"the reply is not signed with {site}'s enrolled key")


def norm_of(vector: Vector) -> float:
    """Euclidean norm, summed in float64 by blocks; nan or inf if any entry is."""
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, vector.size, _BLOCK):
            block = vector[start : start + _BLOCK].astype(np.float64)
            total += float(np.einsum("n,n->", block, block))  # not BLAS: its threads only add wait
    return float(np.sqrt(total))


def _require_ledger(reply: SumReply) -> None:
    if not _HEAD.fullmatch(reply.ledger_head) or reply.ledger_index < 0:
        raise ProtocolError("malformed", "a ledger head must be hexadecimal digits of a row")
    if reply.charges < (reply.status == MEASURED):
        raise ProtocolError("malformed", "a total that was measured must have been charged")
