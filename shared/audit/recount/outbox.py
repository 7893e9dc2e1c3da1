"""The claim about a site's outbox: was all that patients had a part in charged, is the rest small?

A message for which no patient was looked at has little to say. Each kind of it has a bound on its bytes
here, so that patients' data under a class that costs nothing shows by its size. Imports recounted,
evidence and the accountant.
"""

from __future__ import annotations

import numpy as np

from shared.audit.finding import Finding
from shared.audit.recount.evidence import DepartedMessage, SiteEvidence
from shared.audit.recount.recounted import (
    PaidRelease,
    RecountedLedger,
    is_same,
    judge,
    not_examined,
    releases_by_payload,
)
from shared.contract.payload import pack
from shared.contract.protocol import SumReply
from shared.machine.hours import hour_in
from shared.privacy.accountant import epsilon_of

CHARGED_CLASSES = ("dp", "governed", "off")
REPEAT = "repeat"

# Most bytes of a message that is charged nothing. Longest that an honest site packs, by names of site
# and stage, nonce and code: 487, 346, 738 (its total is empty; 22 numbers would add 235) and 284.
LARGEST_REPLY = {"HelloReply": 1024, "WeightsReply": 512, "SumReply": 748, "Refusal": 512}
# Files: a fixed part, and a part that grows. Measured: 1.3 kB for each row of a ledger, 0.6 kB for each
# release that a statement lists.
_FILE_BYTES, _ROW_BYTES, _RELEASE_BYTES = 32 << 10, 4 << 10, 2 << 10
_LAST_INDEX = 10**9  # of a ledger that no site fills
_MOST_CANARIES = 10_000  # that the settings of any plan take; other runs' plans are not at hand
_BLIND_TO = (
    "What left by another way than the gate; the outbox, its hashes and its sizes are the site's own "
    "log, unsigned. What an uncharged message of the right kind and size says."
)


def recount_outbox(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    """The finding about a site's outbox: charged messages of the plan, sizes of all others."""
    claim = "Everything in the site's outbox that patients had a part in was charged before it left."
    if evidence.outbox is None:
        return not_examined(ledger.site, claim, "no outbox was handed over")
    paid = releases_by_payload(ledger)
    own = [each for each in evidence.outbox if each.plan_sha256 == ledger.plan.sha256]
    charged = [each for each in own if is_charged(each)]
    uncharged = [each for each in evidence.outbox if not is_charged(each)]
    listed = {each.payload_sha256 for each in charged if each.release_class != REPEAT}
    problems = [
        *(problem for each in charged for problem in _charge_problems(evidence, paid, each)),
        *(problem for each in uncharged for problem in _size_problems(ledger, evidence, each)),
        *(
            f"the release charged in row {release.charge.index} is not in the outbox"
            for payload, release in paid.items()
            if payload not in listed
        ),
    ]
    return judge(
        ledger.site,
        claim,
        problems,
        holds="charged messages match their charges in hash, class, cost and time; each of the others "
        "is of a known kind and within its bound",
        blind_to=_BLIND_TO,
        figures={
            "messages": len(own),
            "charged_messages": len(listed),
            "repeated_messages": sum(each.release_class == REPEAT for each in own),
            "messages_without_patients": len(own) - len(charged),
            "largest_without_patients_bytes": max((each.n_bytes for each in uncharged), default=None),
        },
    )


def is_charged(each: DepartedMessage) -> bool:
    """Whether a message claims to be paid for, by a charge of its own or that of its first sending."""
    return each.release_class in (*CHARGED_CLASSES, REPEAT)


def largest_bytes(ledger: RecountedLedger, evidence: SiteEvidence, each: DepartedMessage) -> int | None:
    """Most bytes that an uncharged message of its kind can need; None: no such kind is known.

    A register holds 8 bytes for each canary and step, a ledger export grows with rows, a statement with
    the releases that it lists.
    """
    if each.message == "SumReply" and each.plan_sha256 == ledger.plan.sha256:
        return _largest_empty_reply(ledger)
    if each.message in LARGEST_REPLY:
        return LARGEST_REPLY[each.message]
    if each.message == "RegisterRecord":
        is_own = each.plan_sha256 == ledger.plan.sha256
        training = ledger.plan.training
        own_canaries = training.canaries if training else 0
        n_canaries = own_canaries if is_own else _MOST_CANARIES
        n_steps = sum(
            row.steps or 0
            for row in ledger.rows
            if (row.kind, row.purpose, row.plan_sha256) == ("charge", "train", each.plan_sha256)
        )
        # a sum of 8 bytes and a place of 4
        return _FILE_BYTES + 12 * (n_canaries + 1) * (n_steps + 1)
    if each.message == "ExternalFile":  # a table that was charged as a reply, with its plan
        return _FILE_BYTES
    if each.message == "LedgerExport":
        return _FILE_BYTES + _ROW_BYTES * len(ledger.rows)
    if each.message in ("Statement", "StatementPage"):
        n_listed = sum(is_charged(other) for other in evidence.outbox or ())
        return _FILE_BYTES + _RELEASE_BYTES * n_listed
    return None


def _largest_empty_reply(ledger: RecountedLedger) -> int:
    """Bytes of the longest reply of a plan that says nothing was measured: not a number fits beside."""
    digest = "0" * 64
    return max(
        len(
            pack(
                SumReply(
                    plan_sha256=digest,
                    stage=stage.name,
                    round=stage.rounds,
                    site=ledger.site,
                    status="not-applicable",
                    release_class=stage.release_class,
                    vector_sha256=digest,
                    release_sha256=digest,
                    total=np.zeros(0),
                    ledger_head=digest,
                    ledger_index=_LAST_INDEX,
                    charges=0,
                    signature="0" * 128,
                )
            )
        )
        for stage in ledger.plan.stages
    )


def _size_problems(ledger: RecountedLedger, evidence: SiteEvidence, each: DepartedMessage) -> list[str]:
    place = _place(each)
    largest = largest_bytes(ledger, evidence, each)
    if largest is None:
        return [
            f"{place} is of kind {each.message}, {each.n_bytes} bytes, which never leaves without a "
            "charge"
        ]
    if not 0 < each.n_bytes <= largest:
        return [
            f"{place} has {each.n_bytes} bytes under a class that costs nothing; {each.message} has at "
            f"most {largest}"
        ]
    return []


def _charge_problems(
    evidence: SiteEvidence, paid: dict[str, PaidRelease], each: DepartedMessage
) -> list[str]:
    place, release = _place(each), paid.get(each.payload_sha256)
    if release is None:
        return [f"{place} left without a charge"]
    charge, outcome = release.charge, release.outcome
    if each.release_class == REPEAT:
        return []
    problems = []
    if each.release_class != charge.charge_class or each.channel != charge.purpose:
        problems.append(f"{place} was charged as {charge.purpose}, {charge.charge_class}")
    price = None if charge.event is None else epsilon_of([charge.event], evidence.export.account.delta)
    if not is_same(each.epsilon, price):
        problems.append(
            f"{place} is logged at {_shown(each.epsilon)}, its charge costs {_shown(price)}"
        )
    if hour_in(each.utc) < hour_in(outcome.utc):
        problems.append(f"{place} left before the row that releases it")
    return problems


def _place(each: DepartedMessage) -> str:
    return f"message {each.payload_sha256[:12]} ({each.channel}, {each.release_class})"


def _shown(epsilon: float | None) -> str:
    return "no epsilon" if epsilon is None else f"epsilon {epsilon:.3f}"
