"""What a ledger's rows say of its charges, looked up by request, round and patients.

Rows are admitted once each, in their order, as they are read or appended, so that no question grows
with the rounds of a run. Holds rows and nothing of the ledger itself. Imports the ledger's format,
attempts and events.
"""

from __future__ import annotations

from collections.abc import Collection

from shared.privacy.attempts import Attempts
from shared.privacy.events import GaussianEvent, merge_events
from shared.privacy.ledger_format import LedgerRow

Events = tuple[GaussianEvent, ...]


class Charges:
    """The charges of a ledger, and what became of each (``attempts``)."""

    def __init__(self) -> None:
        self.attempts = Attempts()
        self._of_request: dict[str, list[LedgerRow]] = {}
        # (plan, stage, round) → the one request that may be charged for it
        self._asked: dict[tuple[str, str, int], str] = {}
        # (member list, plan) → what was charged, merged
        self._events: dict[tuple[str, str], Events] = {}

    def admit(self, row: LedgerRow) -> None:
        """Take in the next row."""
        self.attempts.admit(row)
        if row.kind == "charge":
            self._of_request.setdefault(row.request_sha256, []).append(row)
            self._asked.setdefault((row.plan_sha256, row.stage, row.round), row.request_sha256)
            account = (row.members_sha256, row.plan_sha256)
            new = () if row.event is None else (row.event,)
            self._events[account] = merge_events((*self._events.get(account, ()), *new))

    def of_request(self, request_sha256: str) -> tuple[LedgerRow, ...]:
        """Every charge for a request, oldest first."""
        return tuple(self._of_request.get(request_sha256, ()))

    def newest(self, request_sha256: str) -> LedgerRow | None:
        """The last charge for a request."""
        charged = self.of_request(request_sha256)
        return charged[-1] if charged else None

    def request_of(self, plan_sha256: str, stage: str, round_number: int) -> str | None:
        """The one request that may be charged for a round; None while it is not."""
        return self._asked.get((plan_sha256, stage, round_number))

    @property
    def lists(self) -> frozenset[str]:
        """Hashes of every member list that was ever charged."""
        return frozenset(members for members, _ in self._events)

    def events_of(
        self, lists: frozenset[str], plan_sha256: str | None = None, *, besides: Collection[str] = ()
    ) -> Events:
        """Every event charged to any of these member lists, of one plan, of all, or of all but some."""
        return merge_events(
            event
            for (members, plan), events in self._events.items()
            if members in lists and plan_sha256 in (None, plan) and plan not in besides
            for event in events
        )
