"""What has left a site: a log of every message, and the finished replies themselves.

``outbox/outbox.jsonl`` has one line per message that left, with its class and cost (of refusals of one
code one a minute, ``client.gate.failures``); it is what ``osteofed-site outbox`` shows. ``replies/``
keeps the reply to each charge under the charge's hash, but for the head and signature that the outcome
row gives it, so that a repeated request gets the identical bytes and costs nothing; and the lock of a
round while it is answered. Written by the gate.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.contract.payload import pack, unpack
from shared.contract.protocol import Wire
from shared.errors import LedgerError, ProtocolError
from shared.machine.files import append_line, locked, make_folder, write_atomic
from shared.signing.canonical import canonical_json, hash_of


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One message that left.

    Attributes:
        utc: the hour in which it left.
        channel: what was asked (``train``, …), or the file that was written (``export.ledger``, …).
        release_class: ``public``, ``status``, ``dp``, ``governed``, ``off``, or ``repeat``.
        message: what it is.
        n_bytes: of the packed message.
        payload_sha256: hash of the packed message; of a total without head and signature.
        epsilon: that it cost a patient; null: nothing formal.
        plan_sha256: hash of the plan; empty: of none.
    """

    utc: str
    channel: str
    release_class: str
    message: str
    n_bytes: int
    payload_sha256: str
    epsilon: float | None
    plan_sha256: str


class Outbox:
    """The log of departures and the store of replies of one site; nothing is made but by what leaves.

    Args:
        log_folder: the site's ``outbox`` folder.
        replies_folder: the site's ``replies`` folder.
    """

    def __init__(self, log_folder: Path, replies_folder: Path) -> None:
        self._log = log_folder / "outbox.jsonl"
        self._replies = replies_folder

    def record(self, departure: Departure) -> None:
        """Append a line before the message leaves, flushed to disk."""
        append_line(self._log, canonical_json(asdict(departure)) + b"\n")

    def show(self) -> tuple[Departure, ...]:
        """Everything that has left, oldest first."""
        if not self._log.exists():
            return ()
        whole, _, _ = self._log.read_bytes().rpartition(b"\n")
        return tuple(Departure(**json.loads(line)) for line in whole.splitlines())

    def has_left(self, payload_sha256: str) -> bool:
        """Whether a message has left under the class in which it was charged."""
        return any(
            each.payload_sha256 == payload_sha256 and each.release_class != "repeat"
            for each in self.show()
        )

    def held(
        self, *, plan_sha256: str, stage: str, round_number: int
    ) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of a round: whoever asks for it at the same time waits, in any process."""
        name = hash_of([plan_sha256, stage, str(round_number)])
        return locked(self._replies / f"{name}.lock")

    def store_reply(self, charge_sha256: str, reply: Wire) -> None:
        """Keep the reply that a charge has paid for; flushed to disk, its folder too."""
        make_folder(self._replies, mode=0o700)
        write_atomic(self._replies / f"{charge_sha256}.json", pack(reply), mode=0o600)

    def stored_reply(self, charge_sha256: str) -> Wire | None:
        """The reply that a charge has paid for; None when there is none.

        Raises:
            LedgerError: the stored file is damaged.
        """
        path = self._replies / f"{charge_sha256}.json"
        if not path.exists():
            return None
        try:
            return unpack(path.read_bytes())
        except ProtocolError as error:
            raise LedgerError(
                "reply-damaged",
                f"a stored reply cannot be read: {error.fact}",
                hint="the round cannot be answered again; the coordinator goes on without this site",
            ) from None
