"""Codes of the events log that no error of this program stands for, with meaning and remedy.

Every other code in the log is that of an error: raised here of a reply, or sent by a site that
refused. The list of codes in ``docs/reference/codes.md`` is made from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What an event's code says, and what to do about it; nothing where nothing is wrong."""

    fact: str
    remedy: str = ""


# Of nothing that went wrong.
PROGRESS = ("training-begun", "round-committed", "external-taken-in")
EXCLUDED, READMITTED = "run.site-excluded", "run.site-readmitted"
# Of a site that has answered all the same, or is still waited for.
CHARGED_AGAIN = "ledger.charged-again"
AWAY, BACK = "run.site-away", "run.site-back"
OF_ANSWERED = (CHARGED_AGAIN, READMITTED, AWAY, BACK, "protocol.duplicate")
EVENTS: Mapping[str, Meaning] = {
    "training-begun": Meaning("sites are there, and the first round is asked"),
    "round-committed": Meaning("a round is final"),
    "external-taken-in": Meaning("a table that a hospital measured offline is in the report"),
    "run.site-offline": Meaning(
        "a site that was asked has been offline for longer than federation.liveness_s",
        "ask the hospital whether its site runs and reaches the server",
    ),
    AWAY: Meaning(
        "a site that was asked is not connected; it is waited for until federation.liveness_s is over",
        "ask the hospital whether its site runs and reaches the server",
    ),
    BACK: Meaning("a site that was away is connected again"),
    "run.deadline-passed": Meaning(
        "a site has not answered within federation.round_deadline_s",
        "plan with a longer deadline, or ask the hospital what its `rehearse` says of time",
    ),
    "run.torn-reply": Meaning(
        "a site's answer to the open round was torn by a power cut at the coordinator: it is set "
        "aside, and the site asked again, which sends what it has stored without a charge",
    ),
    EXCLUDED: Meaning(
        "a site that is not required has missed rounds in a row by their deadline: it is excluded, and "
        "not waited for, until it answers a hello again",
        "ask the hospital what its site hangs on, and restart it there",
    ),
    READMITTED: Meaning("a site that was excluded has answered a hello, and is asked again"),
    CHARGED_AGAIN: Meaning(
        "a site has charged its patients more than once for one total: a charge was lost before it had "
        "paid for anything",
        "ask the hospital what became of its machine in that round; its budget is smaller than planned",
    ),
    "ledger.forked": Meaning(
        "two rows were seen at one place of a site's ledger: two copies of it have answered",
        "the site is asked no more; find out which copy is true, end the other, tell the auditor",
    ),
    "run.no-answer": Meaning("a required site was not heard of in the last round of a stage"),
    "run.site-dropped": Meaning("a person has dropped the site from the run, and it is asked no more"),
    "run.stopped": Meaning("a person has stopped the run for good, and no site is asked any more"),
    "protocol.duplicate": Meaning("a site has answered twice; the first answer counts"),
    "protocol.two-nodes-one-site": Meaning(
        "two nodes have signed a hello as one site, and neither is asked",
        "ask the hospital to stop one of them",
    ),
    "engine.flower-error-…": Meaning(
        "Flower has returned an error with this number instead of a reply",
        "ask the hospital for its log",
    ),
}
