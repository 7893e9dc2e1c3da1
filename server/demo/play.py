"""The demo: four synthetic hospitals and a coordinator on one machine, through the code of real ones.

The one place, beside the engines, where coordinator and sites meet in a process; each step prints the
command that a real party would type. The clock is injected: ingest, lock and later films happen on
fixed days, so that "later" is not in the future. Imports both sides.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from server.engines.launch import launch_stage
from server.federation.compose import compose_settings
from server.federation.folder import Home, create_home, enrol
from server.federation.plan import draft_plan, save_plan
from server.report.collect import collect_results
from server.report.expected import expected_tables
from server.report.plan_facts import plan_facts
from server.report.results import Results
from server.report.training import write_release
from server.run.folder import RunStore, open_run
from server.run.prepare import prepare
from server.run.release import lock_run, make_release
from server.simulation.hospitals import split_cells
from server.simulation.policy import APPROVED_BY, suit_policy
from server.synthetic.hospitals import DEMO_SITES, SyntheticSite
from shared.contract.settings import Settings
from shared.contract.stages import Stage, purpose_of
from shared.errors import RunError, SettingsError
from shared.machine.files import write_atomic
from shared.machine.terminal import progress, say, show_facts, show_table
from shared.privacy.stage_text import (
    GROUP_COLUMNS,
    STAGE_COLUMNS,
    group_rows,
    purposes_of,
    stage_rows,
)

RUN = "demo"
INGEST_DAY = datetime(2024, 1, 10, 9, tzinfo=UTC)
LOCK_DAY = datetime(2024, 2, 1, 9, tzinfo=UTC)
LATER_FIRST_DAY, LATER_DAYS = LOCK_DAY + timedelta(days=14), 150
ACCRUAL_DAY = datetime(2024, 9, 2, 9, tzinfo=UTC)
GATHERING_DAYS = (ACCRUAL_DAY - LOCK_DAY).days
# What each hospital publishes about its size: a bucket, not its count.
DECLARED_PATIENTS = {"aster": 110, "birch": 220, "cedar": 440, "dune": 280}
LATER_PATIENTS = {"aster": 45, "birch": 60, "cedar": 110, "dune": 70}
# What the generator's films and tables are of.
GENERATED_COHORT = "hip_bmd"
_MARKER = "osteofed-demo.txt"


@dataclass(frozen=True)
class DemoFolders:
    """Where the demo keeps whom."""

    folder: Path

    @property
    def home(self) -> Path:
        """The coordinator."""
        return self.folder / "coordinator"

    def source(self, name: str) -> Path:
        """What a hospital's archive exports: films and table."""
        return self.folder / "archives" / name

    def later(self, name: str) -> Path:
        """What it exports after the lock."""
        return self.folder / "archives" / f"{name}-later"

    def site(self, name: str) -> Path:
        """The hospital's own folder."""
        return self.folder / "sites" / name


