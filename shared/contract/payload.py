"""The bytes of a message that the outbox and the ledger name by hash: canonical JSON of all its fields.

Arrays and bytes are in base64, so that equal messages give equal bytes on every machine and an auditor
who holds a journalled reply can find the charge that paid for it. Imports canonical, errors and
protocol.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np

from shared.contract.protocol import KINDS, PROTOCOL_VERSION, SumReply, Vector, Wire
from shared.errors import ProtocolError
from shared.signing.canonical import canonical_json, sha256_hex


def pack(message: Wire) -> bytes:
    """A message as canonical JSON; arrays and bytes in base64."""
    content: dict[str, object] = {"message": type(message).__name__, "version": PROTOCOL_VERSION}
    for field in fields(message):
        content[field.name] = _encode(getattr(message, field.name))
    return canonical_json(content)


def unpack(data: bytes) -> Wire:
    """The message in ``pack``'s bytes.

    Raises:
        ProtocolError: not such bytes, or of another protocol version.
    """
    try:
        content = json.loads(data)
        kind = KINDS[content.pop("message")]
        if content.pop("version") != PROTOCOL_VERSION:
            raise ValueError("version")
        values = {name: _decode(value) for name, value in content.items()}
        return kind(**values)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(
            "unreadable-payload",
            f"these bytes are no packed message of this protocol: {type(error).__name__}",
            hint="use the release of OsteoFed that packed it",
        ) from None


def unsealed(message: Wire) -> Wire:
    """A message as it is stored before its outcome is written: a total without what the ledger says."""
    if not isinstance(message, SumReply):
        return message
    return replace(message, ledger_head="", ledger_index=0, charges=0, signature="")


def payload_sha256(message: Wire) -> str:
    """SHA-256 of the packed message: how ledger and outbox name what left.

    Of a total without head and signature, since the head is the row that carries this hash.
    """
    return sha256_hex(pack(unsealed(message)))


def text_of(reply: SumReply) -> dict[str, str]:
    """A reply beside its total, as the text of a vector file holds it."""
    return {each.name: str(getattr(reply, each.name)) for each in fields(reply) if each.name != "total"}


def reply_of(text: Mapping[str, str], total: Vector) -> SumReply:
    """The reply that a vector file holds; raises KeyError or ValueError where it is damaged."""
    kinds = {each.name: each.type for each in fields(SumReply) if each.name != "total"}
    values = {name: int(text[name]) if kind == "int" else text[name] for name, kind in kinds.items()}
    return SumReply(total=total, **values)  # type: ignore[arg-type]


def _encode(value: object) -> object:
    if isinstance(value, np.ndarray):
        raw = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"dtype": value.dtype.str, "data": raw}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return value


def _decode(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    if "bytes" in value:
        return base64.b64decode(value["bytes"])
    return np.frombuffer(base64.b64decode(value["data"]), dtype=value["dtype"]).copy()
