"""Plays a simulation from its checked inputs to its report; what was done before is not done again.

Each step prints the command that a real party would type. A step that was cut off is repeated, a step
that ended is kept: keys, cohorts, the plan, rounds, answers, divisions. Imports both sides.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from client.site.folder import Site, open_site
from server.engines.loopback import Launch, engine_here
from server.federation.folder import Home, create_home
from server.federation.plan import draft_plan, save_plan
from server.report.collect import collect_results
from server.report.expected import expected_tables
from server.report.page import write_report
from server.report.plan_facts import plan_facts
from server.report.results import Results
from server.report.summary import summarise
from server.report.training import write_release
from server.run.complete import INCOMPLETE
from server.run.folder import RunStore
from server.run.prepare import prepare
from server.run.release import lock_run, make_release
from server.simulation.arms import Trained
from server.simulation.comparison import Comparison, Division
from server.simulation.divide import load_ward, measure_division
from server.simulation.hospitals import (
    APPROVED_BY,
    COHORT_COLUMNS,
    Folders,
    approve,
    export_ledgers,
    join,
    require_patients,
    take_in,
    take_in_later,
)
from server.simulation.page import write_comparison
from server.simulation.sources import Hospital
from shared.contract.settings import Settings
from shared.contract.validation_summary import write_summary
from shared.errors import RunError
from shared.machine.files import write_atomic
from shared.machine.terminal import progress, say, show_facts, show_table
from shared.privacy.stage_text import (
    GROUP_COLUMNS,
    STAGE_COLUMNS,
    group_rows,
    purposes_of,
    stage_rows,
)

RUN = "simulation"


@dataclass(frozen=True)
class Played:
    """A finished simulation: the federation's results, the arms beside each other, the files."""

    results: Results
    comparison: Comparison
    files: dict[str, str]


def play(
    folder: Path,
    hospitals: Sequence[Hospital],
    settings: Settings,
    *,
    seed: int,
    repeats: int,
    lock_date: date | None = None,
) -> Played:
    """Play the whole federation, or what of it is not done yet, and measure every arm.

    Args:
        folder: where everything is written.
        hospitals: as they were given.
        settings: of the simulation.
        seed: of the divisions.
        repeats: how many of them.
        lock_date: patients who came later are measured after a lock of that day.

    Raises:
        OsteoFedError: what stopped it; the same command goes on from there.
    """
    began = time.monotonic()
    folders = Folders(folder)
    home = _found(folders, hospitals, settings, seed=seed)
    sites = _take_in(folders, hospitals, settings, until=lock_date)
    _approve_plan(home, sites, settings)
    store = prepare(home, RUN)
    site_folders = {site.name: site.folder for site in sites}
    with engine_here(settings.engine.name, home.folder, site_folders) as launch:
        release = _train_and_measure(store, home, launch)
        if lock_date is not None:
            _measure_later(folders, store, home, hospitals, lock_date, launch)
    divisions = _divide(folder, store, sites, settings, release, seed=seed, repeats=repeats)
    _step("report", f"osteofed-site ledger export · osteofed-coordinator report {RUN}")
    ledgers = export_ledgers(sites, folder / "ledgers")
    results = collect_results(store, ledgers=ledgers)
    write_summary(store.release_folder, summarise(results), home.key())
    comparison = compared(store, results, divisions)
    files = [*write_report(folder, results), *write_comparison(folder, comparison)]
    say(f"  finished in {time.monotonic() - began:.0f} s")
    return Played(results, comparison, {path.name: str(path) for path in files})


def compared(store: RunStore, results: Results, divisions: Sequence[Division]) -> Comparison:
    """The divisions of a run, with what their figures are of."""
    task = results.task
    return Comparison(
        run=store.plan.run,
        is_regression=task.kind == "regression",
        endpoint=f"{task.endpoint} ({task.endpoint_rule})",
        target=task.target,
        unit=task.target_unit,
        training_epsilon=store.plan.predicted.training_epsilon,
        divisions=tuple(divisions),
    )


def _found(folders: Folders, hospitals: Sequence[Hospital], settings: Settings, *, seed: int) -> Home:
    _step("keys and enrolment", "osteofed-site init · osteofed-coordinator enrol · osteofed-site join")
    home = create_home(folders.home)
    for hospital in hospitals:
        join(folders, home, hospital, settings, seed=seed)
    say(f"  {', '.join(hospital.name for hospital in hospitals)}")
    return home