def play_demo(
    folder: Path,
    *,
    overrides: Sequence[str],
    seed: int,
    sites: Sequence[SyntheticSite] = DEMO_SITES,
    is_audited: bool = False,
) -> tuple[Results, dict[str, str]]:
    """Play the whole federation and return its results and the files to look at.

    Args:
        folder: emptied first if an earlier demo wrote it.
        overrides: of the run's settings.
        seed: draws patients, never noise.
        sites: the hospitals; the last one is external.
        is_audited: let an auditor examine the run afterwards.

    Raises:
        SettingsError: before anything is written; also for a cohort that is not generated here, and
            for an audit of an encoder that learns.
        RunError: the folder holds something else.
    """
    began = time.monotonic()
    settings = compose_generated(overrides)
    if is_audited and settings.encoder.training != "frozen":
        raise SettingsError(
            "encoder-not-attacked",
            f"the demo's audit needs encoder.training frozen, not {settings.encoder.training}",
            hint="attack such a plan by `osteofed-auditor membership PLAN --encoder FILE`",
        )
    folders = fresh_folders(folder)
    generate(folders, sites, seed=seed)
    home = found_federation(folders, sites, settings)
    ingest_all(folders, sites, settings)
    write_approved_plan(folders, home, sites, settings)
    store = prepare(home, RUN)
    site_folders = {site.name: folders.site(site.name).resolve() for site in sites}
    _step("rounds, over Flower's ServerApp and ClientApp", "osteofed-coordinator launch demo")
    launch_stage(store, store.training.stage.name, site_folders=site_folders)
    release = make_release(store, home.key())
    written = write_release(store.training.stage, release.weights.size)
    say(f"  release {release.sha256[:12]}: {written}")
    measured = [stage for stage in store.plan.stages if purpose_of(stage) != "train"]
    for stage in (stage for stage in measured if stage.patients != "accrued"):
        _measure(store, stage, site_folders)
    lock_run(store, home.key(), now=LOCK_DAY, days=GATHERING_DAYS)
    accrue_all(folders, sites, store.lock_file, seed=seed)
    for stage in (stage for stage in measured if stage.patients == "accrued"):
        _measure(store, stage, site_folders)
    heat_map = read_new_film(folders, sites[0], store.release_folder, settings, seed=seed)
    results, files = _report(folders, store.folder, sites)
    if heat_map:
        files["heat map (stays at the site)"] = str(heat_map)
    if is_audited:
        from server.demo.audit import audit_demo

        _step("audit", "osteofed-auditor recount, conformance, canary, inversion, membership, report")
        files |= audit_demo(folder, store, list(site_folders.values()))
    say(f"  finished in {time.monotonic() - began:.0f} s")
    return results, files


def compose_generated(overrides: Sequence[str]) -> Settings:
    """The settings of a federation of generated patients.

    A cohort that is named among the overrides is looked at before anything that does not suit it.

    Raises:
        SettingsError: an override is not valid, or the cohort is not the generator's.
    """
    for key, _, name in (override.partition("=") for override in overrides):
        if key == "cohort":
            _require_generated(name)
    settings = compose_settings([*overrides, "is_synthetic=true"])
    _require_generated(settings.cohort.name)
    return settings


def _require_generated(name: str) -> None:
    """Refuse a cohort of which no synthetic patient can be made.

    Raises:
        SettingsError: it is not the generator's.
    """
    if name != GENERATED_COHORT:
        raise SettingsError(
            "cohort-not-generated",
            f"synthetic hospitals can be generated for cohort {GENERATED_COHORT} only, not {name}",
            hint="`osteofed-coordinator simulate SITE=FILE … --cohort FILE` plays a federation over "
            "tables or films of your own",
        )


def _measure(store: RunStore, stage: Stage, site_folders: Mapping[str, Path]) -> None:
    _step(
        f"{purposes_of([stage])}, through each site's gate",
        f"osteofed-coordinator validate {RUN} {stage.name}",
    )
    launch_stage(store, stage.name, site_folders=site_folders)


def generate(folders: DemoFolders, sites: Sequence[SyntheticSite], *, seed: int) -> None:
    """Write each hospital's archive: DX films and a messy clinical table."""
    from server.synthetic.folder import write_hospital

    _step("synthetic hospitals: true DX DICOM films, messy clinical tables", "")
    with progress("  hospitals") as advance:
        for number, site in enumerate(sites, start=1):
            write_hospital(folders.source(site.name), site, seed)
            advance(number, len(sites))


