"""Prospective films: a site accepts a lock, then accrues only what was acquired after it.

The lock is kept with this site's countersignature. Patients who are in the site's cohort already are
left out, so that nobody seen in training is measured. Imports intake, site and release.
"""

from __future__ import annotations

import json
from pathlib import Path

from client.cohort.folder import latest_version
from client.cohort.versions import ever_in_cohort, prospective_name
from client.intake.ingest import IntakeReport, Progress, ingest, intake_site
from client.intake.inputs import Inputs
from client.site.approved import approved_plan
from client.site.folder import Site
from client.site.linkage import PatientKey
from shared.contract.release import Lock, read_lock
from shared.errors import IntakeError, PlanError
from shared.exam.schema import CohortSchema
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json, hash_of


def accept_lock(site: Site, path: Path) -> Lock:
    """Check a lock against the approved plan and countersign it.

    Raises:
        WeightsError: damaged, or not signed by this site's coordinator.
        PlanError: its plan was not approved here, or its label rule is not the plan's.
    """
    lock = read_lock(path, coordinator_key=site.coordinator_key)
    plan = approved_plan(site, lock.plan_sha256).plan
    label = plan.settings.cohort.label
    if lock.label_rule_sha256 != hash_of(label.model_dump(mode="json")):
        raise PlanError(
            "other-label-rule",
            "the lock freezes another label rule than the approved plan",
            hint="ask the coordinator for a lock of this plan's release",
        )
    kept = site.folder / "locks" / f"{lock.sha256}.json"
    if not kept.exists():
        content = {
            "lock_sha256": lock.sha256,
            "site": site.name,
            "accepted_utc": site.clock().isoformat(),
        }
        signed = content | {"signature": site.key.sign(canonical_json(content))}
        write_atomic(kept.with_suffix(".accepted.json"), json.dumps(signed, indent=1).encode())
        write_atomic(kept, path.read_bytes())
    return lock


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
    """Freeze exams acquired after a lock, of patients this site has not used before.

    Args:
        site: the opened site; its clock says what is in the future.
        lock: what ``accept_lock`` has accepted.
        source, progress, workers, allows_fewer: as for ``ingest``.

    Raises:
        PlanError: the lock's plan is not approved here any more.
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
        acquired_after=lock.locked_utc.date(),
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
