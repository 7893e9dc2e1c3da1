"""A verified ledger as a recount sees it, and how a claim about it becomes a finding.

Imports plan, findings and the ledger's format.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from shared.audit.finding import Finding
from shared.contract.plan import Plan, RosterEntry
from shared.privacy.events import GaussianEvent
from shared.privacy.ledger_format import KEPT, RELEASED, LedgerRow

# The same formula on another machine.
SAME_FORMULA = 1e-3
Figures = dict[str, float | int | str | None]


@dataclass(frozen=True)
class RecountedLedger:
    """A verified ledger, and what of it belongs to one plan."""

    plan: Plan
    site: str
    rows: tuple[LedgerRow, ...]

    @property
    def entry(self) -> RosterEntry | None:
        """What the plan's roster says of the site; None where it is not on it."""
        return next((entry for entry in self.plan.roster if entry.site == self.site), None)

    @cached_property
    def hashes(self) -> dict[str, int]:
        """Index of each row by its hash, which is what a head is."""
        return {row.sha256: row.index for row in self.rows}

    @cached_property
    def charges(self) -> tuple[LedgerRow, ...]:
        """Charges of the plan."""
        return tuple(row for row in self.rows if row.kind == "charge" and self._is_own(row))

    @cached_property
    def n_charges(self) -> Counter[str]:
        """How often each request of the plan was charged, by the request's hash."""
        return Counter(row.request_sha256 for row in self.charges)

    def locks_before(self, charge: LedgerRow) -> set[str]:
        """Hashes of the locks of the plan that were accepted before a charge."""
        accepted = (row for row in self.rows[: charge.index] if row.kind == "accepted")
        return {row.lock_sha256 for row in accepted if self._is_own(row)}

    @cached_property
    def attempts(self) -> tuple[LedgerRow, ...]:
        """Further attempts under charges of the plan."""
        return tuple(row for row in self.rows if row.kind == "attempt" and self._is_own(row))

    @cached_property
    def outcomes(self) -> tuple[LedgerRow, ...]:
        """Outcomes of the plan under which a total left."""
        return tuple(row for row in self.answers if row.status == RELEASED)

    @cached_property
    def answers(self) -> tuple[LedgerRow, ...]:
        """Outcomes of the plan that name an answer: a total, or a refusal after noise was drawn."""
        return tuple(
            row
            for row in self.rows
            if row.kind == "outcome"
            and self._is_own(row)
            and (row.status == RELEASED or row.payload_sha256)
        )

    @cached_property
    def released_charges(self) -> tuple[LedgerRow, ...]:
        """Charges of the plan that an outcome names as having paid for a total, which left or stays."""
        paid = {row.charge_index for row in self.answers if row.status in (RELEASED, KEPT)}
        return tuple(row for row in self.charges if row.index in paid)

    def until(self, index: int) -> RecountedLedger:
        """The same ledger as it stood at a row."""
        return RecountedLedger(self.plan, self.site, self.rows[: index + 1])

    def _is_own(self, row: LedgerRow) -> bool:
        return row.plan_sha256 == self.plan.sha256


def judge(
    site: str,
    claim: str,
    problems: Sequence[str],
    *,
    holds: str,
    blind_to: str,
    figures: Figures | None = None,
) -> Finding:
    """A finding that fails if there is any problem and otherwise passes because ``holds``."""
    because = "; ".join(problems[:3])
    if len(problems) > 3:
        because += f"; and {len(problems) - 3} more"
    return Finding(
        method="recount",
        site=site,
        claim=claim,
        verdict="fail" if problems else "pass",
        because=because or holds,
        figures=figures or {},
        blind_to=blind_to,
    )


def not_examined(site: str, claim: str, why: str, *, figures: Figures | None = None) -> Finding:
    """A finding about a claim that these files cannot decide."""
    return Finding(
        method="recount",
        site=site,
        claim=claim,
        verdict="not-run",
        because=why,
        figures=figures or {},
        blind_to="Everything: the claim was not examined.",
    )


def bounds(
    rows: Iterable[LedgerRow], price: Callable[[list[GaussianEvent]], float]
) -> tuple[float, float]:
    """Least and most that the dearest patient can have paid, without knowing any member list.

    Least: charges that name one and the same list add up. Most: every charge hit one patient.
    """
    lists: dict[str, list[GaussianEvent]] = {}
    for row in rows:
        if row.kind == "charge" and row.event is not None:
            lists.setdefault(row.members_sha256, []).append(row.event)
    everything = [event for events in lists.values() for event in events]
    return max((price(events) for events in lists.values()), default=0.0), price(everything)


def charge_of(ledger: RecountedLedger, outcome: LedgerRow) -> LedgerRow | None:
    """The charge that an outcome or attempt names, if it stands before and is of the same request."""
    index = outcome.charge_index
    if index is None or not 0 <= index < outcome.index:
        return None
    row = ledger.rows[index]
    return row if row.kind == "charge" and _identity(row) == _identity(outcome) else None


def _identity(row: LedgerRow) -> tuple[str, str, str, int, str]:
    return row.plan_sha256, row.purpose, row.stage, row.round, row.request_sha256


@dataclass(frozen=True)
class PaidRelease:
    """A release: the charge that paid for it, and the outcome that names it and that it names."""

    charge: LedgerRow
    outcome: LedgerRow


def releases_by_payload(ledger: RecountedLedger) -> dict[str, PaidRelease]:
    """Each released payload's hash, and what the ledger says of it."""
    paired = ((outcome, charge_of(ledger, outcome)) for outcome in ledger.outcomes)
    return {
        outcome.payload_sha256: PaidRelease(charge, outcome)
        for outcome, charge in paired
        if charge is not None
    }


def place_of(stage: str, round_number: int) -> str:
    """A round of a stage in words."""
    return f"{stage}, round {round_number}"


def is_same(stated: float | None, recounted: float | None) -> bool:
    """Whether two epsilons, either of which may be none, are the same figure."""
    if stated is None or recounted is None:
        return stated is recounted
    return math.isclose(stated, recounted, rel_tol=0, abs_tol=SAME_FORMULA)


def is_within(stated: float, limits: Sequence[float]) -> bool:
    """Whether a stated epsilon lies within recounted limits (low, high)."""
    return limits[0] - SAME_FORMULA <= stated <= limits[1] + SAME_FORMULA
