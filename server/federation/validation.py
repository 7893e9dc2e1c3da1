"""Writes the plan that measures an earlier release at sites enrolled now.

Imports the validation plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from server.federation.folder import Enrolled, Home
from server.federation.plan import require_run_name
from shared.contract.plan import Plan, RosterEntry
from shared.contract.release import Release, read_release
from shared.errors import PlanError
from shared.stages.validation_plan import role_in, validation_plan


def draft_validation(
    home: Home,
    released: str,
    *,
    run: str,
    only: Sequence[str],
    epsilon: float | None,
    now: datetime,
    valid_until: date | None = None,
) -> Plan:
    """The plan of a validation of a run's release.

    Args:
        home: the coordinator's.
        released: the run whose release is measured.
        run: name of the validation.
        only: sites that are asked; empty: all that are enrolled.
        epsilon: what a table costs a patient; None: as in the release's own plan.
        now: the coordinator's clock.
        valid_until: the last day on which sites may approve it and answer; None: any day.

    Raises:
        RunError: there is no such run.
        WeightsError: it has no release yet, or a damaged one.
        PlanError: the name cannot be a run's, a site is not enrolled, or nobody is left to ask.
    """
    require_run_name(run)
    key = home.key().public_hex
    release = read_release(home.planned_run(released) / "release", coordinator_key=key)
    sites = {site.site: site for site in home.active_sites()}
    unknown = sorted(set(only) - sites.keys())
    if unknown:
        raise PlanError(
            "not-enrolled",
            f"sites {unknown} are none of the enrolled {sorted(sites)}",
            hint="`osteofed-coordinator enrol` enters a hospital; `sites` lists them",
        )
    roster = [_entry(release, site) for name, site in sites.items() if not only or name in only]
    return validation_plan(
        release,
        roster,
        run=run,
        coordinator_key=key,
        written_utc=now.isoformat(),
        epsilon=epsilon,
        valid_until=valid_until,
    )


def _entry(release: Release, site: Enrolled) -> RosterEntry:
    return RosterEntry(
        site=site.site,
        role=role_in(release.plan, site.site, site.public_key),
        is_required=site.is_required,
        public_key=site.public_key,
        declared_patients=site.declared_patients,
        weight=0.0,
    )
