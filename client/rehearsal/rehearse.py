"""``osteofed-site rehearse``: what a proposed plan would cost and take here, before it is approved.

Nothing is charged, kept or sent, and no figure is a result about a patient: prices come from the
ledger, time and memory from random values, learning from random people. Imports the three rehearsals.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.cohort.assemble import assemble
from client.cohort.versions import current_cohort
from client.rehearsal.learning import Trial, try_learning
from client.rehearsal.price import Price, find_shortages, price_plan
from client.rehearsal.round import RoundMeasure, held_encoder, measure_round
from client.site.folder import Site
from client.site.policy import check_plan
from shared.contract.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """All that a rehearsal found; ``problems`` keep the plan from running here."""

    prices: tuple[Price, ...]
    problems: tuple[str, ...]
    measured: RoundMeasure | None
    trial: Trial | None


def rehearse(site: Site, plan: Plan) -> Rehearsal:
    """Try a plan on this site's cohort; nothing is charged, kept or sent.

    Raises:
        PlanError: the site is not on the roster.
        IntakeError: no cohort, or one that was frozen under another schema.
        LedgerError: the ledger is damaged.
    """
    role = plan.entry(site.name).role
    refused = (
        *site.entry_problems(plan),
        *check_plan(site.policy, plan, site=site.name, now=site.clock()),
    )
    if all(stage.patients == "accrued" for stage in plan.stages if role in stage.roles):
        # who is asked about later patients only has no cohort to try a plan on
        return Rehearsal(prices=(), problems=refused, measured=None, trial=None)
    cohort = current_cohort(site, plan.settings.cohort.name)
    stage = plan.trained
    trains = stage is not None and role in stage.roles
    arrays = assemble(
        cohort, "train" if trains else None, schema=plan.settings.cohort, task=plan.settings.task
    )
    prices = price_plan(site, plan, cohort)
    measured = trial = None
    if stage is not None and trains:
        measured = measure_round(site, plan, stage, cohort, arrays)
        trial = try_learning(plan, stage, site=site.name, file=held_encoder(site, plan))
    return Rehearsal(
        prices=prices,
        problems=(*refused, *find_shortages(site.policy, prices)),
        measured=measured,
        trial=trial,
    )
