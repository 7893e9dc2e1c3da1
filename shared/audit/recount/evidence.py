"""What an auditor is handed, read from files: a site's exports and the coordinator's run folder.

Reads and says when a file cannot be read; what the files show is for ``recount`` to judge. Formats:
ledger export, the outbox as ``osteofed-site outbox --json`` prints it, and of a run folder
``replies/ROUND/SITE.safetensors``, ``rounds/ROUND/state.json``, ``evaluations/KIND/SITE.json``; its
weights are read by ``held_weights``. Imports plan, protocol, the ledger's formats and safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.audit.recount.held_weights import HeldWeights, damaged_run_folder, read_weights
from shared.contract.plan import Plan
from shared.contract.protocol import EvaluateReply, TrainReply
from shared.errors import AuditError
from shared.privacy.ledger_export import LedgerExport
from shared.privacy.statement import open_statement, read_statement
from shared.strict import FROZEN

MEASURED = "measured"
Handed = TypeVar("Handed")


class DepartedMessage(BaseModel):
    """One line of a site's outbox, as ``osteofed-site outbox --json`` prints it."""

    model_config = FROZEN

    utc: str
    channel: str
    release_class: str
    message: str
    n_bytes: int
    payload_sha256: str
    epsilon: float | None
    plan_sha256: str


@dataclass(frozen=True)
class HeldReplies:
    """What the coordinator holds of one site: accepted updates by round, tables by kind.

    ``aggregated`` maps a committed round to (update hash, ledger head) of the site's contribution.
    """

    updates: Mapping[int, TrainReply]
    tables: Mapping[str, EvaluateReply]
    aggregated: Mapping[int, tuple[str, str]]


@dataclass(frozen=True)
class SiteEvidence:
    """All that an auditor was handed about one site; None where a file was not.

    ``site_key`` is what the auditor trusts; ``key_from`` says why: known from enrolment, or only named
    by the plan's roster, which the coordinator wrote.
    """

    site_key: str
    key_from: Literal["enrolment", "roster"]
    coordinator_key: str
    export: LedgerExport
    outbox: tuple[DepartedMessage, ...] | None = None
    statement: Path | None = None
    held: HeldReplies | None = None
    weights: HeldWeights | None = None
    release: Path | None = None

    @property
    def site(self) -> str:
        """The site's name."""
        return self.export.site


_DEPARTED = TypeAdapter(tuple[DepartedMessage, ...])


def gather_evidence(
    plan: Plan,
    *,
    ledgers: Sequence[Path],
    statements: Sequence[Path] = (),
    outboxes: Mapping[str, Path] | None = None,
    run_folder: Path | None = None,
    release: Path | None = None,
    site_keys: Mapping[str, str] | None = None,
) -> list[SiteEvidence]:
    """The evidence about each site whose ledger was handed over, in roster order.

    Args:
        plan: read with the coordinator's key that the auditor trusts.
        ledgers: exports, one per site.
        statements: privacy statements, at most one per site.
        outboxes: outbox of a site, by its name.
        run_folder: the coordinator's, with the replies and weights that it holds.
        release: a release's folder; None takes the run folder's, if there is one.
        site_keys: keys from enrolment; a site that is not in it has the roster's.

    Raises:
        AuditError: a file cannot be read, is of a site without a ledger, or comes twice.
    """
    exports = _by_site((export.site, export) for export in map(read_ledger, ledgers))
    stated = _by_site((_site_of(path), path) for path in statements)
    outboxes, site_keys = outboxes or {}, site_keys or {}
    roster = {entry.site: entry.public_key for entry in plan.roster}
    strangers = (exports.keys() - roster.keys()) | ((stated.keys() | outboxes.keys()) - exports.keys())
    if strangers:
        raise AuditError(
            "unexpected-site",
            f"sites must be of {sorted(roster)} and have a ledger export, unlike {sorted(strangers)}",
            hint="name the ledger export of each site with --ledger, and leave out other sites",
        )
    if release is None and run_folder is not None and (run_folder / "release").exists():
        release = run_folder / "release"
    held = {} if run_folder is None else {site: read_held(run_folder, site) for site in exports}
    weights = None if run_folder is None else read_weights(run_folder, plan)
    return [
        SiteEvidence(
            site_key=site_keys.get(site, roster[site]),
            key_from="enrolment" if site in site_keys else "roster",
            coordinator_key=plan.coordinator_key,
            export=exports[site],
            outbox=read_outbox(outboxes[site]) if site in outboxes else None,
            statement=stated.get(site),
            held=held.get(site),
            weights=weights,
            release=release,
        )
        for site in roster
        if site in exports
    ]


