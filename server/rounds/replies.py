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
    EvaluateReply,
    HelloReply,
    Refusal,
    TrainReply,
    Vector,
    WeightsReply,
    Wire,
    signed_bytes,
    vector_sha256,
)
from shared.errors import ProtocolError
from shared.signing.keys import verify

NORM_TOLERANCE = 1e-4  # float32 rounding of a sum of squares over 1e8 coordinates
STATUSES = ("measured", "not-applicable", "waiting")
_CODE = re.compile(r"[a-z]{3,12}\.[a-z0-9-]{1,60}")
_HEAD = re.compile(r"[0-9a-f]{0,64}")
_BLOCK = 1 << 16  # stays in the processor's cache


@dataclass(frozen=True, kw_only=True)
class RoundCheck:
    """What every update of a round must be."""

    plan: Plan
    round: int
    weights_sha256: str
    n_parameters: int

    def require(self, reply: TrainReply, *, site: str) -> str:
        """Accept an update and return its SHA-256, or say why not.

        Raises:
            ProtocolError: wrong plan, site, round, weights, shape, type, size, or signature.
        """
        require_plan(reply, self.plan)
        require_site(reply.site, site)
        if reply.round != self.round:
            raise ProtocolError("wrong-round", f"round must be {self.round}, not {reply.round}")
        if reply.weights_sha256 != self.weights_sha256:
            raise ProtocolError("wrong-weights", "the update starts from other weights")
        _require_head(reply.ledger_head)
        _require_vector(reply.update, self.n_parameters)
        norm = norm_of(reply.update)
        if not np.isfinite(norm):
            raise ProtocolError("not-finite", "the update must be finite")
        limit = self.plan.settings.privacy.update_norm_max
        if limit is not None and norm > limit * (1 + NORM_TOLERANCE):
            raise ProtocolError("norm-exceeded", f"the update's norm must be at most {limit}")
        update_sha256 = vector_sha256(reply.update)
        require_signature(reply, self.plan, site, array_sha256=update_sha256)
        return update_sha256


def require_evaluation(
    reply: EvaluateReply, plan: Plan, *, site: str, kind: str, release_sha256: str, table_size: int
) -> None:
    """Accept a validation table [m] or say why not.

    Raises:
        ProtocolError: as ``RoundCheck.require``, or a status or release class that was not asked for.
    """
    require_plan(reply, plan)
    require_site(reply.site, site)
    if reply.kind != kind or reply.release_sha256 != release_sha256:
        raise ProtocolError("wrong-release", f"the result is not of this release's {kind} validation")
    if reply.status not in STATUSES:
        raise ProtocolError("malformed", f"status must be one of {STATUSES}")
    allowed = {"dp", plan.settings.validation.release_class}
    if reply.release_class not in allowed:
        raise ProtocolError("wrong-release-class", f"release class must be one of {sorted(allowed)}")
    _require_head(reply.ledger_head)
    size = table_size if reply.status == "measured" else 0
    if reply.table.shape != (size,):
        raise ProtocolError("wrong-shape", f"table must have {size} entries")
    if not np.isfinite(norm_of(reply.table)):
        raise ProtocolError("not-finite", "the table must be finite")
    require_signature(reply, plan, site)


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
    reply: HelloReply | WeightsReply | TrainReply | EvaluateReply,
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


def _require_vector(vector: Vector, size: int) -> None:
    if vector.shape != (size,):
        raise ProtocolError("wrong-shape", f"the update must have {size} entries")
    if vector.dtype != np.dtype("<f4"):
        raise ProtocolError("wrong-type", f"the update must be float32, not {vector.dtype}")


def _require_head(head: str) -> None:
    if not _HEAD.fullmatch(head):
        raise ProtocolError("malformed", "a ledger head must be hexadecimal digits")
