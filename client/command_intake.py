"""Commands that turn films and rows into cohorts, and show them. Import what they need when run."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command_options import Folder
from shared.terminal import JsonOption, command, progress, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.intake import IntakeReport

intake_app = typer.Typer()


@intake_app.command()
@command
def ingest(
    source: Annotated[
        Path | None,
        typer.Argument(help="Folder with films/ and clinical.csv, where nothing else is named."),
    ] = None,
    schema: Annotated[
        Path, typer.Option(help="Cohort schema, a YAML file.", exists=True, dir_okay=False)
    ] = Path("configs/cohort/hip_bmd.yaml"),
    films: Annotated[Path | None, typer.Option(help="Folder of DICOM files, or a DICOMDIR.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV, Parquet, or FHIR: .json, .ndjson or a folder of them.")
    ] = None,
    sql: Annotated[
        Path | None, typer.Option(help="File with a SELECT; the database is in OSTEOFED_TABLE_URL.")
    ] = None,
    url_file: Annotated[
        Path | None, typer.Option(help="The database's URL in a file for its owner only.")
    ] = None,
    dicomweb: Annotated[
        str | None, typer.Option(help="Address of a PACS's DICOMweb; OSTEOFED_DICOMWEB_LOGIN logs in.")
    ] = None,
    login_file: Annotated[
        Path | None, typer.Option(help="user:password or Bearer token, in a file for its owner only.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Who signed the PACS's certificate, a PEM file.")
    ] = None,
    dimse: Annotated[str | None, typer.Option(help="host:port of a PACS.")] = None,
    called_aet: Annotated[str, typer.Option(help="The PACS's AE title.")] = "ANY-SCP",
    calling_aet: Annotated[str, typer.Option(help="This site's AE title.")] = "OSTEOFED",
    move: Annotated[
        bool, typer.Option("--move", help="C-MOVE instead of C-GET; the PACS sends to --listen.")
    ] = False,
    listen: Annotated[str, typer.Option(help="host:port, for --move.")] = "127.0.0.1:11112",
    modality: Annotated[list[str], typer.Option(help="Asked of a PACS.")] = ["DX", "CR"],  # noqa: B006
    body_part: Annotated[list[str], typer.Option(help="Asked of a PACS; all if none.")] = [],  # noqa: B006
    first_day: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"])] = None,
    last_day: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"])] = None,
    workers: Annotated[int, typer.Option(help="Processes that read films.", min=1, max=64)] = 1,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Turn films and a clinical table into a frozen cohort; every loss has a code."""
    from client.intake import ingest as run_intake
    from client.site import open_site
    from client.sources.choose import Choice, choose_inputs
    from client.sources.staging import FilmQuery
    from shared.exam.schema import read_schema

    site, cohort_schema = open_site(folder), read_schema(schema)
    query = FilmQuery(
        modalities=tuple(name.upper() for name in modality),
        body_parts=tuple(body_part),
        first_day=first_day and first_day.date(),
        last_day=last_day and last_day.date(),
    )
    choice = Choice(
        folder=source,
        films=films,
        dicomweb=dicomweb,
        dicomweb_ca=ca,
        login_file=login_file,
        dimse=dimse,
        called_aet=called_aet,
        calling_aet=calling_aet,
        is_move=move,
        listen=listen,
        query=query,
        table=table,
        sql=sql,
        url_file=url_file,
    )
    with progress("films") as advance:
        report = run_intake(
            choose_inputs(choice, site, cohort_schema, progress=advance),
            store=site.cohorts,
            schema=cohort_schema,
            profile=site.settings.profile,
            pseudonyms=site.pseudonyms,
            linkage=site.linkage,
            clock=site.clock,
            progress=advance,
            workers=workers,
        )
    _show_intake(report, as_json=as_json)


@intake_app.command()
@command
def accrue(
    lock: Annotated[Path, typer.Argument(help="The coordinator's lock.json.")],
    source: Annotated[Path, typer.Argument(help="Folder with films/ and clinical.csv.")],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Freeze films acquired after a lock, of patients not used before."""
    from client.accrue import accrue as run_accrual
    from client.site import open_site

    with progress("films") as advance:
        report = run_accrual(open_site(folder), lock, source, progress=advance)
    _show_intake(report, as_json=as_json)


def _show_intake(report: IntakeReport, *, as_json: bool) -> None:
    if as_json:
        show_json(report.summary())
        return
    cohort = report.cohort
    state = "frozen" if report.is_new else "unchanged"
    show_facts(
        f"cohort {cohort.name} v{cohort.version}, {state}",
        {
            "films": f"{report.n_films_used} of {report.n_films_read} used",
            "rows": f"{report.n_rows_used} of {report.n_rows_read} used",
            "exams": len(cohort.exams),
            "patients": len(cohort.patients()),
            "fingerprint": cohort.fingerprint,
        },
    )
    show_facts(
        "films and rows",
        {name.replace("_", " "): number for name, number in asdict(report.links).items()},
    )
    show_table(
        "quarantined",
        ("kind", "code", "n"),
        [(count.kind, count.code, count.n) for count in report.counts],
    )


@intake_app.command()
@command
def cohort(
    name: Annotated[str, typer.Argument(help="The cohort's name.")] = "hip_bmd",
    page: Annotated[
        bool, typer.Option("--page", help="Also write a page with plots and films, for here only.")
    ] = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Show what a cohort holds, what was quarantined, why, and what to do about it."""
    from client.cohort_page import write_cohort_page
    from client.patients import current_cohort
    from client.site import open_site
    from shared.exam.quarantine import CODES, count_codes
    from shared.exam.split import SPLITS

    site = open_site(folder)
    found = current_cohort(site, name)
    counts = count_codes(found.quarantined)
    facts: dict[str, object] = {
        "version": found.version,
        "fingerprint": found.fingerprint,
        "exams": len(found.exams),
        "films": len(found.images),
        **{f"patients, {split}": len(found.patients(split)) for split in SPLITS},
    }
    if page:
        facts["page, for this hospital only"] = str(write_cohort_page(site, found))
    rows = [
        (count.kind, count.code, count.n, CODES[count.code].meaning, CODES[count.code].remedy)
        for count in counts
    ]
    if as_json:
        show_json(facts | {"quarantined": rows})
        return
    show_facts(f"cohort {found.name}", facts)
    show_table("quarantined", ("kind", "code", "n", "meaning", "remedy"), rows)
