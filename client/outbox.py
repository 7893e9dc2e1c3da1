"""What has left a site: a log of every message, and the finished replies themselves.

``outbox/outbox.jsonl`` has one line per message that left, with its class and cost; it is what
``osteofed-site outbox`` shows. ``replies/`` keeps a finished reply under the hash of its request, so
that a repeated request gets the identical bytes and costs nothing. Written by the gate only.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from shared.canonical import canonical_json, sha256_hex
from shared.errors import LedgerError
from shared.files import write_atomic
from shared.protocol import KINDS, PROTOCOL_VERSION, Wire


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One message that left. ``epsilon`` None with class ``governed`` or ``off``: nothing formal."""

    utc: str
    channel: str
    release_class: str
    message: str
    n_bytes: int
    payload_sha256: str
    epsilon: float | None
    plan_sha256: str


class Outbox:
    """The log of departures and the store of replies of one site.

    Args:
        log_folder: the site's ``outbox`` folder.
        replies_folder: the site's ``replies`` folder.
    """

    def __init__(self, log_folder: Path, replies_folder: Path) -> None:
        self._log = log_folder / "outbox.jsonl"
        self._replies = replies_folder
        log_folder.mkdir(parents=True, exist_ok=True)
        replies_folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def record(self, departure: Departure) -> None:
        """Append a line before the message leaves, flushed to disk."""
        line = canonical_json(asdict(departure)) + b"\n"
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def show(self) -> tuple[Departure, ...]:
        """Everything that has left, oldest first."""
        if not self._log.exists():
            return ()
        whole, _, _ = self._log.read_bytes().rpartition(b"\n")
        return tuple(Departure(**json.loads(line)) for line in whole.splitlines())

    def store_reply(self, request_sha256: str, reply: Wire) -> None:
        """Keep the finished reply to a request."""
        write_atomic(self._replies / f"{request_sha256}.json", pack(reply), mode=0o600)

    def stored_reply(self, request_sha256: str) -> Wire | None:
        """The finished reply to a request; None when there is none.

        Raises:
            LedgerError: the stored file is damaged.
        """
        path = self._replies / f"{request_sha256}.json"
        return unpack(path.read_bytes()) if path.exists() else None


def pack(message: Wire) -> bytes:
    """A message as canonical JSON; arrays and bytes in base64, so equal messages give equal bytes."""
    content: dict[str, object] = {"message": type(message).__name__, "version": PROTOCOL_VERSION}
    for field in fields(message):
        content[field.name] = _encode(getattr(message, field.name))
    return canonical_json(content)


def unpack(data: bytes) -> Wire:
    """The message in ``pack``'s bytes.

    Raises:
        LedgerError: not such bytes, or of another protocol version.
    """
    try:
        content = json.loads(data)
        kind = KINDS[content.pop("message")]
        if content.pop("version") != PROTOCOL_VERSION:
            raise ValueError("version")
        values = {name: _decode(value) for name, value in content.items()}
        return kind(**values)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(
            "reply-damaged",
            f"a stored reply cannot be read: {type(error).__name__}",
            hint="the round cannot be answered again; the coordinator goes on without this site",
        ) from None


def payload_sha256(message: Wire) -> str:
    """SHA-256 of ``pack(message)``."""
    return sha256_hex(pack(message))


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
