"""What became of each charge: a charge pays for one release, not for one attempt.

An attempt that died without an answer is repeated under its charge, with fresh noise and the same
patients and canary coins, at most ``MOST_REPEATS`` times: what it had drawn nobody has seen. An
outcome, a refusal after noise was drawn included, ends that. So does a move of the folder: of a charge
that is open in a copy nobody knows what became of it elsewhere. Imports the ledger's format.
"""

from __future__ import annotations

from collections import Counter

from shared.privacy.ledger_format import LedgerRow

MOST_REPEATS = 5


class Attempts:
    """Attempts and outcomes by charge, as rows tell them; rows are admitted in their order."""

    def __init__(self) -> None:
        self._outcomes: dict[int, LedgerRow] = {}
        self._repeats: Counter[int] = Counter()
        # The row that says where the ledger lies; charges before it belong to another place.
        self.placed: LedgerRow | None = None

    def admit(self, row: LedgerRow) -> None:
        """Take in the next row."""
        if row.place_sha256:
            self.placed = row
        if row.charge_index is not None and row.kind == "outcome":
            self._outcomes[row.charge_index] = row
        if row.charge_index is not None and row.kind == "attempt":
            self._repeats[row.charge_index] += 1

    def outcome_of(self, charge: LedgerRow) -> LedgerRow | None:
        """What a charge has paid for, or the older record that it failed; None while it is open."""
        return self._outcomes.get(charge.index)

    def is_open(self, charge: LedgerRow) -> bool:
        """Whether a charge is unanswered and of the place where the ledger lies by its rows."""
        is_of_here = self.placed is not None and charge.index > self.placed.index
        return charge.index not in self._outcomes and is_of_here

    def may_repeat(self, charge: LedgerRow) -> bool:
        """Whether one more attempt is left under a charge."""
        return self.is_open(charge) and self._repeats[charge.index] < MOST_REPEATS
