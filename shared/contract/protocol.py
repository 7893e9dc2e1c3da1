"""Typed messages between coordinator and sites, and their Flower records.

The only module under ``shared`` that imports ``flwr``. Every message carries the protocol version and
the plan's hash; arrays travel as one flat little-endian buffer. A site's replies are signed over
``signed_bytes``. Changing a field means a new ``PROTOCOL_VERSION``; other versions are refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, ConfigRecordValues, RecordDict

from shared.errors import ProtocolError
from shared.signing.canonical import canonical_json, hash_of

# 3: one request and one reply for every stage. 4: a reply names the row of its own outcome.
PROTOCOL_VERSION = 5
# An array says of itself how large it is: more than there is memory for, or than it carries.
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, EOFError, MemoryError, OverflowError)
Vector = np.ndarray[tuple[int], np.dtype[np.float32] | np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Hello:
    """``query.hello``: who are you, and do you agree to this plan?

    Attributes:
        plan_sha256: hash of the plan.
        nonce: fresh, so that an old answer is worth nothing.
    """

    plan_sha256: str
    nonce: str


@dataclass(frozen=True, kw_only=True)
class HelloReply:
    """A site names itself. It says nothing about its cohort.

    Attributes:
        plan_sha256: hash of the plan.
        nonce: of the question.
        site: who answers.
        code_sha256: hash of the code that the site installed.
        has_encoder: whether every encoder's file of the plan is here already.
        countersigned: the newest head of its ledger that this coordinator has countersigned under this
            plan; empty before the first.
        signature: of the site.
    """

    plan_sha256: str
    nonce: str
    site: str
    code_sha256: str
    has_encoder: bool
    countersigned: str = ""
    signature: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsChunk:
    """``query.weights``: one piece of the encoder's weights file, sent once and cached by hash.

    Attributes:
        plan_sha256: hash of the plan.
        file_sha256: hash of the whole file.
        index: of this piece, from 0 on.
        n_chunks: how many pieces there are.
        data: the piece.
    """

    plan_sha256: str
    file_sha256: str
    index: int
    n_chunks: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class WeightsReply:
    """A site has stored a piece.

    Attributes:
        plan_sha256: hash of the plan.
        site: who answers.
        index: of the piece.
        is_complete: whether the whole file is here and matches its hash.
        signature: of the site.
    """

    plan_sha256: str
    site: str
    index: int
    is_complete: bool
    signature: str = ""


@dataclass(frozen=True, kw_only=True)
class SumRequest:
    """``train``: one stage's sum of one round, at a public state.

    Attributes:
        plan_sha256: hash of the plan.
        stage: name of the stage.
        round: of the stage, from 1 on.
        vector: [d], the state: trainable weights, or what a learner's sums so far made; empty where the
            sum needs none.
        release_sha256: the release that a stage measures; else empty.
        lock_sha256: the lock of a prospective stage; else empty.
        ledger_head: the site's last one that the coordinator has seen.
        countersignature: of the coordinator, under that head.
    """

    plan_sha256: str
    stage: str
    round: int
    vector: Vector
    release_sha256: str
    lock_sha256: str
    ledger_head: str
    countersignature: str


@dataclass(frozen=True, kw_only=True)
class SumReply:
    """A site's total (``shared.stages``), how it was released, and the ledger's row that says so.

    Attributes:
        plan_sha256: hash of the plan.
        stage: name of the stage.
        round: of the stage.
        site: who answers.
        status: ``measured``; or ``not-applicable`` (no labelled patients to ask), or ``waiting`` (the
            day of the lock has not come); then the total is empty.
        release_class: ``dp``, ``governed`` or ``off``.
        vector_sha256: hash of the state of the request.
        release_sha256: the release that was measured; else empty.
        total: [m], noise included where the class is ``dp``.
        ledger_head: of the site, hash of the row that names this total as what its charge has paid for;
            of a reply that was not measured the last row.
        ledger_index: of that row.
        charges: how often the ledger was charged for this request: 1, and more where a charge was lost
            before it had paid for anything; of a reply that was not measured 0.
        signature: of the site.
    """

    plan_sha256: str
    stage: str
    round: int
    site: str
    status: str
    release_class: str
    vector_sha256: str
    release_sha256: str
    total: Vector
    ledger_head: str
    ledger_index: int = 0
    charges: int = 1
    signature: str = ""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A site could not or would not: the text stays in its log.

    Attributes:
        plan_sha256: hash of the plan.
        site: who answers.
        code: of the error.
        correlation_id: under which the text lies in the site's log.
    """

    plan_sha256: str
    site: str
    code: str
    correlation_id: str


Wire = Hello | HelloReply | WeightsChunk | WeightsReply | SumRequest | SumReply | Refusal
AnyWire = TypeVar("AnyWire", bound=Wire)
KINDS: dict[str, type[Wire]] = {
    kind.__name__: kind
    for kind in (
        Hello,
        HelloReply,
        WeightsChunk,
        WeightsReply,
        SumRequest,
        SumReply,
        Refusal,
    )
}


