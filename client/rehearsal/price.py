"""What a proposed plan would cost this site's patients, asked of the ledger, which is not written.

Imports ledger, policy and accountant.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from client.cohort.assemble import assemble
from client.cohort.folder import Cohort
from client.gate.ledger import Charge, find_ledger
from client.site.folder import Site
from client.site.policy import PolicySettings
from shared.contract.capacity import capacity_of
from shared.contract.plan import Plan
from shared.contract.stages import PatientGroup, Stage, purpose_of
from shared.errors import PolicyError, PrivacyError
from shared.exam.schema import Split
from shared.privacy.accountant import epsilon_of
from shared.privacy.cost import events_of, touching
from shared.privacy.events import merge_events
from shared.privacy.filter import filter_epsilon
from shared.privacy.stage_text import purposes_of

_SPLITS: tuple[Split | None, ...] = ("train", "internal", None)


@dataclass(frozen=True, kw_only=True)
class Price:
    """ε of a group of patients for its dearest: of the run, for life before and after, and left.

    ``purpose``: what the run does with them. ``run_epsilon`` None: nothing formal is promised.
    ``least_patients``: the gate refuses a stage that asks fewer; ``places``: or one that asks more than
    a site of the declared size has places for.
    """

    purpose: str
    n_patients: int
    least_patients: int
    places: int
    run_epsilon: float | None
    spent_before: float
    spent_after: float
    left_after: float


def price_plan(site: Site, plan: Plan, cohort: Cohort) -> tuple[Price, ...]:
    """What the run would cost each group of this cohort's labelled patients; as ``price_plans``."""
    return price_plans(site, (plan,), cohort)


def price_plans(site: Site, plans: Sequence[Plan], cohort: Cohort) -> tuple[Price, ...]:
    """What runs would cost each group of this cohort's labelled patients, all stages they are in.

    Args:
        site: the hospital.
        plans: of one roster, cohort and task, as a sweep's are.
        cohort: its patients.

    Raises:
        IntakeError: the cohort was frozen under another schema, or the task does not suit its label.
        LedgerError: the ledger is damaged or gone, so that nobody knows what was spent.
    """
    plan, policy = plans[0], site.policy
    entry, rule = plan.entry(site.name), plan.settings.cohort.split
    role = entry.role
    train, internal, everybody = (
        assemble(cohort, split, schema=plan.settings.cohort, task=plan.settings.task).patients
        for split in _SPLITS
    )
    asked: list[tuple[PatientGroup, Collection[str], int]] = [
        ("everybody", everybody, policy.minimum_cell)
    ]
    if role == "training":
        others = set(everybody) - set(train) - set(internal)
        asked = [
            ("train", train, policy.minimum_cohort_patients),
            ("internal", internal, policy.minimum_cell),
            ("everybody", others, 0),  # asked together with the patients above
        ]
    all_stages = [stage for each in plans for stage in each.stages]
    hashes = [each.sha256 for each in plans]
    prices = []
    for group, members, least in asked:
        stages = touching(all_stages, role=role, patients=group)
        # where nobody is labelled there is no table, and nothing that would be refused
        if stages and (members or group == "train"):
            places = capacity_of(rule, group, declared=entry.declared_patients)
            if group == "everybody":  # of whom the others are asked together with them
                places -= len(everybody) - len(members)
            prices.append(_price(site, hashes, stages, members, least=least, places=places))
    return tuple(prices)


def _price(
    site: Site,
    plans: Collection[str],
    stages: Sequence[Stage],
    members: Collection[str],
    *,
    least: int,
    places: int,
) -> Price:
    allowance = site.policy.allowance
    found = [events_of(stage) for stage in stages]
    events = merge_events(event for each in found if each is not None for event in each)
    before, after = 0.0, filter_epsilon(events, allowance.delta)
    ledger = find_ledger(site)
    if ledger is not None:
        before = ledger.budget(members, allowance=allowance).epsilon_spent
        # what the plans themselves were charged so far is part of their price, and counts once
        after = ledger.budget(members, allowance=allowance, further=events, besides=plans).epsilon_spent
    return Price(
        purpose=purposes_of(stages),
        n_patients=len(members),
        least_patients=least,
        places=places,
        run_epsilon=None if None in found else epsilon_of(events, allowance.delta),
        spent_before=before,
        spent_after=after,
        left_after=max(0.0, allowance.epsilon_lifetime - after),
    )


def find_governed(site: Site, plans: Sequence[Plan], cohort: Cohort) -> tuple[list[str], list[str]]:
    """What plans ask exactly of patients who had exact releases before: how many, and what is refused.

    Args:
        site: the hospital.
        plans: as for ``price_plans``.
        cohort: its patients.

    Returns:
        A line for each stage that is asked exactly; and why the gate would refuse one.

    Raises:
        IntakeError: as ``price_plans``.
        LedgerError: the ledger is damaged or gone.
    """
    ledger, most = find_ledger(site), site.policy.governed_releases_per_split
    told, refused = [], []
    for plan in plans:
        for stage in plan.stages:
            is_asked = plan.entry(site.name).role in stage.roles and stage.patients != "accrued"
            if stage.release_class != "governed" or not is_asked:
                continue
            split = stage.patients if stage.patients in ("train", "internal") else None
            arrays = assemble(cohort, split, schema=plan.settings.cohort, task=plan.settings.task)
            try:
                n = 0
                if ledger is not None:
                    charge = _governed_charge(plan, stage)
                    n = ledger.governed_so_far(
                        charge,
                        members=arrays.patients,
                        most=most,
                        minimum_cell=site.policy.minimum_cell,
                    )
                told.append(f"{stage.name}: {n} of at most {most} before")
            except (PrivacyError, PolicyError) as error:
                refused.append(f"{stage.name}: {error.fact}")
    return told, refused


def _governed_charge(plan: Plan, stage: Stage) -> Charge:
    return Charge(
        charge_class="governed",
        event=None,
        purpose=purpose_of(stage),
        plan_sha256=plan.sha256,
        run=plan.run,
        stage=stage.name,
        stage_kind=stage.kind,
        round=1,
        request_sha256="",
    )


def find_shortages(policy: PolicySettings, prices: Collection[Price]) -> list[str]:
    """What the gate would refuse at the first round or the first table."""
    found = []
    for price in prices:
        if price.n_patients < price.least_patients:
            found.append(
                f"{price.purpose}: {price.n_patients} patients are fewer than the minimum of "
                f"{price.least_patients}"
            )
        if price.n_patients > price.places:
            found.append(
                f"{price.purpose}: {price.n_patients} patients are more than the {price.places} places "
                "of this site's declared size"
            )
        if price.spent_after > policy.epsilon_lifetime:
            found.append(
                f"{price.purpose}: some patients would have spent epsilon {price.spent_after:.2f} for "
                f"life, above the cap of {policy.epsilon_lifetime:g}"
            )
    return found
