"""Prospective films: a person accepts a lock, then the site accrues only what was acquired since.

The acceptance is a row of the ledger, so that it has a place among all that was charged and seen by the
coordinator. Patients who are in the site's cohort already are left out, so that nobody seen in training
is measured. Imports intake, gate, site and release.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from client.cohort.folder import latest_version
from client.cohort.versions import ever_in_cohort, prospective_name
from client.gate.ledger import Ledger, require_acceptance
from client.intake.ingest import IntakeReport, Progress, ingest, intake_site
from client.intake.inputs import Inputs
from client.site.approved import approved_plan
from client.site.folder import Site, require_person
from client.site.linkage import PatientKey
from shared.contract.release import Lock, read_lock
from shared.errors import IntakeError, PlanError
from shared.exam.schema import CohortSchema
from shared.machine.files import write_atomic
from shared.signing.canonical import hash_of


def accept_lock(site: Site, path: Path, *, by: str) -> Lock:
    """Accept a lock in a named person's name; what is acquired after this day, and the lock's, counts.

    A lock that was accepted before stays so since then.

    Raises:
        WeightsError: damaged, or not signed by this site's coordinator.
        PlanError: its plan was not approved here, its label rule is not the plan's, or it is of a time
            to come.
        PolicyError: no person is named.
        LedgerError: the ledger is damaged, or lacks the head that the lock names.
    """
    require_person(by)
    lock = read_lock(path, coordinator_key=site.coordinator_key)
    plan = approved_plan(site, lock.plan_sha256).plan
    if lock.locked_utc > site.clock():
        raise PlanError(
            "lock-in-future",
            f"the lock is of {lock.locked_utc.isoformat()}, which is still to come here",
            hint="compare both clocks (`osteofed-site doctor`), or accept it when its time has come",
        )
    label = plan.settings.cohort.label
    if lock.label_rule_sha256 != hash_of(label.model_dump(mode="json")):
        raise PlanError(
            "other-label-rule",
            "the lock freezes another label rule than the approved plan",
            hint="ask the coordinator for a lock of this plan's release",
        )
    ledger = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
    ledger.accept_lock(
        lock.sha256,
        plan_sha256=plan.sha256,
        run=plan.run,
        by=by,
        after=lock.ledger_heads.get(site.name, ""),
    )
    write_atomic(site.folder / "locks" / f"{lock.sha256}.json", path.read_bytes())
    return lock


def cut_of(site: Site, lock: Lock) -> datetime:
    """The time after whose day an exam counts, in UTC.

    Raises:
        PlanError: nobody here has accepted the lock.
    """
    return lock.cut(require_acceptance(site, lock.sha256).utc).astimezone(UTC)


def answered_from(site: Site, lock: Lock) -> date:
    """The first day, in UTC, on which this site answers, whoever has come until then.

    Raises:
        PlanError: nobody here has accepted the lock.
    """
    return lock.answered_from(require_acceptance(site, lock.sha256).utc)


def locked_schema(site: Site, lock: Lock) -> CohortSchema:
    """What an exam is under a lock that this site accepted.

    Raises:
        PlanError: the lock's plan is not approved here.
    """
    return approved_plan(site, lock.plan_sha256).plan.settings.cohort


def accrue(
    site: Site,
    lock: Lock,
    source: Path | Inputs,
    *,
    progress: Progress | None = None,
    workers: int = 1,
    allows_fewer: bool = False,
) -> IntakeReport:
    """Freeze exams acquired after a lock was accepted, of patients this site has not used before.

    Args:
        site: the opened site; its clock says what is in the future.
        lock: what ``accept_lock`` has accepted.
        source, progress, workers, allows_fewer: as for ``ingest``.

    Raises:
        PlanError: the lock's plan is not approved here any more, or the lock was not accepted.
        IntakeError: as ``ingest``, or the schema has no dates.
    """
    schema = locked_schema(site, lock)
    if schema.date_column is None:
        raise IntakeError(
            "no-dates",
            f"the schema {schema.name} has no date_column, so that nobody can be told to be later",
            hint="validate with a schema whose rows have a date",
        )
    return ingest(
        source,
        intake_site(site),
        schema=schema,
        name=prospective_name(schema.name, lock.sha256),
        progress=progress,
        acquired_after=cut_of(site, lock).date(),
        exclude_patients=_used_before(site, lock, schema),
        workers=workers,
        allows_fewer=allows_fewer,
    )


def _used_before(site: Site, lock: Lock, schema: CohortSchema) -> frozenset[PatientKey]:
    """Patients of this site's cohort, if it has one; a hospital that trained must have one.

    Raises:
        IntakeError: it trained the release, and its cohort is gone.
    """
    role = approved_plan(site, lock.plan_sha256).entry.role
    if role == "external" and latest_version(site.cohorts, schema.name) == 0:
        return frozenset()
    return ever_in_cohort(site, schema.name)
