"""Claims about the coordinator's weights: named by signed updates, and computed again round by round.

Imports recounted, evidence and the weights that the run folder holds.
"""

from __future__ import annotations

from shared.audit.finding import Finding
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.held_weights import HeldWeights
from shared.audit.recount.recounted import Figures, RecountedLedger, judge, not_examined, place_of
from shared.audit.recount.run_files import HeldReplies
from shared.contract.plan import Plan


def recount_weights(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    """The finding about the weights files of the run folder, as this site's updates name them."""
    claim = "The coordinator holds the weights that updates started from, and averages the last ones."
    if evidence.held is None or evidence.weights is None:
        return not_examined(ledger.site, claim, "no run folder was handed over")
    weights = evidence.weights
    starts, problems = _start_problems(evidence.held, weights)
    problems = [*_round_problems(ledger.plan, weights), *problems, *_average_problems(weights)]
    return judge(
        ledger.site,
        claim,
        problems,
        holds="each weights file has the hash that it was committed with, the first that of the plan; "
        f"{starts} updates of this site name the weights before them",
        blind_to="The weights of the last round are named by no update: computing the rounds again "
        "shows where they come from.",
        figures={"weights_files": len(weights.rounds), "updates_that_name_weights": starts},
    )


def recount_rounds(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    """The finding about what the coordinator made of the totals of all sites, this one among them."""
    claim = "Every committed round follows from the totals that its sites signed."
    replay = evidence.replay
    if replay is None:
        return not_examined(ledger.site, claim, "no run folder was handed over")
    used = [site for each in replay.rounds for site in each.sites]
    problems = [problem for each in replay.rounds for problem in each.problems]
    figures: Figures = {
        "rounds_computed_again": len(replay.rounds),
        "totals_used": len(used),
        "totals_of_this_site": used.count(ledger.site),
    }
    if not problems and (replay.because or not replay.rounds):
        why = replay.because or "no round was committed"
        return not_examined(ledger.site, claim, why, figures=figures)
    return judge(
        ledger.site,
        claim,
        problems,
        holds=f"{len(replay.rounds)} rounds computed again from {len(used)} totals are those committed",
        blind_to="Totals that the coordinator rejected or never asked for: with them a round would be "
        "another one. Totals of a site whose key the plan made up.",
        figures=figures,
    )


def _round_problems(plan: Plan, weights: HeldWeights) -> list[str]:
    problems = [
        f"the weights file of {place_of(*place)} is not the one that was committed"
        for place, each in weights.rounds.items()
        if each.sha256 != each.stated_sha256
    ]
    problems += [
        f"{place_of(*place)} was committed under another plan"
        for place, each in weights.rounds.items()
        if each.plan_sha256 != plan.sha256
    ]
    if plan.trained is not None:
        first = weights.rounds.get((plan.trained.name, 0))
        if first is None or first.sha256 != plan.initial_weights_sha256:
            where = place_of(plan.trained.name, 0)
            problems.append(f"{where} does not hold the plan's initial weights")
    return problems


def _start_problems(held: HeldReplies, weights: HeldWeights) -> tuple[int, list[str]]:
    """How many updates start from the weights held of the round before, and what of the others."""
    learning = {name for name, _ in weights.rounds}  # a stage that only measures commits no weights
    updates = {place: reply for place, reply in held.replies.items() if place[0] in learning}
    problems = []
    for (name, number), reply in updates.items():
        start = weights.rounds.get((name, number - 1))
        if start is None:
            problems.append(
                f"the weights that the update of {place_of(name, number)} names are not held"
            )
        elif start.sha256 != reply.vector_sha256:
            problems.append(
                f"the update of {place_of(name, number)} names other weights than those held of "
                f"{place_of(name, number - 1)}"
            )
    return len(updates) - len(problems), problems


def _average_problems(weights: HeldWeights) -> list[str]:
    average, tail = weights.average, weights.tail
    if average is None:
        return []
    problems = []
    if average.sha256 != average.stated_sha256:
        problems.append("the file of the tail average is not the one that was written")
    if tail is None:
        problems.append("a tail average is held of a training whose last rounds are not")
    elif average.sha256 != tail.mean_sha256:
        first, last = tail.rounds
        problems.append(f"the tail average is not the mean of the weights of rounds {first} to {last}")
    return problems
