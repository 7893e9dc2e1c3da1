"""The claim about the coordinator's weights: are they those that the sites' signed updates name?

Imports recounted, evidence and the weights that the run folder holds.
"""

from __future__ import annotations

from shared.audit.finding import Finding
from shared.audit.recount.evidence import HeldReplies, SiteEvidence
from shared.audit.recount.held_weights import HeldWeights
from shared.audit.recount.recounted import RecountedLedger, judge, not_examined
from shared.contract.plan import Plan

# Rounding of a float32 mean that was summed in another order.
AVERAGE_AGREES = 1e-6
_BLIND_TO = (
    "Whether a round's weights follow from its updates: aggregation is not recomputed. The weights of "
    "the last round are named by no update, only by the coordinator's own record and, through the "
    "average, by the release."
)


def recount_weights(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    """The finding about the weights files of the run folder, as this site's updates name them."""
    claim = "The coordinator holds the weights that updates started from, and averages the last ones."
    if evidence.held is None or evidence.weights is None:
        return not_examined(ledger.site, claim, "no run folder was handed over")
    weights = evidence.weights
    starts, problems = _start_problems(evidence.held, weights)
    problems = [*_round_problems(ledger.plan, weights), *problems, *_average_problems(weights)]
    average = weights.average
    return judge(
        ledger.site,
        claim,
        problems,
        holds="each weights file has the hash that it was committed with, the first that of the plan; "
        f"{starts} updates of this site name the weights before them",
        blind_to=_BLIND_TO,
        figures={
            "weights_files": len(weights.rounds),
            "updates_that_name_weights": starts,
            "average_relative_error": None if average is None else average.error,
        },
    )


def _round_problems(plan: Plan, weights: HeldWeights) -> list[str]:
    problems = [
        f"the weights file of round {number} is not the one that was committed"
        for number, each in sorted(weights.rounds.items())
        if each.sha256 != each.stated_sha256
    ]
    problems += [
        f"round {number} was committed under another plan"
        for number, each in sorted(weights.rounds.items())
        if each.plan_sha256 != plan.sha256
    ]
    initial = weights.rounds.get(0)
    if initial is None or initial.sha256 != plan.initial_weights_sha256:
        problems.append("round 0 does not hold the plan's initial weights")
    return problems


def _start_problems(held: HeldReplies, weights: HeldWeights) -> tuple[int, list[str]]:
    """How many updates start from the weights held of the round before, and what of the others."""
    problems = []
    for reply in held.updates.values():
        start = weights.rounds.get(reply.round - 1)
        if start is None:
            problems.append(f"the weights that the update of round {reply.round} names are not held")
        elif start.sha256 != reply.weights_sha256:
            problems.append(
                f"the update of round {reply.round} names other weights than those held of round "
                f"{reply.round - 1}"
            )
    return len(held.updates) - len(problems), problems


def _average_problems(weights: HeldWeights) -> list[str]:
    average = weights.average
    if average is None:
        return []
    problems = []
    if average.sha256 != average.stated_sha256:
        problems.append("the file of the tail average is not the one that was written")
    if not average.error <= AVERAGE_AGREES:
        first, last = average.rounds
        problems.append(f"the tail average is not the mean of the weights of rounds {first} to {last}")
    return problems
