"""A site's privacy statement about one run, from its own ledger, outbox and plan.

Figures come from what was charged, never from what was planned alone. Imports the ledger, the outbox
and ``shared.privacy.statement``.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.gate.export import export_file
from client.gate.ledger import Ledger, require_ledger
from client.gate.outbox import Departure, Outbox
from client.site.folder import Site
from shared.contract.plan import Plan, RosterEntry, read_plan
from shared.contract.protocol import SumReply
from shared.errors import AuditError
from shared.machine.hours import hour_in, hour_text
from shared.privacy.accountant import ACCOUNTANT_SAMPLED, NO_ACCOUNTANT, accountant_name, epsilon_of
from shared.privacy.events import is_full_batch
from shared.privacy.ledger_format import RELEASED, LedgerRow
from shared.privacy.statement import (
    CAVEATS,
    NO_GUARANTEE,
    NOISE_SOURCE,
    Artefact,
    Cost,
    CountersignedHead,
    LedgerState,
    Lifetime,
    PrivacyPredicate,
    Software,
    StatedAudit,
    StatedCohort,
    StatedRelease,
    Statement,
    mechanism_of,
    sign_statement,
)
from shared.privacy.statement_text import statement_text
from shared.signing.canonical import hash_file
from shared.signing.code_hash import environment_sha256, installed_code_hash
from shared.signing.envelope import encode_envelope

# Classes of messages that a patient had a part in.
_TOUCHING = ("dp", "governed", "off", "repeat")
_GAUSSIAN_FILTER = "Gaussian filter on the sum of steps / noise multiplier squared"
_RENYI_FILTER = "Renyi filter"


@dataclass(frozen=True)
class SignedAudit:
    """An auditor's report, and the key that must have signed it, as a person here was told."""

    path: Path
    auditor_key: str


def state_run(site: Site, run: str, out: Path, *, audit: SignedAudit | None = None) -> Statement:
    """Make, sign and write a statement, logged as leaving, and its page beside it as ``.txt``.

    Args:
        site: the opened site.
        run: the run's name, or its plan's hash where two runs bear one name.
        out: file to write, for example ``statement.json``.
        audit: an auditor's report whose verdicts are to be repeated.

    Raises:
        AuditError: the ledger knows no such run, or nothing of it has left; or the report is not signed
            by the named auditor, or not about this plan and site.
        LedgerError: nothing was ever charged here, or the ledger is damaged or behind.
    """
    statement = make_statement(site, run, audit=audit)
    files = {
        out: encode_envelope(sign_statement(statement, site.key)),
        out.with_suffix(".txt"): statement_text(statement.predicate).encode(),
    }
    for path, content in files.items():
        export_file(
            site,
            path,
            content,
            channel="export.statement",
            release_class="status",
            message="Statement" if path == out else "StatementPage",
            plan_sha256=statement.predicate.plan_sha256,
        )
    return statement


def make_statement(site: Site, run: str, *, audit: SignedAudit | None = None) -> Statement:
    """The unsigned statement; raises as ``state_run``."""
    ledger = require_ledger(site)
    ledger.verify()
    rows = ledger.show()
    plan = find_plan(site, rows, run)
    own = [row for row in rows if row.plan_sha256 == plan.sha256]
    charges = [row for row in own if row.kind == "charge"]
    outbox = Outbox(site.folder / "outbox", site.folder / "replies")
    departures = [each for each in outbox.show() if each.plan_sha256 == plan.sha256]
    entry = plan.entry(site.name)
    predicate = PrivacyPredicate(
        site=site.name,
        run=plan.run,
        role=entry.role,
        plan_sha256=plan.sha256,
        issued_utc=hour_text(site.clock()),
        guarantee=_guarantee(charges),
        cost=_cost(ledger, plan, entry, charges),
        lifetime=_lifetime(site, ledger, plan, rows),
        mechanism=mechanism_of(plan, entry.role),
        noise_source=NOISE_SOURCE,
        declared_patients=entry.declared_patients,
        cohorts=_cohorts(charges),
        ledger=_ledger_state(ledger, rows),
        releases=tuple(_released(each) for each in departures if each.release_class in _TOUCHING),
        n_other_messages=_count_others(departures),
        governed_by=tuple(sorted({row.approved_by for row in charges if row.approved_by})),
        software=_software(plan),
        audits=() if audit is None else _audits(audit, plan, site.name),
        caveats=CAVEATS,
    )
    return Statement(subject=_artefacts(own, outbox), predicate=predicate)


def find_plan(site: Site, rows: Sequence[LedgerRow], run: str) -> Plan:
    """The plan of the one run that ``run`` names, by its name or its plan's hash.

    Raises:
        AuditError: the ledger holds charges of none, or of several.
    """
    known = {row.plan_sha256: row.run for row in rows if row.kind == "charge"}
    named = [plan_sha256 for plan_sha256, name in known.items() if run in (name, plan_sha256)]
    if len(named) != 1:
        raise AuditError(
            "no-such-run",
            f"the ledger must hold charges of exactly one run {run}, not of {len(named)}; it knows "
            f"{sorted(set(known.values()))}",
            hint="name one of these runs; where two bear one name, its plan's hash",
        )
    # a plan measured offline was written here; the ledger's hash says that it is the one
    offline = site.folder / "offline" / "plans" / f"{named[0]}.json"
    if offline.exists():
        return read_plan(offline)
    return read_plan(site.folder / "plans" / f"{named[0]}.json", coordinator_key=site.coordinator_key)


