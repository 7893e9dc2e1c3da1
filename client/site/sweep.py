"""Whether a hospital's policy allows a sweep: each arm as a plan, and all arms together as one run.

Otherwise a hospital that allows ε per run would allow n times that for n models of the same patients.
Imports site, policy and the sweep.
"""

from __future__ import annotations

from client.site.folder import Site
from client.site.policy import check_plan, check_total
from shared.contract.sweep import SignedSweep
from shared.errors import OsteoFedError
from shared.privacy.cost import predict_cost


def check_sweep(site: Site, signed: SignedSweep) -> tuple[str, ...]:
    """Everything in a sweep that the site's policy forbids; empty when all of it may run.

    Costs are computed here from the stages' noise, never taken from what the sweep says they are.
    """
    policy, role = site.policy, signed.plans[0].entry(site.name).role
    stages = [stage for plan in signed.plans for stage in plan.stages]
    problems = [f"all arms: {each}" for each in check_total(policy, stages, role=role)]
    for arm, plan in signed.arms:
        alone = (
            *site.entry_problems(plan),
            *check_plan(policy, plan, site=site.name, now=site.clock()),
        )
        problems += [f"{arm.name}: {each}" for each in alone]
    try:
        true = predict_cost(stages, delta=signed.plans[0].settings.delta)
    except OsteoFedError as error:
        return tuple(dict.fromkeys((*problems, error.fact)))
    if signed.sweep.predicted != true:
        problems.append("the sweep does not state the true cost of all its arms")
    return tuple(dict.fromkeys(problems))  # groups and stages may share a fault
