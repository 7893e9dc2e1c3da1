"""What has left a site: a log of every message, and the finished replies themselves.

``outbox/outbox.jsonl`` has one line per message that left, with its class and cost. Of what costs
nothing and may be asked for without end a few lines a minute are written and the others counted; of
refusals of one code one line (``client.gate.failures``). It is what ``osteofed-site outbox`` shows.
``replies/`` keeps the reply to each charge under the charge's hash, but for what the outcome row gives
it, so that a repeated request gets the identical bytes and costs nothing; and the lock of a round while
it is answered. Written by the gate.
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

# Lines in a minute of uncharged messages of one channel and class.
MOST_A_MINUTE = 10


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
        self._minutes = log_folder / "minutes.json"
        self._replies = replies_folder

    def record(self, departure: Departure) -> None:
        """Append a line before the message leaves, flushed to disk."""
        append_line(self._log, canonical_json(asdict(departure)) + b"\n")

    def record_often(self, departure: Departure, *, minute: str) -> None:
        """As ``record``, of a message that costs nothing; after a few in a minute it is counted.

        Whoever asks ten times a second for a day must not fill a hospital's disk.
        """
        make_folder(self._minutes.parent, mode=0o700)
        with locked(self._minutes.with_suffix(".lock")):
            seen = self._read_minutes()
            kind = f"{departure.channel} ({departure.release_class})"
            at = seen.get(kind, {"minute": "", "n": 0, "further": 0})
            n = int(at["n"]) + 1 if at["minute"] == minute else 1
            further = int(at["further"]) + (n > MOST_A_MINUTE)
            seen[kind] = {"minute": minute, "n": n, "further": further}
            write_atomic(self._minutes, json.dumps(seen).encode(), mode=0o600)
        if n <= MOST_A_MINUTE:
            self.record(departure)

    def further(self) -> dict[str, int]:
        """How many uncharged messages of each channel and class left without a line of their own."""
        counted = {kind: int(at["further"]) for kind, at in self._read_minutes().items()}
        return {kind: n for kind, n in counted.items() if n}

    def _read_minutes(self) -> dict[str, dict[str, str | int]]:
        try:
            read: dict[str, dict[str, str | int]] = json.loads(self._minutes.read_bytes())
        except (OSError, ValueError):
            return {}
        return read

    def show(self) -> tuple[Departure, ...]:
        """Everything that has left, oldest first."""
        return tuple(Departure(**json.loads(line)) for line in self._whole_lines())

    def has_left(self, payload_sha256: str) -> bool:
        """Whether a message has left under the class in which it was charged."""
        named = payload_sha256.encode()  # few lines name it, however many there are
        lines = (json.loads(line) for line in self._whole_lines() if named in line)
        return any(
            line["payload_sha256"] == payload_sha256 and line["release_class"] != "repeat"
            for line in lines
        )

    def _whole_lines(self) -> list[bytes]:
        """Lines of the log, but one that a crash tore."""
        if not self._log.exists():
            return []
        whole, _, _ = self._log.read_bytes().rpartition(b"\n")
        return whole.splitlines()

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
