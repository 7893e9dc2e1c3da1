"""The hospital's command, ``osteofed-site``: every verb opens the site folder and does one thing.

Importing it loads neither torch nor pydicom, so that ``--help`` is quick.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command_options import By, Folder
from client.command_people import people_app
from client.command_plan import plan_app
from client.command_trial import trial_app
from shared.terminal import JsonOption, command, progress, say, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.intake import IntakeReport
    from client.ledger import Ledger
    from client.site import Site

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables
    help="A hospital's side of a federation. Films, rows and identities never leave its folder.",
)
ledger_app = typer.Typer(no_args_is_help=True, help="Every touch of a patient, for life.")
app.add_typer(ledger_app, name="ledger")
app.add_typer(plan_app)
app.add_typer(trial_app)
app.add_typer(people_app)


@app.command()
@command
def init(
    name: Annotated[str, typer.Argument(help="Site name: lower-case letters, digits, dashes.")],
    declared_patients: Annotated[
        int, typer.Option("--declared-patients", help="Training patients, as published; a bucket.")
    ],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make keys, a policy template, site.yaml and a join request."""
    from client.site import create_site
    from shared.exam.profile import SiteProfile

    request = create_site(folder, name=name, declared_patients=declared_patients, profile=SiteProfile())
    facts: dict[str, object] = {
        "join request": str(request),
        "edit next": f"{folder / 'site.yaml'}, {folder / 'policy.yaml'}",
    }
    show_json(facts) if as_json else show_facts(f"site {name}", facts)


