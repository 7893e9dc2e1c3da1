"""What identifies a request for a sum, and what of it is refused before anybody is charged.

Imports the protocol only.
"""

from __future__ import annotations

import re

import numpy as np

from shared.contract.protocol import SumRequest, vector_sha256
from shared.errors import ProtocolError
from shared.signing.canonical import hash_of

_SHA256 = re.compile("[0-9a-f]{64}")


def request_sha256(request: SumRequest) -> str:
    """What makes two requests the same: plan, stage, round, state, and what is measured.

    Ledger head and countersignature are left out: they may differ when a round is asked for again.
    """
    return hash_of(
        {
            "plan_sha256": request.plan_sha256,
            "stage": request.stage,
            "round": str(request.round),  # JSON has no integers beyond 2^53, a request may
            "vector_sha256": vector_sha256(request.vector),
            "release_sha256": request.release_sha256,
            "lock_sha256": request.lock_sha256,
        }
    )


def require_sound(request: SumRequest, *, length: int, kind: str, largest: float) -> None:
    """Refuse a state that could only fail, or break arithmetic, after somebody was charged.

    Args:
        request: as it arrived.
        length: d, of the state that the stage's sum takes.
        kind: its type, ``<f4`` or ``<f8``.
        largest: most that a number of it may be, of either sign.

    Raises:
        ProtocolError: not finite numbers of the type, beyond ``largest``, or of another length.
    """
    vector = request.vector
    if vector.dtype != np.dtype(kind) or not np.isfinite(vector).all():
        raise ProtocolError("unsound-weights", f"the state of a request must be finite {kind} numbers")
    if vector.shape != (length,):
        raise ProtocolError("wrong-shape", f"the state must have {length} numbers, not {vector.size}")
    if vector.size and float(np.abs(vector).max()) > largest:
        raise ProtocolError(
            "weights-too-large",
            f"no number of a state may be beyond {largest:g}: no training of this plan reaches it",
            hint="the plan's caps.weight_max says how large a weight may be",
        )


def as_hash(text: str) -> str:
    """A hash as it may be repeated and logged; nothing if it is none."""
    return text if _SHA256.fullmatch(text) else ""