def _guarantee(charges: Sequence[LedgerRow]) -> str:
    n_off = sum(row.charge_class == "off" for row in charges)
    n_governed = sum(row.charge_class == "governed" for row in charges)
    if n_off:
        return f"{NO_GUARANTEE}: the run trained without noise"
    if n_governed:
        return (
            f"{NO_GUARANTEE} for {n_governed} governed releases of exact numbers; "
            "differential privacy for all else that left about patients"
        )
    return "differential privacy for all that left about patients"


def _cost(ledger: Ledger, plan: Plan, entry: RosterEntry, charges: Sequence[LedgerRow]) -> Cost:
    delta = plan.predicted.delta
    training = [row for row in charges if row.purpose == "train"]
    events = [row.event for row in charges if row.event is not None]
    n_unprotected = sum(row.event is None for row in charges)
    accountant = accountant_name(events)
    library = "opacus" if accountant == ACCOUNTANT_SAMPLED else "scipy"
    return Cost(
        delta=delta,
        planned_epsilon=plan.predicted.training_epsilon if entry.role == "training" else 0.0,
        training_epsilon=epsilon_of([row.event for row in training if row.event], delta)
        if all(row.event for row in training)
        else None,
        run_epsilon=None
        if n_unprotected
        else ledger.run_epsilon(plan.sha256, ledger.members_of(charges), delta=delta),
        n_unprotected=n_unprotected,
        accountant=accountant,
        accountant_version=""
        if accountant == NO_ACCOUNTANT
        else f"{library} {importlib.metadata.version(library)}",
    )


def _lifetime(site: Site, ledger: Ledger, plan: Plan, rows: Sequence[LedgerRow]) -> Lifetime:
    allowance = site.policy.allowance
    delta = plan.predicted.delta
    budget = ledger.budget_of_everybody(allowance=replace(allowance, delta=delta))
    is_gaussian = is_full_batch(row.event for row in rows if row.event is not None)
    return Lifetime(
        epsilon=budget.epsilon_spent,
        delta=delta,
        filter=_GAUSSIAN_FILTER if is_gaussian else _RENYI_FILTER,
        epsilon_cap=allowance.epsilon_lifetime,
        delta_cap=allowance.delta,
        n_unprotected=budget.n_unprotected,
    )


def _cohorts(charges: Sequence[LedgerRow]) -> tuple[StatedCohort, ...]:
    purposes: dict[str, set[str]] = {}
    for row in charges:
        purposes.setdefault(row.members_sha256, set()).add(row.purpose)
    return tuple(
        StatedCohort(cohort_id=cohort_id, purposes=tuple(sorted(names)))
        for cohort_id, names in purposes.items()
    )


def _ledger_state(ledger: Ledger, rows: Sequence[LedgerRow]) -> LedgerState:
    index_of = {row.sha256: row.index for row in rows}
    seen = max(ledger.countersignatures(), key=lambda each: index_of[each.head_sha256], default=None)
    countersigned = seen and CountersignedHead(
        index=index_of[seen.head_sha256],
        head_sha256=seen.head_sha256,
        plan_sha256=seen.plan_sha256,
        coordinator_key=seen.coordinator_key,
        signature=seen.signature,
    )
    return LedgerState(
        head_sha256=rows[-1].sha256, head_index=rows[-1].index, countersigned=countersigned
    )


def _released(departure: Departure) -> StatedRelease:
    return StatedRelease(
        utc=hour_in(departure.utc).isoformat(),  # earlier outboxes have finer times
        channel=departure.channel,
        release_class=departure.release_class,
        payload_sha256=departure.payload_sha256,
        epsilon=departure.epsilon,
    )


def _count_others(departures: Sequence[Departure]) -> dict[str, int]:
    others = [each.release_class for each in departures if each.release_class not in _TOUCHING]
    return {name: others.count(name) for name in sorted(set(others))}


def _software(plan: Plan) -> Software:
    return Software(
        code_sha256=installed_code_hash(),
        plan_code_sha256=plan.code_sha256,
        environment_sha256=environment_sha256(),
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
        opacus=importlib.metadata.version("opacus"),
    )


def _audits(audit: SignedAudit, plan: Plan, site: str) -> tuple[StatedAudit, ...]:
    from shared.audit.report import open_report

    report = open_report(audit.path, audit.auditor_key)
    verdicts = report.verdicts_of(plan.sha256, site)
    if not verdicts:
        raise AuditError(
            "other-report",
            f"{audit.path.name} holds no verdict about site {site} in run {plan.run}",
            hint="name the report of an audit of this very plan, which had this site's files",
        )
    return tuple(
        StatedAudit(
            method=method,
            verdict=verdict,
            auditor_key=audit.auditor_key,
            report_sha256=hash_file(audit.path),
        )
        for method, verdict in verdicts.items()
    )


def _artefacts(own: Sequence[LedgerRow], outbox: Outbox) -> tuple[Artefact, ...]:
    """What left, by the ledger's outcomes, and the releases that were measured here."""
    released = [row for row in own if row.kind == "outcome" and row.status == RELEASED]
    if not released:
        raise AuditError(
            "nothing-released",
            "nothing about patients has left in this run, so there is nothing to state",
            hint="state the run after its first round; `osteofed-site outbox` lists what has left",
        )
    subjects = [Artefact(name=_name(row), digest={"sha256": row.payload_sha256}) for row in released]
    paid = {row.charge_index for row in released}
    charges = [row for row in own if row.kind == "charge" and row.index in paid]
    replies = [outbox.stored_reply(row.sha256) for row in charges]
    measured = sorted(  # a description is of patients and names no release
        {each.release_sha256 for each in replies if isinstance(each, SumReply)} - {""}
    )
    return (*subjects, *(Artefact(name="release", digest={"sha256": each}) for each in measured))


def _name(row: LedgerRow) -> str:
    return f"{row.stage}, round {row.round}, ledger row {row.charge_index}"
