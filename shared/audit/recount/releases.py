"""Claims about what left: was everything charged first, and is it what the coordinator holds?

Matches outcomes, outbox, run folder and release against a verified ledger. A file that was not handed
over leaves its claim unexamined. Imports recounted, evidence, the claims about outbox and weights,
payload and protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.audit.finding import Finding
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.outbox import recount_outbox
from shared.audit.recount.recounted import (
    PaidRelease,
    RecountedLedger,
    charge_of,
    judge,
    not_examined,
    place_of,
    releases_by_payload,
)
from shared.audit.recount.run_files import MEASURED, HeldReplies, Place
from shared.audit.recount.totals import recount_totals
from shared.audit.recount.weights import recount_rounds, recount_weights
from shared.contract.payload import payload_sha256
from shared.contract.protocol import SumReply, answered_sha256, signed_bytes, vector_sha256
from shared.contract.release import Release, read_release
from shared.contract.stages import PROSPECTIVE
from shared.errors import OsteoFedError
from shared.privacy.ledger_format import KEPT, LedgerRow
from shared.signing.keys import verify


def recount_releases(ledger: RecountedLedger, evidence: SiteEvidence) -> list[Finding]:
    """Findings about what left one site."""
    return [
        _judge_outcomes(ledger),
        recount_outbox(ledger, evidence),
        _judge_held(ledger, evidence),
        recount_weights(ledger, evidence),
        recount_rounds(ledger, evidence),
        *recount_totals(ledger, evidence),
        _judge_release(ledger, evidence),
    ]


def _judge_outcomes(ledger: RecountedLedger) -> Finding:
    kept = [answer for answer in ledger.answers if answer.status == KEPT]
    problems, used = _kept_problems(ledger, kept), set()
    for answer in ledger.answers:
        charge = charge_of(ledger, answer)
        if charge is None:
            problems.append(f"row {answer.index} releases {answer.purpose} without a charge before it")
        elif charge.index in used:
            problems.append(
                f"row {answer.index} is a second release on the charge of row {charge.index}"
            )
        else:
            used.add(charge.index)
    return judge(
        ledger.site,
        "Every release that the ledger records was charged first, one charge for one release.",
        problems,
        holds="every release stands after a charge of its own",
        blind_to="Messages that left without a row: see outbox and run folder.",
        figures={
            "releases": len(ledger.outcomes),
            "kept_at_the_site": len(kept),
            "refusals_after_noise": len(ledger.answers) - len(ledger.outcomes) - len(kept),
            "charges": len(ledger.charges),
        },
    )


def _kept_problems(ledger: RecountedLedger, kept: Sequence[LedgerRow]) -> list[str]:
    """Totals that stay, in a plan whose totals leave; or that left, in a site's own training."""
    if not ledger.plan.is_local:
        return [f"row {row.index} keeps a total that its plan's coordinator awaits" for row in kept]
    return [
        f"row {row.index} lets weights leave that were trained to stay at the site"
        for row in ledger.outcomes
        if row.purpose == "train"
    ]


