"""What an auditor is handed, read from files: a site's exports and the coordinator's run folder.

Reads and says when a file cannot be read; what the files show is for ``recount`` to judge. Formats:
ledger export, the outbox as ``osteofed-site outbox --json`` prints it; a run folder is read by
``run_files``, its weights by ``held_weights``, its rounds are computed again by ``replay``. Imports
these, plan and the ledger's formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.audit.recount.held_weights import HeldWeights, read_weights
from shared.audit.recount.replay import Replay, replay_run, sums_of
from shared.audit.recount.run_files import HeldReplies, read_held
from shared.contract.plan import Plan
from shared.errors import AuditError
from shared.privacy.ledger_export import LedgerExport
from shared.privacy.statement import open_statement, read_statement
from shared.stages.stage_sum import StageSum
from shared.strict import FROZEN

Handed = TypeVar("Handed")


class DepartedMessage(BaseModel):
    """One line of a site's outbox, as ``osteofed-site outbox --json`` prints it.

    Attributes:
        utc: the hour in which it left.
        channel: what was asked, or the file that was written.
        release_class: of the message.
        message: what it is.
        n_bytes: of the packed message.
        payload_sha256: hash of the packed message.
        epsilon: that it cost a patient; null: nothing formal.
        plan_sha256: hash of the plan; empty: of none.
    """

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
class SiteEvidence:
    """All that an auditor was handed about one site; None where a file was not.

    ``site_key`` is what the auditor trusts; ``key_from`` says why: known from enrolment, or only named
    by the plan's roster, which the coordinator wrote. ``others``: what the coordinator holds of the
    other sites; ``sums``: the sum of each stage that can be built here.
    """

    site_key: str
    key_from: Literal["enrolment", "roster"]
    coordinator_key: str
    export: LedgerExport
    outbox: tuple[DepartedMessage, ...] | None = None
    statement: Path | None = None
    held: HeldReplies | None = None
    weights: HeldWeights | None = None
    replay: Replay | None = None
    others: Mapping[str, HeldReplies] = field(default_factory=dict)
    sums: Mapping[str, StageSum] = field(default_factory=dict)
    release: Path | None = None
    reports: tuple[Path, ...] = ()

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
    reports: Sequence[Path] = (),
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
        reports: earlier audits' signed reports, whose verdicts statements may repeat.

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
    held = {} if run_folder is None else {site: read_held(run_folder, site) for site in roster}
    sums = {} if run_folder is None else sums_of(run_folder, plan)
    weights = None if run_folder is None else read_weights(run_folder, plan)
    replay = None if run_folder is None else replay_run(run_folder, plan)
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
            replay=replay,
            others={other: each for other, each in held.items() if other != site},
            sums=sums,
            release=release,
            reports=tuple(reports),
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
