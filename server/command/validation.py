"""Commands about a release: measure it, lock it, report it, sign what sites state of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.command.options import HOME, HomeOption, Run, Sites
from server.command.runs import site_folders
from shared.errors import PlanError
from shared.machine.hours import MOST_DAYS
from shared.machine.terminal import (
    JsonOption,
    command,
    say,
    show_facts,
    show_json,
    show_table,
    when_stopped,
)

if TYPE_CHECKING:
    from server.report.results import FurtherResult, ValidationResult

validation_app = typer.Typer()


@validation_app.command()
@command
@when_stopped("the answers that came are kept, and cost nothing twice; the same command goes on")
def validate(
    run: Run,
    stage: Annotated[
        str,
        typer.Argument(
            help="A stage of the plan that measures: internal, external, prospective, description, "
            "or a further measure such as errors_internal."
        ),
    ],
    site: Sites = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Measure a release at the sites, or ask who their patients are, through their gates."""
    from server.engines.launch import launch_stage
    from server.federation.folder import Home
    from server.report.collect import collect_results
    from server.report.description import collect_descriptions
    from server.report.terminal import table_for_terminal, table_of_patients
    from server.report.validation import kind_of
    from server.run.prepare import prepare
    from shared.contract.stages import DescriptionStage, MeasureStage, TableStage

    store = prepare(Home(home), run)
    asked = store.plan.stage(stage)
    if not isinstance(asked, TableStage | MeasureStage | DescriptionStage):
        raise PlanError(
            "not-a-measure",
            f"stage {stage} of run {run} measures nothing",
            hint="`osteofed-coordinator launch` plays a stage that trains",
        )
    launch_stage(store, stage, site_folders=site_folders(site or []))
    if isinstance(asked, DescriptionStage):  # there need be no release yet
        described = collect_descriptions(store)
        if as_json:
            show_json([each.model_dump(mode="json") for each in described])
            return
        patients = table_of_patients(described)
        show_table(patients.title, patients.columns, patients.rows)
        return
    results = collect_results(store)
    kind = None if isinstance(asked, MeasureStage) else kind_of(asked)
    if as_json:
        rows: Sequence[FurtherResult | ValidationResult] = (
            [row for row in results.further if row.stage == stage]
            if kind is None
            else [row for row in results.validation if row.kind == kind]
        )
        show_json([row.model_dump(mode="json") for row in rows])
        return
    tables = table_for_terminal(results)
    if kind is not None:
        first = tables[0]
        show_table(first.title, first.columns, [row for row in first.rows if row[0] == kind])
    for each in tables:
        if each.title == stage:
            show_table(each.title, each.columns, each.rows)


@validation_app.command()
@command
def lock(
    run: Run,
    days: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_DAYS, help="Days that each site gathers films before it answers, then once."
        ),
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Freeze a release for prospective validation: only films acquired from now on count.

    A site answers from so many days after its acceptance on, however many patients came until then.
    """
    from server.federation.folder import Home
    from server.run.prepare import prepare
    from server.run.release import lock_run

    own = Home(home)
    store = prepare(own, run)
    made = lock_run(store, own.key(), now=datetime.now(UTC), days=days)
    facts: dict[str, object] = {"lock": made.sha256, "file for the sites": str(store.lock_file)}
    facts |= made.model_dump(mode="json")
    show_json(facts) if as_json else show_facts("", facts)


@validation_app.command()
@command
def report(
    run: Run,
    ledger: Annotated[
        list[Path] | None, typer.Option(help="A site's ledger export; repeat it.")
    ] = None,
    external: Annotated[
        list[Path] | None,
        typer.Option(help="A file that a hospital's `validate` wrote offline; repeat it."),
    ] = None,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(help="Public key, confirmed over another channel, that signed such a file."),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write report.html and report.json of a run; pooled figures go with the release."""
    from server.federation.folder import Home
    from server.report.collect import collect_results
    from server.report.page import write_report
    from server.report.summary import summarise
    from server.rounds.external import take_in
    from server.run.folder import open_run
    from shared.contract.validation_summary import write_summary

    own = Home(home)
    store = open_run(own.planned_run(run))
    for path in external or []:
        take_in(store, path, fingerprints=fingerprint or [])
    results = collect_results(store, ledgers=ledger or [])
    page, data = write_report(store.folder, results)
    write_summary(store.release_folder, summarise(results), own.key())
    facts: dict[str, object] = {"report.html": str(page), "report.json": str(data)}
    show_json(facts) if as_json else show_facts("written", facts)


@validation_app.command()
@command
def compare(
    run: Run,
    other: Annotated[str, typer.Argument(help="The run that it is compared with.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Compare the AUCs of two runs' releases, as independent figures, p-values adjusted together."""
    from server.federation.folder import Home
    from server.report.collect import collect_results
    from server.report.compare import COLUMNS, compare_runs, facts_of, rows_of, shared_sites
    from server.run.folder import open_run

    first, second = (collect_results(open_run(Home(home).planned_run(name))) for name in (run, other))
    compared = compare_runs(first, second)
    if as_json:
        show_json(facts_of(compared))
        return
    show_table(f"{run} and {other}: {first.task.endpoint}", COLUMNS, rows_of(compared))
    both = shared_sites(first, second)
    if both:
        say(
            f"{', '.join(both)} are in both runs: as far as these are the same patients, the intervals "
            "of the differences are too wide and the p-values too large"
        )


@validation_app.command()
@command
def readings(run: Run, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Components and LASSO path of second_moments, or columns kept of selection, at no price."""
    from server.federation.folder import Home
    from server.report import readings as reading
    from server.report import stability
    from server.run.folder import open_run

    store = open_run(Home(home).planned_run(run))
    trained = store.plan.trained
    if trained is None:
        raise PlanError("trains-nothing", f"run {run} trains nothing that could be read")
    found = reading.read_again(store.plan, store.stage(trained.name).last_committed().state)
    if as_json:
        show_json(reading.facts_of(found))
        return
    if found.kept:
        if found.clusters:
            show_table("public clusters", reading.CLUSTER_COLUMNS, reading.cluster_rows(found))
        show_table("columns kept", ("place", "column"), reading.kept_rows(found))
        if found.is_public_choice:
            say("chosen by what is public: nothing was asked or paid for a choice")
        if found.stability:
            table = stability.stability_rows(found.stability)
            show_table("the choice under fresh noise", stability.COLUMNS, table)
            say("draws: fresh noise of the same size on the noised total; by LASSO a score of 1 is λ")
        say("columns kept: under noise no method finds which columns a target truly follows")
        return
    show_table("principal components", reading.COMPONENT_COLUMNS, reading.component_rows(found))
    if found.path:
        show_table("LASSO path", reading.PATH_COLUMNS, reading.path_rows(found))
    say(
        "above noise: more than the noise of the matrix alone is expected to reach; what is not may be "
        "noise. Columns kept at a penalty are those that this matrix keeps, not those that matter"
    )


@validation_app.command()
@command
def countersign(
    statement: Annotated[Path, typer.Argument(help="A site's statement.json; signed in place.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Sign a site's privacy statement too, if it fits the run as this coordinator holds it."""
    from server.federation.folder import Home
    from server.run.statements import countersign_site_statement

    own = Home(home)
    signed = countersign_site_statement(own, statement)
    facts: dict[str, object] = {
        "site": signed.predicate.site,
        "run": signed.predicate.run,
        "signed by": own.key().public_hex,
        "releases stated": len(signed.predicate.releases),
        "file": str(statement),
    }
    show_json(facts) if as_json else show_facts("statement countersigned", facts)