@app.command()
@command
def join(
    enrolment: Annotated[Path, typer.Argument(help="The coordinator's answer.")],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Trust the coordinator named in its enrolment file."""
    from client.site import join_federation

    site = join_federation(folder, enrolment)
    facts: dict[str, object] = {"site": site.name, "coordinator key": site.coordinator_key}
    show_json(facts) if as_json else show_facts("joined", facts)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
@command
def start(
    superlink: Annotated[str, typer.Option(help="host:port of the coordinator's server.")],
    root_certificate: Annotated[Path, typer.Option(help="The federation's CA, a PEM file.")],
    auth_key: Annotated[Path, typer.Option(help="Private key of this node, a PEM file.")],
    health: Annotated[
        str,
        typer.Option(envvar="OSTEOFED_HEALTH", help="host:port that `doctor --health` may ask."),
    ] = "",
    folder: Folder = Path(),
) -> None:
    """Connect to the coordinator and answer until stopped; acts only on approved plans."""
    from client.supernode import serve

    serve(
        folder.resolve(),
        superlink=superlink,
        root_certificate=root_certificate,
        auth_key=auth_key,
        health=health,
    )


@app.command()
@command
def outbox(folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Show every message that has left, its class, its bytes and its cost."""
    from client.outbox import Outbox
    from client.site import open_site

    site = open_site(folder)
    departures = Outbox(site.folder / "outbox", site.folder / "replies").show()
    if as_json:
        show_json([asdict(departure) for departure in departures])
        return
    show_table(
        f"what has left {site.name}",
        ("utc", "channel", "class", "bytes", "epsilon", "sha256"),
        [
            (
                departure.utc[:19],
                departure.channel,
                departure.release_class,
                departure.n_bytes,
                departure.epsilon,
                departure.payload_sha256[:12],
            )
            for departure in departures
        ],
    )


@ledger_app.command("show")
@command
def ledger_show(folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Show every row, and what the dearest patient has spent and has left."""
    site, ledger = _open_ledger(folder)
    rows = ledger.show()
    budget = ledger.budget_of_everybody(allowance=site.policy.allowance)
    if as_json:
        show_json({"rows": [asdict(row) for row in rows], "budget": asdict(budget)})
        return
    show_table(
        f"ledger of {site.name}",
        ("row", "utc", "kind", "purpose", "run", "round", "class", "noise", "steps", "outcome"),
        [
            (
                row.index,
                row.utc[:19],
                row.kind,
                row.purpose,
                row.run,
                row.round,
                row.charge_class,
                row.noise_multiplier,
                row.steps,
                row.status,
            )
            for row in rows
        ],
    )
    show_facts(
        "the dearest patient, for life (unit: patient, add/remove adjacency)",
        {
            "epsilon spent": budget.epsilon_spent,
            "epsilon left": budget.epsilon_left,
            "delta": f"{budget.delta:g}",
            "charges without a formal guarantee": budget.n_unprotected,
        },
    )


@ledger_app.command("verify")
@command
def ledger_verify(folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Check every row, link, signature and countersignature."""
    site, ledger = _open_ledger(folder)
    head = ledger.verify()
    facts: dict[str, object] = {"rows": head.index + 1, "head": head.sha256, "verdict": "intact"}
    show_json(facts) if as_json else show_facts(f"ledger of {site.name}", facts)


@ledger_app.command("export")
@command
def ledger_export(
    path: Annotated[Path, typer.Argument(help="File to write.")],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write rows and countersignatures for an auditor; member lists stay."""
    from client.export import export_ledger

    site, ledger = _open_ledger(folder)
    export_ledger(site, ledger, path)
    facts: dict[str, object] = {"site": site.name, "written": str(path)}
    show_json(facts) if as_json else show_facts("ledger exported", facts)


@app.command()
@command
def statement(
    run: Annotated[str, typer.Argument(help="The run's name, or its plan's hash.")],
    out: Annotated[Path, typer.Option(help="File to write; the readable page lies beside it.")] = Path(
        "statement.json"
    ),
    findings: Annotated[
        list[Path] | None, typer.Option(help="An audit's findings to repeat in it.", exists=True)
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Sign what was promised in a run, how, what left and at what cost, to be verified offline."""
    from client.site import open_site
    from client.statement import state_run

    predicate = state_run(open_site(folder), run, out, findings=findings or []).predicate
    if as_json:
        show_json(predicate.model_dump(mode="json") | {"written": str(out)})
        return
    facts: dict[str, object] = {
        "guarantee": predicate.guarantee,
        "run epsilon": predicate.cost.run_epsilon,
        "lifetime epsilon": predicate.lifetime.epsilon,
        "unit, adjacency, delta": f"patient, add/remove, {predicate.cost.delta:g}",
        "signed": str(out),
        "to read": str(out.with_suffix(".txt")),
    }
    show_facts(f"privacy statement of {predicate.site}, run {predicate.run}", facts)


@app.command()
@command
def register(
    run: Annotated[str, typer.Argument(help="The run's name, or its plan's hash.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("register.npz"),
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a run's audit register for an auditor: canaries, coins and their noised sums."""
    from client.register import export_register
    from client.statement import find_plan

    site, ledger = _open_ledger(folder)
    record = export_register(site, find_plan(site, ledger.show(), run), out)
    facts: dict[str, object] = {
        "site": site.name,
        "canaries": record.coins.size,
        "steps": len(record.rounds),
        "commitment": record.commitment,
        "written": str(out),
    }
    show_json(facts) if as_json else show_facts("audit register exported", facts)


@app.command("rotate-key")
@command
def rotate_key(by: By, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Replace the signing key; every approval ends, and the coordinator needs the notice."""
    from client.key_rotation import rotate_key as replace_key
    from client.site import open_site

    site = open_site(folder)
    rotation, notice = replace_key(site, by=by)
    facts: dict[str, object] = {
        "site": site.name,
        "old key": rotation.old_key,
        "new key": rotation.new_key,
        "notice for the coordinator": str(notice),
    }
    show_json(facts) if as_json else show_facts("signing key replaced", facts)


@app.command()
@command
def withdraw(
    by: By,
    patient_id: Annotated[
        str,
        typer.Option(prompt="Patient number", help="Asked for if left out, to keep it off screens."),
    ],
    issuer: Annotated[
        str | None, typer.Option(help="Who issued the number; by default as at intake.")
    ] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete older cohort versions that hold the person.")
    ] = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Take a patient out of every current cohort, for good; charges stay."""
    from client.site import open_site
    from client.withdrawal import withdraw as take_out

    done = take_out(open_site(folder), patient_id, by=by, issuer=issuer, purge=purge)
    if as_json:
        show_json(asdict(done))
        return
    facts: dict[str, object] = {
        "exams taken out": done.n_exams,
        "films taken out": done.n_films,
        "cohorts written without the person": ", ".join(done.written) or "none held the person",
        "older versions that still do": ", ".join(done.kept) or "none",
        "versions purged": ", ".join(done.purged) or "none",
        "models that learnt from the person": ", ".join(done.models) or "none",
    }
    show_facts("withdrawn; the number is kept out from now on", facts)
    if not (done.written or done.kept or done.purged):
        say("nobody of this number was in a cohort: check number and issuer")


@app.command()
@command
def predict(
    release: Annotated[Path, typer.Argument(help="A release's folder.", exists=True, file_okay=False)],
    films: Annotated[
        list[Path], typer.Argument(help="DICOM files of one exam.", exists=True, dir_okay=False)
    ],
    value: Annotated[
        list[str] | None, typer.Option("--value", "-v", help="A clinical value, name=value.")
    ] = None,
    heat_map: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("heat-map.png"),
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Read one exam with a release, here; nothing leaves. Not a medical device."""
    from client.predict import predict as read_exam
    from client.site import open_site
    from shared.release import read_release
    from shared.report.heat_map import write_heat_maps

    site = open_site(folder)
    pairs = [item.partition("=") for item in value or []]
    reading = read_exam(
        site,
        read_release(release, coordinator_key=site.coordinator_key),
        films,
        {name: text for name, _, text in pairs},
    )
    facts = reading.facts()
    if reading.films:
        caption = ", ".join(f"{name} {text}" for name, text in facts.items())
        write_heat_maps(heat_map, reading.films, reading.heat_maps, caption=caption, unit=reading.unit)
    if as_json:
        figures = {"value": reading.value, "unit": reading.unit, "t_score": reading.t_score}
        written = str(heat_map) if reading.films else None
        show_json(figures | {"class": reading.class_name, "heat_map": written})
        return
    show_facts("reading, not a diagnosis", facts)
    if reading.films:
        show_facts("", {"heat map": heat_map})


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


def _open_ledger(folder: Path) -> tuple[Site, Ledger]:
    from client.ledger import Ledger
    from client.site import open_site

    site = open_site(folder)
    return site, Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
