"""What a proposed plan would cost this site's patients, asked of the ledger, which is not written.

Imports ledger, policy and accountant.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from client.cohort.folder import Cohort
from client.gate.ledger import find_ledger
from client.site.folder import Site
from client.site.policy import PolicySettings, description_event, training_event, validation_event
from shared.contract.plan import Plan
from shared.privacy.accountant import epsilon_of
from shared.privacy.cost import total_steps
from shared.privacy.events import GaussianEvent
from shared.privacy.filter import filter_epsilon

TRAINING = "training"


@dataclass(frozen=True, kw_only=True)
class Price:
    """ε of one purpose for its dearest patient: of the run, for life before and after, and left."""

    purpose: str
    n_patients: int
    run_epsilon: float | None
    spent_before: float
    spent_after: float
    left_after: float


def price_plan(site: Site, plan: Plan, cohort: Cohort) -> tuple[Price, ...]:
    """What the run would cost the patients who train, who are measured on, and who are described.

    A description is paid for besides: by the same patients as the others.

    Raises:
        LedgerError: the ledger is damaged or gone, so that nobody knows what was spent.
    """
    steps = total_steps(plan.settings.federation)
    if plan.entry(site.name).role == "training":
        asked = [
            (TRAINING, cohort.patients("train"), training_event(plan, steps=steps)),
            ("internal validation", cohort.patients("internal"), validation_event(plan)),
        ]
    else:
        asked = [("external validation", cohort.patients(), validation_event(plan))]
    if plan.settings.validation.description_epsilon is not None:
        asked.append(("description, besides", cohort.patients(), description_event(plan)))
    return tuple(_price(site, purpose, members, event) for purpose, members, event in asked)


def _price(site: Site, purpose: str, members: Collection[str], event: GaussianEvent | None) -> Price:
    allowance = site.policy.allowance
    before = after = 0.0
    ledger = find_ledger(site)
    if ledger is not None:
        before = ledger.budget(members, allowance=allowance).epsilon_spent
        after = ledger.budget(members, allowance=allowance, further=event).epsilon_spent
    elif event is not None:
        after = filter_epsilon([event], allowance.delta)
    return Price(
        purpose=purpose,
        n_patients=len(members),
        run_epsilon=None if event is None else epsilon_of([event], allowance.delta),
        spent_before=before,
        spent_after=after,
        left_after=max(0.0, allowance.epsilon_lifetime - after),
    )


def find_shortages(policy: PolicySettings, prices: Collection[Price]) -> list[str]:
    """What the gate would refuse at the first round or the first table."""
    found = []
    for price in prices:
        is_training = price.purpose == TRAINING
        least = policy.minimum_cohort_patients if is_training else policy.minimum_cell
        if price.n_patients < least:
            found.append(
                f"{price.purpose}: {price.n_patients} patients are fewer than the minimum of {least}"
            )
        if price.spent_after > policy.epsilon_lifetime:
            found.append(
                f"{price.purpose}: some patients would have spent epsilon {price.spent_after:.2f} for "
                f"life, above the cap of {policy.epsilon_lifetime:g}"
            )
    return found