def found_federation(folders: DemoFolders, sites: Sequence[SyntheticSite], settings: Settings) -> Home:
    """Keys at every party, join requests, enrolment, and each hospital's own policy."""
    from client.site.folder import create_site, join_federation
    from client.site.profile import SiteProfile
    from server.synthetic.hospitals import intake_profile

    _step("keys and enrolment", "osteofed-site init · osteofed-coordinator enrol · osteofed-site join")
    home = create_home(folders.home)
    for site in sites:
        own = folders.site(site.name)
        request = create_site(
            own,
            name=site.name,
            declared_patients=DECLARED_PATIENTS.get(site.name, max(1, site.n_patients * 7 // 10)),
            profile=SiteProfile.model_validate(intake_profile(site)),
        )
        is_external = site is sites[-1]
        answer = enrol(
            home,
            request,
            role="external" if is_external else "training",
            is_required=True,
            now=INGEST_DAY,
        )
        join_federation(own, answer)
        suit_policy(own / "policy.yaml", _asked_of_policies(settings), occasion="this demo")
    return home


def ingest_all(folders: DemoFolders, sites: Sequence[SyntheticSite], settings: Settings) -> None:
    """Freeze each hospital's cohort and show what was quarantined."""
    from client.intake.ingest import ingest, intake_site
    from client.site.folder import open_site

    _step("intake at each hospital", "osteofed-site ingest ARCHIVE")
    rows = []
    for site in sites:
        opened = open_site(folders.site(site.name), clock=_clock(INGEST_DAY))
        with progress(f"  {site.name}") as advance:
            report = ingest(
                folders.source(site.name),
                intake_site(opened),
                schema=settings.cohort,
                progress=advance,
            )
        rows.append(
            (
                site.name,
                f"{report.n_films_used}/{report.n_films_read}",
                f"{report.n_rows_used}/{report.n_rows_read}",
                *split_cells(report.cohort, "external" if site is sites[-1] else "training"),
                ", ".join(f"{c.code.removeprefix('intake.')} {c.n}" for c in report.counts),
            )
        )
    columns = (
        "site",
        "films used",
        "rows used",
        "train",
        "internal",
        "quarantined (stays at the site)",
    )
    show_table("cohorts, as each hospital sees its own", columns, rows, is_progress=True)


def write_approved_plan(
    folders: DemoFolders, home: Home, sites: Sequence[SyntheticSite], settings: Settings
) -> None:
    """Write, sign and show the plan, and let each hospital approve it."""
    from client.site.folder import open_site
    from client.site.policy import require_plan

    _step("the plan, before anything runs", "osteofed-coordinator plan demo · osteofed-site approve")
    plan = draft_plan(
        settings,
        home.active_sites(),
        run=RUN,
        coordinator_key=home.key().public_hex,
        now=INGEST_DAY,
    )
    save_plan(home, plan)
    show_facts("", plan_facts(plan), is_progress=True)
    show_table("stages", STAGE_COLUMNS, stage_rows(plan), is_progress=True)
    show_table("what a patient pays", GROUP_COLUMNS, group_rows(plan), is_progress=True)
    for title, columns, rows in expected_tables(plan):
        show_table(title, columns, rows, is_progress=True)
    for site in sites:
        opened = open_site(folders.site(site.name), clock=_clock(INGEST_DAY))
        read = opened.approvals.import_plan(home.run_folder(RUN) / "plan.json")
        require_plan(opened.policy, read, site=site.name, now=opened.clock())
        opened.approvals.decide(read, "approved", by=APPROVED_BY, now=opened.clock())
    say(f"  approved at {', '.join(site.name for site in sites)} by {APPROVED_BY}")


def accrue_all(
    folders: DemoFolders, sites: Sequence[SyntheticSite], lock_file: Path, *, seed: int
) -> None:
    """Later films at each hospital, accrued under the lock."""
    from client.intake.accrue import accept_lock, accrue
    from client.site.folder import open_site
    from server.synthetic.folder import write_later_films

    _step(
        f"locked and accepted on {LOCK_DAY:%Y-%m-%d}; months later, films acquired since",
        f"osteofed-coordinator lock demo --days {GATHERING_DAYS} · osteofed-site accept-lock LOCK · "
        "accrue LOCK ARCHIVE",
    )
    for site in sites:
        write_later_films(
            folders.later(site.name),
            site,
            seed,
            LATER_FIRST_DAY.date(),
            n_new=LATER_PATIENTS.get(site.name, 60),
            n_days=LATER_DAYS,
        )
        then = open_site(folders.site(site.name), clock=_clock(LOCK_DAY))
        lock = accept_lock(then, lock_file, by=APPROVED_BY)
        opened = open_site(folders.site(site.name), clock=_clock(ACCRUAL_DAY))
        with progress(f"  {site.name}") as advance:
            accrue(opened, lock, folders.later(site.name), progress=advance)


def read_new_film(
    folders: DemoFolders, site: SyntheticSite, release_folder: Path, settings: Settings, *, seed: int
) -> Path | None:
    """Read one exam that nobody has seen before, at the hospital; the picture stays there."""
    from client.intake.clinical import interpret_rows, read_table
    from client.reading.predict import draw_heat_maps, predict
    from client.site.folder import open_site
    from server.synthetic.folder import write_later_films
    from shared.contract.release import read_release

    _step("one new film, read at the hospital", "osteofed-site predict RELEASE FILM --value age=...")
    opened = open_site(folders.site(site.name), clock=_clock(ACCRUAL_DAY))
    archive = folders.folder / "archives" / "one-new-patient"
    first_day = LATER_FIRST_DAY.date()
    write_later_films(archive, site, seed + 1_000_000, first_day, n_new=1, n_seen=0, n_days=1)
    profile = opened.settings.profile
    header, raw_rows = read_table(archive / "clinical.csv", profile)
    table = interpret_rows(
        header, raw_rows, schema=settings.cohort, profile=profile, today=ACCRUAL_DAY.date()
    )
    row = min(table.rows, key=lambda row: row.day)
    release = read_release(release_folder, coordinator_key=opened.coordinator_key)
    values = {name: str(value) for name, value in row.values.items() if value is not None}
    reading = predict(release, sorted((archive / "films").glob("*_1?.dcm")), values)
    show_facts("", reading.facts(), is_progress=True)
    return draw_heat_maps(opened, reading)


def _report(
    folders: DemoFolders, run_folder: Path, sites: Sequence[SyntheticSite]
) -> tuple[Results, dict[str, str]]:
    from client.gate.export import export_ledger
    from client.gate.ledger import Ledger
    from client.site.folder import open_site
    from server.report.page import write_report
    from server.report.summary import summarise
    from shared.contract.validation_summary import write_summary

    _step("report", "osteofed-site ledger export · osteofed-coordinator report demo")
    ledgers = []
    for site in sites:
        opened = open_site(folders.site(site.name))
        ledger = Ledger(opened.folder / "ledger", site=site.name, key=opened.key, clock=opened.clock)
        ledger.verify()
        ledgers.append(run_folder / "ledgers" / f"{site.name}.json")
        export_ledger(opened, ledger, ledgers[-1])
    store = open_run(run_folder)
    results = collect_results(store, ledgers=ledgers)
    write_summary(store.release_folder, summarise(results), Home(store.home).key())
    page, data = write_report(folders.folder, results)
    return results, {"report.html": str(page), "report.json": str(data)}


def _asked_of_policies(settings: Settings) -> dict[str, float | bool]:
    """What the visitor asked for, as lines of a policy."""
    return {
        "epsilon_per_run": max(settings.privacy.epsilon or 0.0, settings.validation.epsilon),
        "delta": settings.privacy.delta,
        "allows_privacy_off": settings.privacy.mode == "off",
        "allows_governed": settings.validation.release_class == "governed",
    }


def fresh_folders(folder: Path) -> DemoFolders:
    """An empty demo folder; an earlier demo in it is removed.

    Raises:
        RunError: the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARKER).exists():
            raise RunError(
                "folder-in-use",
                f"{folder} is not empty and was not written by a demo",
                hint="name another with --folder",
            )
        shutil.rmtree(folder)
    write_atomic(folder / _MARKER, b"Written by osteofed-coordinator demo; may be deleted.\n")
    return DemoFolders(folder)


def _clock(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def _step(title: str, typed: str) -> None:
    say(f"\n── {title}" + (f"\n   $ {typed}" if typed else ""))
