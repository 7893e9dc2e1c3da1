"""Claims about what left: was everything charged first, and is it what the coordinator holds?

Matches outcomes, outbox, run folder and release against a verified ledger. A file that was not handed
over leaves its claim unexamined. Imports recounted, evidence, the claims about outbox and weights,
payload and protocol.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.audit.finding import Finding
from shared.audit.recount.evidence import MEASURED, HeldReplies, SiteEvidence
from shared.audit.recount.outbox import recount_outbox
from shared.audit.recount.recounted import (
    RecountedLedger,
    charge_of,
    charges_by_payload,
    judge,
    not_examined,
)
from shared.audit.recount.weights import recount_weights
from shared.contract.payload import payload_sha256
from shared.contract.protocol import EvaluateReply, TrainReply, signed_bytes, vector_sha256
from shared.contract.release import read_release
from shared.errors import OsteoFedError
from shared.privacy.ledger_format import LedgerRow
from shared.signing.keys import verify


def recount_releases(ledger: RecountedLedger, evidence: SiteEvidence) -> list[Finding]:
    """Findings about what left one site."""
    return [
        _judge_outcomes(ledger),
        recount_outbox(ledger, evidence),
        _judge_held(ledger, evidence),
        recount_weights(ledger, evidence),
        _judge_release(ledger, evidence),
    ]


def _judge_outcomes(ledger: RecountedLedger) -> Finding:
    problems, used = [], set()
    for outcome in ledger.outcomes:
        charge = charge_of(ledger, outcome)
        if charge is None:
            problems.append(
                f"row {outcome.index} releases {outcome.purpose} without a charge before it"
            )
        elif charge.index in used:
            problems.append(
                f"row {outcome.index} is a second release on the charge of row {charge.index}"
            )
        else:
            used.add(charge.index)
    return judge(
        ledger.site,
        "Every release that the ledger records was charged first, one charge for one release.",
        problems,
        holds="every release stands after a charge of its own",
        blind_to="Messages that left without a row: see outbox and run folder.",
        figures={"releases": len(ledger.outcomes), "charges": len(ledger.charges)},
    )


def _judge_held(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    claim = "What the coordinator holds of this site was signed by it and is what was charged."
    if evidence.held is None:
        return not_examined(ledger.site, claim, "no run folder was handed over")
    held = evidence.held
    paid = charges_by_payload(ledger)
    problems = [
        problem
        for number, reply in sorted(held.updates.items())
        for problem in (
            *_reply_problems(ledger, evidence, paid, reply, place=f"update of round {number}"),
            *([] if reply.round == number else [f"update of round {number} names {reply.round}"]),
        )
    ]
    problems += [
        problem
        for kind, table in held.tables.items()
        if table.status == MEASURED
        for problem in _reply_problems(ledger, evidence, paid, table, place=f"{kind} table")
    ]
    problems += [
        f"{kind} table is of status {table.status} and has {table.table.size} cells"
        for kind, table in held.tables.items()
        if table.status != MEASURED and table.table.size
    ]
    problems += _order_problems(ledger, held)
    problems += _aggregation_problems(held)
    n_tables = sum(table.status == MEASURED for table in held.tables.values())
    return judge(
        ledger.site,
        claim,
        problems,
        holds="signature, ledger head, round and payload hash of each match their charge",
        blind_to="Answers that the coordinator rejected or lost, and what it does with updates beyond "
        "their committed hashes.",
        figures={
            "updates": len(held.updates),
            "tables": n_tables,
            "releases_not_held": len(set(paid) - {payload_sha256(each) for each in _all(held)}),
        },
    )


def _all(held: HeldReplies) -> Iterable[TrainReply | EvaluateReply]:
    return (*held.updates.values(), *held.tables.values())


def _reply_problems(
    ledger: RecountedLedger,
    evidence: SiteEvidence,
    paid: dict[str, LedgerRow],
    reply: TrainReply | EvaluateReply,
    *,
    place: str,
) -> list[str]:
    charge = paid.get(payload_sha256(reply))
    problems = []
    # A site may have replaced its key since: the charge names the one that was in force.
    site_key = evidence.site_key if charge is None else charge.public_key
    if not verify(site_key, signed_bytes(reply), reply.signature):
        problems.append(f"{place} is not signed by the site")
    if reply.plan_sha256 != ledger.plan.sha256 or reply.site != ledger.site:
        problems.append(f"{place} is of another plan or site")
    if charge is None:
        return [*problems, f"{place} was not charged: no release in the ledger has its hash"]
    purpose = "train" if isinstance(reply, TrainReply) else f"evaluate.{reply.kind}"
    number = reply.round if isinstance(reply, TrainReply) else 0
    if (charge.purpose, charge.round) != (purpose, number):
        problems.append(f"{place} was charged as {charge.purpose}, round {charge.round}")
    if reply.ledger_head != charge.sha256:
        problems.append(f"{place} names another ledger head than its charge")
    if isinstance(reply, EvaluateReply) and reply.release_class != charge.charge_class:
        problems.append(f"{place} is of class {reply.release_class}, charged {charge.charge_class}")
    return problems


def _order_problems(ledger: RecountedLedger, held: HeldReplies) -> list[str]:
    heads = [reply.ledger_head for _, reply in sorted(held.updates.items())]
    places = [ledger.hashes[head] for head in heads if head in ledger.hashes]
    problems = []
    if len(places) < len(heads):
        problems.append(f"{len(heads) - len(places)} ledger heads are not in the exported ledger")
    if places != sorted(set(places)):
        problems.append("ledger heads of successive rounds are not in the ledger's order")
    return problems


def _aggregation_problems(held: HeldReplies) -> list[str]:
    """Committed rounds must have used the very updates that are journalled."""
    problems = []
    for number, (update_sha256, head) in sorted(held.aggregated.items()):
        reply = held.updates.get(number)
        if reply is None:
            problems.append(f"round {number} was committed with an update that is not held")
        elif (vector_sha256(reply.update), reply.ledger_head) != (update_sha256, head):
            problems.append(f"round {number} was committed with another update than the one held")
    return problems


def _judge_release(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    claim = "The release is the coordinator's, comes from this plan and follows this ledger."
    if evidence.release is None:
        return not_examined(ledger.site, claim, "no release was handed over")
    blind_to = "Whether the released weights follow from the updates of all sites."
    try:
        release = read_release(evidence.release, coordinator_key=evidence.coordinator_key)
    except OsteoFedError as error:
        return judge(ledger.site, claim, [error.fact], holds="", blind_to=blind_to)
    record, problems = release.record, []
    if (record.plan_sha256, record.run) != (ledger.plan.sha256, ledger.plan.run):
        problems.append("the release comes from another plan")
    head = record.ledger_heads.get(ledger.site)
    if head is not None and head not in ledger.hashes:
        problems.append("the ledger head in the release is not in the exported ledger")
    has_trained = any(row.purpose == "train" for row in ledger.released_charges)
    if head is None and has_trained:
        problems.append("the release names no ledger head of this site")
    average = None if evidence.weights is None else evidence.weights.average
    if average is not None and average.sha256 != record.weights_sha256:
        problems.append("the released weights are not the tail average that the run folder holds")
    tables = {} if evidence.held is None else evidence.held.tables
    problems += [
        f"the {kind} table measured another release"
        for kind, table in tables.items()
        if table.status == MEASURED and table.release_sha256 not in ("", release.sha256)
    ]
    return judge(
        ledger.site,
        claim,
        problems,
        holds="signed and of this plan"
        + (f", its head is ledger row {ledger.hashes[head]}" if head in ledger.hashes else ""),
        blind_to=blind_to,
        figures={"release_sha256": release.sha256, "rounds": record.rounds},
    )