def _take_in(
    folders: Folders, hospitals: Sequence[Hospital], settings: Settings, *, until: date | None
) -> tuple[Site, ...]:
    _step("intake at each hospital", "osteofed-site ingest ARCHIVE")
    found = [take_in(folders, hospital, settings.cohort, until=until) for hospital in hospitals]
    rows = [row for row in found if row is not None]
    if rows:
        show_table("cohorts", COHORT_COLUMNS, rows, is_progress=True)
    if len(rows) < len(found):
        say(f"  {len(found) - len(rows)} cohorts were frozen before")
    require_patients(folders, hospitals, settings.cohort)
    return tuple(open_site(folders.site(hospital.name).resolve()) for hospital in hospitals)


def _approve_plan(home: Home, sites: Sequence[Site], settings: Settings) -> None:
    _step("the plan, before anything runs", f"osteofed-coordinator plan {RUN} · osteofed-site approve")
    plan_file = home.run_folder(RUN) / "plan.json"
    if not plan_file.exists():
        plan = draft_plan(
            settings,
            home.active_sites(),
            run=RUN,
            coordinator_key=home.key().public_hex,
            now=datetime.now(UTC),
        )
        save_plan(home, plan)
        show_facts("", plan_facts(plan), is_progress=True)
        show_table("stages", STAGE_COLUMNS, stage_rows(plan), is_progress=True)
        show_table("what a patient pays", GROUP_COLUMNS, group_rows(plan), is_progress=True)
        for title, columns, rows in expected_tables(plan):
            show_table(title, columns, rows, is_progress=True)
    for site in sites:
        approve(site, plan_file)
    say(f"  approved at {', '.join(site.name for site in sites)} by “{APPROVED_BY}”")


def _train_and_measure(store: RunStore, home: Home, launch: Launch) -> Trained:
    """Rounds, release, and every measure that needs no later patients; the release."""
    _step("rounds, over Flower's ServerApp and ClientApp", f"osteofed-coordinator launch {RUN}")
    launch(store, store.training.stage.name)
    release = make_release(store, home.key())
    written = write_release(store.training.stage, release.weights.size)
    say(f"  release {release.sha256[:12]}: {written}")
    for stage in store.plan.measured_now:
        _step(
            f"{purposes_of([stage])}, through each site's gate",
            f"osteofed-coordinator validate {RUN} {stage.name}",
        )
        measure_stage(store, stage.name, launch)
    return Trained(release.weights, release.plan)


def _measure_later(
    folders: Folders,
    store: RunStore,
    home: Home,
    hospitals: Sequence[Hospital],
    lock_date: date,
    launch: Launch,
) -> None:
    """Prospective validation, looking back: the release is locked on an earlier day."""
    _step(
        f"locked on {lock_date}, and measured on who came later",
        f"osteofed-coordinator lock {RUN} --days 1 · osteofed-site accept-lock LOCK · "
        "accrue LOCK ARCHIVE",
    )
    at = datetime.combine(lock_date, datetime.min.time(), tzinfo=UTC)
    if not store.lock_file.exists():
        lock_run(store, home.key(), now=at, days=1)  # all who came are there already
    found = {
        each.name: take_in_later(folders, each, store.lock_file, accepted=at) for each in hospitals
    }
    say("  " + ", ".join(f"{name}: {n} patients" for name, n in found.items()))
    for stage in store.plan.stages:
        if stage.patients == "accrued" and store.plan.asked(stage):
            measure_stage(store, stage.name, launch)


def measure_stage(store: RunStore, stage: str, launch: Launch) -> None:
    """Play a stage that measures; a hospital that refused it is told, and missing in the report.

    Raises:
        OsteoFedError: anything else that stopped it.
    """
    try:
        launch(store, stage)
    except RunError as error:
        if error.code != INCOMPLETE:
            raise
        say(f"  {error.fact}")


def _divide(
    folder: Path,
    store: RunStore,
    sites: Sequence[Site],
    settings: Settings,
    release: Trained,
    *,
    seed: int,
    repeats: int,
) -> list[Division]:
    """Every division's figures; those of an earlier, shorter command are kept."""
    _step("each hospital alone, all pooled, and the federation, on the same patients", "")
    files = [folder / "divisions" / f"{number:04d}.json" for number in range(1, repeats + 1)]
    waiting = [number for number, file in enumerate(files, start=1) if not file.exists()]
    if len(waiting) < repeats:
        say(f"  {repeats - len(waiting)} of {repeats} divisions were measured before")
    wards = {site.name: load_ward(site, store.plan) for site in sites} if waiting else {}
    for number in waiting:
        with progress(f"  division {number} of {repeats}: arms") as advance:
            division = measure_division(
                number,
                settings=settings,
                plan=store.plan,
                wards=wards,
                seed=seed,
                release=release if number == 1 else None,
                progress=advance,
            )
        write_atomic(files[number - 1], division.model_dump_json(indent=1).encode())
    return [Division.model_validate_json(file.read_bytes()) for file in files]


def _step(title: str, typed: str) -> None:
    say(f"\n── {title}" + (f"\n   $ {typed}" if typed else ""))
