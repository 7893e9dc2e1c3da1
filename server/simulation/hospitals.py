"""Plays the hospitals: keys, join, cohort, approval; each step is done once and found done afterwards.

Every step is what a real hospital types, through the same functions. Imports the client.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from client.cohort.folder import Cohort, latest_version
from client.cohort.versions import current_cohort
from client.gate.export import export_ledger
from client.gate.ledger import Ledger
from client.intake.accrue import accept_lock, accrue, locked_schema
from client.intake.folder_inputs import films_of, regions_of
from client.intake.ingest import ingest, intake_site
from client.intake.inputs import Inputs
from client.site.folder import Site, create_site, join_federation, open_site, utc_now
from client.site.policy import require_plan
from server.federation.folder import Home, enrol
from server.simulation.policy import suit_policy
from server.simulation.sources import Hospital, pseudonym_secret, size_problems
from shared.contract.plan import Plan
from shared.contract.settings import Settings
from shared.contract.stages import Role
from shared.errors import IntakeError, RunError
from shared.exam.schema import CohortSchema
from shared.machine.files import write_atomic
from shared.machine.terminal import progress
from shared.privacy.cost import noised_epsilon, touching

APPROVED_BY = "Simulated Approval"


@dataclass(frozen=True)
class Folders:
    """Where a simulation keeps whom."""

    folder: Path

    @property
    def home(self) -> Path:
        """The coordinator."""
        return self.folder / "coordinator"

    def site(self, name: str) -> Path:
        """A hospital's own folder."""
        return self.folder / "sites" / name


def declared_size(hospital: Hospital, settings: Settings) -> int:
    """What a hospital publishes of its size: the patients it expects to train on, to two digits.

    An external hospital declares as many of its patients as it would train on, as a real one does.
    """
    expected = max(1.0, hospital.n_patients * settings.cohort.split.train)
    unit = int(10 ** max(0, math.floor(math.log10(expected)) - 1))
    return max(1, round(expected / unit) * unit)


def join(folders: Folders, home: Home, hospital: Hospital, settings: Settings, *, seed: int) -> None:
    """Make a hospital's folder, enter it into the federation and let it trust the coordinator."""
    own = folders.site(hospital.name)
    request = own / "join-request.json"
    if not request.exists():
        shutil.rmtree(own, ignore_errors=True)  # of a run that was cut off: nothing has left it
        create_site(
            own,
            name=hospital.name,
            declared_patients=declared_size(hospital, settings),
            profile=hospital.profile,
        )
    secret, key_file = pseudonym_secret(seed, hospital.name), own / "keys" / "pseudonym.key"
    if key_file.read_bytes() != secret:  # always before the first patient is taken in
        write_atomic(key_file, secret, mode=0o600)
    answer = home.folder / "enrolments" / f"{hospital.name}.json"
    if all(site.site != hospital.name for site in home.active_sites()):
        enrol(home, request, role=hospital.role, is_required=True, now=utc_now())
    if open_site(own).settings.coordinator_key is None:
        join_federation(own, answer)


COHORT_COLUMNS = ("site", "role", "used", "train", "internal", "quarantined")


def split_cells(cohort: Cohort, role: Role) -> tuple[str, str]:
    """Patients who train, and who are held out; at an external hospital everybody is."""
    if role == "external":
        return "–", f"everybody, {len(cohort.patients())}"
    return str(len(cohort.patients("train"))), str(len(cohort.patients("internal")))


def take_in(
    folders: Folders, hospital: Hospital, schema: CohortSchema, *, until: date | None
) -> tuple[str, ...] | None:
    """Freeze a hospital's cohort; a row for people, or None where it was frozen before.

    Args:
        until: what is later is kept for a prospective validation.
    """
    site = open_site(folders.site(hospital.name))
    if latest_version(site.cohorts, schema.name):
        return None
    with progress(f"  {hospital.name}") as advance:
        report = ingest(
            _inputs(hospital, schema),
            intake_site(site),
            schema=schema,
            progress=advance,
            acquired_until=until,
        )
    counts = Counter((entry.code, entry.field) for entry in report.cohort.quarantined)
    codes = ", ".join(
        f"{code.removeprefix('intake.')}{f' of {field}' if field else ''} {n}"
        for (code, field), n in sorted(counts.items())
    )
    used = f"{report.n_rows_used}/{report.n_rows_read} rows"
    if schema.views:
        used += f", {report.n_films_used}/{report.n_films_read} films"
    return (hospital.name, hospital.role, used, *split_cells(report.cohort, hospital.role), codes)