def _judge_held(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    claim = "What the coordinator holds of this site was signed by it and is what was charged."
    if evidence.held is None:
        return not_examined(ledger.site, claim, "no run folder was handed over")
    held = evidence.held
    paid = releases_by_payload(ledger)
    measured = {place: each for place, each in held.replies.items() if each.status == MEASURED}
    problems = _fork_problems(ledger, held)
    problems += [
        problem
        for place, reply in measured.items()
        for problem in _reply_problems(ledger, evidence, paid, place, reply)
    ]
    problems += [
        f"{place_of(*place)} is of status {reply.status} and has a total of {reply.total.size} numbers"
        for place, reply in held.replies.items()
        if reply.status != MEASURED and reply.total.size
    ]
    problems += _order_problems(ledger, held)
    problems += _aggregation_problems(held)
    return judge(
        ledger.site,
        claim,
        problems,
        holds="signature, ledger head, round and payload hash of each match their charge",
        blind_to="Answers that the coordinator rejected or lost.",
        figures={
            "replies": len(measured),
            "releases_not_held": len(set(paid) - {payload_sha256(each) for each in measured.values()}),
        },
    )


def _reply_problems(
    ledger: RecountedLedger,
    evidence: SiteEvidence,
    paid: dict[str, PaidRelease],
    place: Place,
    reply: SumReply,
) -> list[str]:
    release, where = paid.get(payload_sha256(reply)), place_of(*place)
    problems = []
    # A site may have replaced its key since: the row names the one that was in force.
    site_key = evidence.site_key if release is None else release.outcome.public_key
    if not verify(site_key, signed_bytes(reply), reply.signature):
        problems.append(f"the reply of {where} is not signed by the site")
    if reply.plan_sha256 != ledger.plan.sha256 or reply.site != ledger.site:
        problems.append(f"the reply of {where} is of another plan or site")
    if (reply.stage, reply.round) != place:
        problems.append(f"the reply of {where} names {place_of(reply.stage, reply.round)}")
    if release is None:
        return [
            *problems,
            f"the reply of {where} was not charged: no release in the ledger has its hash",
        ]
    charge, outcome = release.charge, release.outcome
    if (charge.stage, charge.round) != (reply.stage, reply.round):
        problems.append(f"the reply of {where} was charged as {place_of(charge.stage, charge.round)}")
    if (reply.ledger_head, reply.ledger_index) != (outcome.sha256, outcome.index):
        problems.append(f"the reply of {where} names another row than the one that released it")
    locks = ledger.locks_before(charge) if charge.purpose == PROSPECTIVE else {""}
    if charge.request_sha256 not in {answered_sha256(reply, lock_sha256=lock) for lock in locks}:
        under = " under a lock that was accepted here" if charge.purpose == PROSPECTIVE else ""
        problems.append(f"the reply of {where} does not answer the request that was charged{under}")
    if reply.charges != ledger.n_charges[charge.request_sha256]:
        problems.append(f"the reply of {where} tells another number of charges than the ledger holds")
    if reply.release_class != charge.charge_class:
        problems.append(
            f"the reply of {where} is of class {reply.release_class}, charged {charge.charge_class}"
        )
    return problems


def _order_problems(ledger: RecountedLedger, held: HeldReplies) -> list[str]:
    """Heads that the ledger does not have, or that later rounds of a stage carry out of its order."""
    heads: dict[str, list[str]] = {}
    for (stage, _), reply in sorted(held.replies.items()):
        heads.setdefault(stage, []).append(reply.ledger_head)
    problems = []
    for stage, each in heads.items():
        places = [ledger.hashes[head] for head in each if head in ledger.hashes]
        if len(places) < len(each):
            problems.append(
                f"{len(each) - len(places)} ledger heads of {stage} are not in the exported ledger"
            )
        if places != sorted(set(places)):
            problems.append(
                f"ledger heads of successive rounds of {stage} are not in the ledger's order"
            )
    return problems


def _fork_problems(ledger: RecountedLedger, held: HeldReplies) -> list[str]:
    """The first place of the ledger where the coordinator was shown another row than the export has."""
    shown = sorted((reply.ledger_index, reply.ledger_head) for reply in held.replies.values())
    return [
        f"the site has forked: row {index} of the export is not what the coordinator was shown, "
        "so two copies of it have answered"
        for index, head in shown
        if head and index < len(ledger.rows) and ledger.rows[index].sha256 != head
    ][:1]


def _aggregation_problems(held: HeldReplies) -> list[str]:
    """Committed rounds must have used the very totals that are journalled."""
    problems = []
    for place, (total_sha256, head) in held.aggregated.items():
        reply = held.replies.get(place)
        if reply is None:
            problems.append(f"{place_of(*place)} was committed with a total that is not held")
        elif (vector_sha256(reply.total), reply.ledger_head) != (total_sha256, head):
            problems.append(f"{place_of(*place)} was committed with another total than the one held")
    return problems


def _judge_release(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    claim = "The release is the coordinator's, comes from this plan and follows this ledger."
    if evidence.release is None:
        return not_examined(ledger.site, claim, "no release was handed over")
    blind_to = "Whether it reads well; what sites computed before their totals left: see conformance."
    try:
        release = read_release(evidence.release, coordinator_key=evidence.coordinator_key)
    except OsteoFedError as error:
        return judge(ledger.site, claim, [error.fact], holds="", blind_to=blind_to)
    record, problems, measured = release.record, [], ledger.plan.release
    # A validation plan names the release of an earlier run, and that run's plan.
    named = (ledger.plan.sha256, ledger.plan.run)
    if measured is not None:
        named = (measured.plan_sha256, measured.run)
    if (record.plan_sha256, record.run) != named or (
        measured is not None and measured.release_sha256 != release.sha256
    ):
        problems.append("the release comes from another plan")
    head = record.ledger_heads.get(ledger.site)
    if head is not None and head not in ledger.hashes:
        problems.append("the ledger head in the release is not in the exported ledger")
    has_trained = any(row.purpose == "train" for row in ledger.released_charges)
    if head is None and has_trained:
        problems.append("the release names no ledger head of this site")
    problems += _held_problems(evidence, release)
    return judge(
        ledger.site,
        claim,
        problems,
        holds="signed and of this plan"
        + (f", its head is ledger row {ledger.hashes[head]}" if head in ledger.hashes else ""),
        blind_to=blind_to,
        figures={"release_sha256": release.sha256, "rounds": record.rounds},
    )


def _held_problems(evidence: SiteEvidence, release: Release) -> list[str]:
    """Where the run folder's average, or a reply that measured a release, is of another one."""
    weights, problems = evidence.weights, []
    if weights is not None:
        averages = {
            weights.average and weights.average.sha256,
            weights.tail and weights.tail.mean_sha256,
        }
        if averages - {None, release.record.weights_sha256}:
            problems.append("the released weights are not the tail average that the run folder holds")
    replies = {} if evidence.held is None else evidence.held.replies
    return problems + [
        f"the reply of {place_of(*place)} measured another release"
        for place, reply in replies.items()
        if reply.status == MEASURED and reply.release_sha256 not in ("", release.sha256)
    ]