def vector_sha256(vector: Vector) -> str:
    """SHA-256 of a vector's little-endian bytes: how states and totals are named in messages."""
    kind = "<f8" if vector.dtype.itemsize == 8 else "<f4"
    return hashlib.sha256(np.ascontiguousarray(vector, dtype=kind).data).hexdigest()


def request_sha256(request: SumRequest) -> str:
    """What makes two requests the same: plan, stage, round, state, and what is measured.

    Ledger head and countersignature are left out: they may differ when a round is asked for again.
    """
    return _identity(request, vector_sha256(request.vector), request.lock_sha256)


def answered_sha256(reply: SumReply, *, lock_sha256: str) -> str:
    """The ``request_sha256`` of the request that a reply says it answers, under a lock or none."""
    return _identity(reply, reply.vector_sha256, lock_sha256)


def _identity(about: SumRequest | SumReply, state_sha256: str, lock_sha256: str) -> str:
    return hash_of(
        {
            "plan_sha256": about.plan_sha256,
            "stage": about.stage,
            "round": str(about.round),  # canonical JSON has no integers beyond 2^53
            "vector_sha256": state_sha256,
            "release_sha256": about.release_sha256,
            "lock_sha256": lock_sha256,
        }
    )


def to_record(message: Wire, *, arrays_of: RecordDict | None = None) -> RecordDict:
    """The Flower records of a message.

    Args:
        arrays_of: records of a message with equal arrays, whose serialised arrays are then shared, so
            that weights for a hundred sites are held once.
    """
    scalars: dict[str, ConfigRecordValues] = {
        "version": PROTOCOL_VERSION,
        "message": type(message).__name__,
    }
    arrays: dict[str, Array] = {}
    for field in fields(message):
        value = getattr(message, field.name)
        if isinstance(value, np.ndarray):
            if arrays_of is None:
                arrays[field.name] = Array(np.ascontiguousarray(value))
        else:
            scalars[field.name] = value
    content = RecordDict()
    content["message"] = ConfigRecord(scalars)
    if arrays_of is not None:
        content["arrays"] = arrays_of["arrays"]
    elif arrays:
        content["arrays"] = ArrayRecord(arrays)
    return content


def from_record(content: RecordDict, expected: type[AnyWire]) -> AnyWire:
    """The message in Flower records.

    Raises:
        ProtocolError: another version, another message, or fields of the wrong name or type.
    """
    message = any_from_record(content)
    if not isinstance(message, expected):
        raise ProtocolError(
            "wrong-message",
            f"message must be {expected.__name__}, not {type(message).__name__}",
            hint="coordinator and site must run the same code",
        )
    return message


def any_from_record(content: RecordDict) -> Wire:
    """The message in Flower records, whichever it is; raises as ``from_record``."""
    try:
        values = _section(content, "message")
        version = values.pop("version")
        kind = KINDS[str(values.pop("message"))]
        values |= {name: _as_array(array) for name, array in _section(content, "arrays").items()}
    except _UNREADABLE as error:
        raise ProtocolError(
            "malformed", f"not a message of this protocol: {type(error).__name__}"
        ) from None
    if version != PROTOCOL_VERSION:
        raise ProtocolError(
            "unknown-version",
            f"protocol version must be {PROTOCOL_VERSION}, not {version!r}",
            hint="install the same release of OsteoFed at coordinator and sites",
        )
    for field in fields(kind):
        value = values.get(field.name)
        if field.name not in values or not _is_of(value, str(field.type)):
            raise ProtocolError(
                "malformed",
                f"{kind.__name__}.{field.name} must be {field.type}, not {type(value).__name__}",
            )
    if len(values) != len(fields(kind)):
        raise ProtocolError("malformed", f"{kind.__name__} has fields it must not have")
    return kind(**values)  # type: ignore[arg-type]


def signed_bytes(message: Wire, *, array_sha256: str | None = None) -> bytes:
    """The bytes a site signs: every field except the signature, arrays by their SHA-256.

    Args:
        array_sha256: hash of the message's one array, if it was computed already.
    """
    content: dict[str, object] = {"message": type(message).__name__, "version": PROTOCOL_VERSION}
    for field in fields(message):
        value = getattr(message, field.name)
        if field.name == "signature":
            continue
        if isinstance(value, np.ndarray):
            digest = array_sha256 or hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
            value = [str(value.dtype), list(value.shape), digest]
        elif isinstance(value, bytes):
            value = hashlib.sha256(value).hexdigest()
        content[field.name] = value
    return canonical_json(content)


def _section(content: RecordDict, name: str) -> dict[str, object]:
    # `content.array_records` makes reference cycles that keep whole models alive; indexing does not.
    return dict(content[name].items()) if name in content else {}


def _as_array(value: object) -> object:
    if not isinstance(value, Array):
        raise TypeError
    return value.numpy()


def _is_of(value: object, declared: str) -> bool:
    if declared == "Vector":
        return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"
    expected: type = {"str": str, "int": int, "bool": bool, "bytes": bytes}[declared]
    return type(value) is expected