def _site_of(statement: Path) -> str:
    return open_statement(read_statement(statement)).predicate.site


def _by_site(pairs: Iterable[tuple[str, Handed]]) -> dict[str, Handed]:
    found: dict[str, Handed] = {}
    for site, handed in pairs:
        if site in found:
            raise AuditError("twice", f"two files are of site {site}", hint="name each once")
        found[site] = handed
    return found


def read_ledger(path: Path) -> LedgerExport:
    """A ledger export; its chain is not verified yet.

    Raises:
        AuditError: it is not one.
    """
    try:
        return LedgerExport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise AuditError(
            "unreadable-ledger",
            f"{path.name} is not a ledger export: {type(error).__name__}",
            hint="ask the site for the file that `osteofed-site ledger export` wrote",
        ) from None


def read_outbox(path: Path) -> tuple[DepartedMessage, ...]:
    """Every message that a site says has left.

    Raises:
        AuditError: it is not an outbox.
    """
    try:
        return _DEPARTED.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise AuditError(
            "unreadable-outbox",
            f"{path.name} is not an outbox: {type(error).__name__}",
            hint="ask the site for the output of `osteofed-site outbox --json`",
        ) from None


def read_held(run_folder: Path, site: str) -> HeldReplies:
    """What the coordinator's run folder holds of one site.

    Raises:
        AuditError: not a run folder, or a file in it is damaged.
    """
    if not (run_folder / "run.json").exists():
        raise AuditError(
            "not-a-run-folder",
            f"{run_folder.name} is not a run folder: run.json is missing",
            hint="name <coordinator's home>/runs/<run>",
        )
    path = run_folder
    try:
        updates = {}
        for path in sorted((run_folder / "replies").glob(f"[0-9]*/{site}.safetensors")):
            reply = _read_update(path)
            if reply is not None:
                updates[int(path.parent.name)] = reply
        tables = {}
        for path in sorted((run_folder / "evaluations").glob(f"*/{site}.json")):
            table = _read_table(path)
            if table is not None:
                tables[path.parent.name] = table
        aggregated = {}
        for path in sorted((run_folder / "rounds").glob("[0-9]*/state.json")):
            for part in json.loads(path.read_bytes())["contributions"]:
                if part["site"] == site:
                    found = (str(part["update_sha256"]), str(part["ledger_head"]))
                    aggregated[int(path.parent.name)] = found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged_run_folder(path, error) from None
    return HeldReplies(updates=updates, tables=tables, aggregated=aggregated)


def _read_update(path: Path) -> TrainReply | None:
    """A journalled update [p]; None for an answer that the coordinator rejected."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as stored:
            text = stored.metadata()
            if text["rejected"]:
                return None
            update = stored.get_tensor("update")
    except SafetensorError:
        raise ValueError("not a safetensors file") from None
    names = {field.name for field in fields(TrainReply)} - {"update", "round"}
    return TrainReply(round=int(text["round"]), update=update, **{name: text[name] for name in names})


def _read_table(path: Path) -> EvaluateReply | None:
    """A stored validation table [m]; None for a refusal."""
    content = json.loads(path.read_bytes())
    if "refused" in content:
        return None
    table = np.asarray(content["table"], dtype=content["table_dtype"])
    names = {field.name for field in fields(EvaluateReply)} - {"table"}
    return EvaluateReply(table=table, **{name: content[name] for name in names})