def require_patients(folders: Folders, hospitals: Sequence[Hospital], schema: CohortSchema) -> None:
    """Refuse hospitals of which the intake has left too few: with films, that is known only now.

    Raises:
        RunError: naming every one.
    """
    problems = []
    for hospital in hospitals:
        cohort = current_cohort(open_site(folders.site(hospital.name)), schema.name)
        labelled = {exam.patient: exam.split for exam in cohort.exams if exam.label is not None}
        n_training = sum(split == "train" for split in labelled.values())
        problems += size_problems(replace(hospital, n_patients=len(labelled), n_training=n_training))
    if problems:
        raise RunError(
            "too-few-patients",
            "the intake has left too few patients:\n" + "\n".join(problems),
            hint=f"`osteofed-site cohort {schema.name} --examples --folder {folders.site('NAME')}` "
            "says why; mend films and rows, or leave it out, and simulate into another --folder",
        )


def take_in_later(folders: Folders, hospital: Hospital, lock_file: Path, *, accepted: datetime) -> int:
    """Accrue who came after a lock that was accepted at a simulated time; how many there are."""
    site = open_site(folders.site(hospital.name))
    lock = accept_lock(replace(site, clock=lambda: accepted), lock_file, by=APPROVED_BY)
    try:
        return len(accrue(site, lock, _inputs(hospital, locked_schema(site, lock))).cohort.patients())
    except IntakeError as error:
        if error.code != "intake.empty-cohort":
            raise
        return 0  # its table is not-applicable


def _inputs(hospital: Hospital, schema: CohortSchema) -> Inputs:
    films = hospital.films
    return Inputs(
        table=lambda: hospital.table,
        films=lambda: films_of(films, schema) if films is not None else [],
        regions=lambda: regions_of(films.parent, schema, hospital.profile) if films is not None else [],
    )


def approve(site: Site, plan_file: Path) -> None:
    """Suit the hospital's policy to the plan, hold the plan against it, and approve.

    Raises:
        PolicyError: with everything that the policy still forbids.
    """
    plan = site.approvals.import_plan(plan_file)
    if site.approvals.decision(plan.sha256) == "approved":
        return
    role = plan.entry(site.name).role
    suit_policy(
        site.folder / "policy.yaml",
        asked_of_policy(plan, role),
        occasion="this simulation",
        by=APPROVED_BY,
    )
    require_plan(open_site(site.folder).policy, plan, site=site.name, now=site.clock())
    site.approvals.decide(plan, "approved", by=APPROVED_BY, now=site.clock())


def asked_of_policy(plan: Plan, role: Role) -> dict[str, float | bool]:
    """What a plan needs of a hospital of a role, as lines of its policy."""
    stages = [stage for stage in plan.stages if role in stage.roles]
    delta, trained = plan.settings.delta, plan.trained
    prices = [
        noised_epsilon(touching(plan.stages, role=role, patients=split.patients), delta=delta)
        for split in plan.predicted.splits
        if split.role == role
    ]
    asked: dict[str, float | bool] = {
        "epsilon_per_run": max(prices, default=0.0),
        "delta": delta,
        "allows_privacy_off": any(stage.release_class == "off" for stage in stages),
        "allows_governed": any(stage.release_class == "governed" for stage in stages),
    }
    if trained is not None and trained.release_class == "dp":
        asked["noise_multiplier_floor"] = min(trained.noise_multipliers)
    return asked


def export_ledgers(sites: Sequence[Site], folder: Path) -> list[Path]:
    """Each site's ledger, verified, as the file that an auditor gets."""
    files = []
    for site in sites:
        ledger = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
        ledger.verify()
        files.append(folder / f"{site.name}.json")
        export_ledger(site, ledger, files[-1])
    return files
