"""What is left of an answer whose process died at one of its steps, once it was asked for again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dying_site import die_at, steps_of
from table_site import TableSites

from shared.audit.recount.charges import recount_charges
from shared.audit.recount.recounted import RecountedLedger
from shared.contract.payload import pack, payload_sha256
from shared.contract.protocol import SumReply, SumRequest
from shared.privacy.ledger_format import LedgerRow

STAGES = ("train", "internal", "description")


def _written(path: str) -> tuple[str, ...]:
    """Steps of a line that is appended."""
    return tuple(f"{when} {call} {path}" for call in ("write", "flush") for when in ("before", "after"))


def _put(path: str, folder: str) -> tuple[str, ...]:
    """Steps of a file that is written whole: beside, flushed, renamed, its folder flushed."""
    name = path.rpartition("/")[2]
    beside = path.removesuffix(name) + f".{name}.part"
    calls = (f"flush {beside}", f"rename to {path}", *((f"flush {folder}",) if folder else ()))
    return tuple(f"{when} {call}" for call in calls for when in ("before", "after"))


_ROW = (*_written("ledger/ledger.jsonl"), *_put("ledger-witness.json", ""))
_LOGGED = ("flush outbox/outbox.jsonl", "flush outbox")
_CHANGES = {
    "the list of whom the charge names": _put("ledger/members/HASH.json", "ledger/members"),
    "the charge": _ROW,
    "the total, once it was made": _put("replies/HASH.json", "replies"),
    "the outcome": _ROW,
    "the line of what may leave": tuple(
        f"{when} {call}" for call in _LOGGED for when in ("before", "after")
    ),
}
# Every instant between charge and sending at which what lasts has changed, and what it belongs to.
STEPS = tuple(step for steps in _CHANGES.values() for step in steps)
WRITES = tuple(what for what, steps in _CHANGES.items() for _ in steps)
CHARGED = STEPS.index("after flush ledger/ledger.jsonl")
STORED = STEPS.index("after flush replies")


@dataclass(frozen=True, kw_only=True)
class Left:
    """An answer that was asked for twice after its process had died.

    Attributes:
        was_charged: whether the charge had been written when the process died.
        charges: in the ledger now.
        attempts: further ones under a charge.
        releases: answers that left, by the outbox.
        is_same: whether both answers have the same bytes.
        is_named: whether the answer names its outcome, and that its charge and the answer's bytes.
        recount: the auditor's verdict of the charges.
    """

    was_charged: bool
    charges: int
    attempts: int
    releases: int
    is_same: bool
    is_named: bool
    recount: str

    @property
    def is_right(self) -> bool:
        """Whether one charge paid for one release."""
        counts = (self.charges, self.releases, self.recount)
        return counts == (1, 1, "pass") and self.is_same and self.is_named


def copied(made: TableSites, folder: Path) -> TableSites:
    """A site of its own, whose ledger is open and whose outbox's folder is there."""
    shutil.copytree(made.folder / "sites" / "elm", folder / "sites" / "elm")
    sites = replace(made, folder=folder)
    sites.gate()
    (folder / "sites" / "elm" / "outbox").mkdir(exist_ok=True)
    return sites


def asked(sites: TableSites, stage: str) -> SumRequest:
    """A request for one of ``STAGES``."""
    return sites.train_request() if stage == "train" else sites.measure_request(stage)


def rows_of(sites: TableSites) -> tuple[LedgerRow, ...]:
    """The ledger."""
    return sites.gate().ledger.show()


def kinds(sites: TableSites) -> list[str]:
    """Of the ledger's rows."""
    return [row.kind for row in rows_of(sites)]


def answered(sites: TableSites, request: SumRequest) -> SumReply:
    """What the site answers."""
    reply = sites.answer(request).message
    assert isinstance(reply, SumReply)
    return reply


def taken(made: TableSites, folder: Path, stage: str) -> tuple[str, ...]:
    """The steps that an answer takes at a site in a new folder."""
    sites = copied(made, folder)
    return tuple(steps_of(lambda: sites.answer(asked(sites, stage))))


def left_after(made: TableSites, folder: Path, stage: str, step: int | None) -> Left:
    """Let a process die at a step, or none, and ask for the same answer twice.

    Args:
        made: from ``found_table_sites``, with a description.
        folder: of the site, new.
        stage: of ``STAGES``.
        step: of ``STEPS``, from 0 on.
    """
    sites = copied(made, folder)
    request = asked(sites, stage)
    if step is not None:
        die_at(step, partial(sites.answer, request))
    return asked_twice(sites, request)


def asked_twice(sites: TableSites, request: SumRequest) -> Left:
    """What is left of a request once it was asked for twice."""
    was_charged = "charge" in kinds(sites)
    first, again = answered(sites, request), answered(sites, request)
    rows = rows_of(sites)
    charges = [row for row in rows if row.kind == "charge"]
    outcomes = [row for row in rows if row.kind == "outcome"]
    classes = [each.release_class for each in sites.gate().outbox.show()]
    named = {
        (row.sha256, row.index, row.charge_index, row.status, row.payload_sha256) for row in outcomes
    }
    shown = {
        (first.ledger_head, first.ledger_index, row.index, "released", payload_sha256(first))
        for row in charges
    }
    return Left(
        was_charged=was_charged,
        charges=len(charges),
        attempts=sum(row.kind == "attempt" for row in rows),
        releases=classes.count("dp"),
        is_same=pack(first) == pack(again),
        is_named=named == shown,
        recount=recount_charges(RecountedLedger(sites.plan, "elm", rows)).verdict,
    )
