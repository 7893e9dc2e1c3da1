"""Commands that turn films and rows into cohorts, and show them. Import what they need when run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.options import By, Folder, Yes, require_yes
from client.command.sources import takes_sources
from shared.errors import IntakeError, SettingsError
from shared.machine.files import PROJECT
from shared.machine.terminal import (
    JsonOption,
    command,
    progress,
    say,
    show_facts,
    show_json,
    show_table,
    when_stopped,
)

if TYPE_CHECKING:
    from client.cohort.folder import Cohort
    from client.cohort.quarantine import Quarantined
    from client.cohort_page.quarantine import QuarantineGroup
    from client.intake.found_words import FoundWord
    from client.intake.ingest import IntakeReport
    from client.intake.sources.choose import Choice
    from client.site.folder import Site
    from shared.contract.stages import PatientGroup
    from shared.exam.schema import CohortSchema

intake_app = typer.Typer()
# Beside the packages, in a checkout and where OsteoFed is installed.
SCHEMAS = PROJECT / "configs" / "cohort"
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that read films; as many as cores that it may use, if not said.", min=1, max=64
    ),
]
AllowFewer = Annotated[
    bool,
    typer.Option("--allow-fewer", help="Exams or films of the version before may be missing."),
]
_GOES_ON = (
    "no cohort was changed; films that were read or fetched are kept, and the same command goes on"
)
_LINKS = {
    "exams": "exams, a row with its films",
    "films_of_nobody": "films whose patient has no row",
    "films_too_far": "films without a row near enough in time",
    "rows_only": "rows without a usable film",
    "several_rows": "exams with several rows near enough",
    "shared_rows": "exams whose row serves another date too",
}
_FRAMED = "films of the cohort, how they became images"
_CHANGES = {
    "added": "new",
    "changed": "with other values, or more films",
    "unchanged": "unchanged",
    "fewer_films": "with fewer films",
    "missing": "missing",
    "left_out": "left out: withdrawn, or excluded by the lock",
}


LockFile = Annotated[Path, typer.Argument(help="The coordinator's lock.json.")]


@intake_app.command()
@command
@when_stopped(_GOES_ON)
@takes_sources
def ingest(
    choice: Choice,
    schema: Annotated[
        str,
        typer.Option(
            help="Cohort schema: a YAML file, a coordinator's plan.json, or the name of a shipped one."
        ),
    ] = "hip_bmd",
    workers: Workers = None,
    allow_fewer: AllowFewer = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Turn films and a clinical table into a frozen cohort; every loss has a code."""
    from client.intake.ingest import ingest as run_intake
    from client.intake.ingest import intake_site
    from client.intake.sources.choose import choose_inputs
    from client.intake.workers import usable_cores
    from client.site.folder import open_site

    site = open_site(folder)
    found = find_schema(schema, site)
    with _explained(site, found.name, as_json=as_json), progress("films") as advance:
        report = run_intake(
            choose_inputs(choice, site, found, progress=advance),
            intake_site(site),
            schema=found,
            progress=advance,
            workers=workers or usable_cores(),
            allows_fewer=allow_fewer,
        )
    _finish(site, report, as_json=as_json)


@intake_app.command("accept-lock")
@command
def accept_lock(
    lock: LockFile,
    by: By,
    yes: Yes = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Accept a lock in a person's name: exams acquired after today can be measured prospectively."""
    from client.intake.accrue import accept_lock as run_acceptance
    from client.intake.accrue import answered_from, cut_of
    from client.site.folder import open_site

    site = open_site(folder)
    require_yes(f"Does {by} accept {lock.name}, from today on?", is_given=yes)
    accepted = run_acceptance(site, lock, by=by)
    facts: dict[str, object] = {
        "lock": accepted.sha256,
        "release": accepted.release_sha256,
        "locked": accepted.locked_utc.isoformat(),
        "counts what is acquired after": cut_of(site, accepted).date().isoformat(),
        "answers from": answered_from(site, accepted).isoformat(),
    }
    show_json(facts) if as_json else show_facts(f"accepted by {by}", facts)


@intake_app.command()
@command
@when_stopped(_GOES_ON)
@takes_sources
def accrue(
    choice: Choice,
    lock: LockFile,
    workers: Workers = None,
    allow_fewer: AllowFewer = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Freeze films acquired after a lock was accepted, of patients not used before."""
    from client.cohort.versions import prospective_name
    from client.intake.accrue import accrue as run_accrual
    from client.intake.accrue import locked_schema
    from client.intake.sources.choose import choose_inputs
    from client.intake.workers import usable_cores
    from client.site.folder import open_site
    from shared.contract.release import read_lock

    site = open_site(folder)
    accepted = read_lock(lock, coordinator_key=site.coordinator_key)
    schema = locked_schema(site, accepted)
    name = prospective_name(schema.name, accepted.sha256)
    with _explained(site, name, as_json=as_json), progress("films") as advance:
        report = run_accrual(
            site,
            accepted,
            choose_inputs(choice, site, schema, progress=advance),
            progress=advance,
            workers=workers or usable_cores(),
            allows_fewer=allow_fewer,
        )
    _finish(site, report, as_json=as_json)


@intake_app.command()
@command
def cohort(
    name: Annotated[str, typer.Argument(help="The cohort's name.")] = "hip_bmd",
    page: Annotated[
        bool, typer.Option("--page", help="Also write a page with plots and films, for here only.")
    ] = False,
    examples: Annotated[
        bool,
        typer.Option("--examples", help="Also name some files and rows, which may name patients."),
    ] = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Show what a cohort holds, what was quarantined, why, and what to do about it.

    Also the words of the films of the latest intake, and what they were read as. The quarantine of an
    intake that was refused is shown too, until one comes through.
    """
    from client.cohort.folder import latest_version
    from client.cohort.framing import count_framing, framing_in_words
    from client.cohort.versions import current_cohort
    from client.cohort_page.page import write_cohort_page
    from client.intake.found_words import read_words
    from client.intake.refusal import read_refused
    from client.site.folder import open_site

    site = open_site(folder)
    refused = read_refused(site.cohorts / name)
    words = read_words(site.cohorts / name)
    is_frozen = latest_version(site.cohorts, name) > 0
    found = current_cohort(site, name) if is_frozen or refused is None else None
    facts: dict[str, object] = _describe(found) if found else {"version": None}
    if page and found:
        facts["page, for this hospital only"] = str(write_cohort_page(site, found))
    frozen = _group(site, found.quarantined if found else ())
    late = _group(site, refused.quarantined if refused else ())
    at = f"{refused.refused_utc:%Y-%m-%d %H:%M UTC}" if refused else ""
    if as_json:
        refusal = {"utc": at, "quarantined": _as_json(late, examples=examples)} if refused else None
        quarantined = _as_json(frozen, examples=examples)
        found_words = [asdict(word) for word in words]
        framed = count_framing(found) if found else {}
        told = {"quarantined": quarantined, "refused_intake": refusal, "film_words": found_words}
        show_json(facts | told | {"films_framed": framed})
        return
    show_facts(f"cohort {name}", facts)
    if found and found.schema.views:
        show_facts(_FRAMED, framing_in_words(found))
    _show_groups("quarantined", frozen, examples=examples)
    if page and not found:
        say("there is no page: no intake has come through yet")
    if refused:
        say(f"the latest intake was refused at {at}")
        _show_groups("refused intake", late, examples=examples)
    _show_words(words)


def find_schema(named: str, site: Site) -> CohortSchema:
    """A schema that comes with OsteoFed, by name, any from a file, or the one of a plan.

    Raises:
        PlanError: a JSON file is not a plan, or not of the coordinator that the site joined.
        SettingsError: there is none, or it is not valid.
    """
    from shared.contract.plan import read_plan
    from shared.exam.schema import read_schema

    shipped = sorted(path.stem for path in SCHEMAS.glob("*.yaml"))
    path = SCHEMAS / f"{named}.yaml" if named in shipped else Path(named)
    if not path.is_file():
        raise SettingsError(
            "no-schema",
            f"a cohort schema must be a YAML file, a plan or one of {', '.join(shipped)}, not {named}",
            hint="give --schema the path of your file, or one of these names",
        )
    if path.suffix == ".json":
        return read_plan(path, coordinator_key=site.settings.coordinator_key).settings.cohort
    return read_schema(path)


@contextmanager
def _explained(site: Site, name: str, *, as_json: bool) -> Iterator[None]:
    """Show the quarantine together with the refusal of a whole intake."""
    from client.intake.found_words import read_words
    from client.intake.refusal import REFUSALS, read_refused

    try:
        yield
    except IntakeError as error:
        refused = read_refused(site.cohorts / name) if error.code in REFUSALS else None
        if refused is None:
            raise
        groups = _group(site, refused.quarantined)
        if not as_json:
            _show_groups("quarantined", groups, examples=False)
            _show_words(read_words(site.cohorts / name))
            raise
        told = {"error": error.code, "fact": error.fact, "hint": error.hint}
        show_json(told | {"quarantined": _as_json(groups, examples=False)})
        raise typer.Exit(1) from None


def _finish(site: Site, report: IntakeReport, *, as_json: bool) -> None:
    """Let go of what a PACS sent, to this intake or one before it, and show what became of it all."""
    from client.intake.sources.choose import discard_staged

    is_discarded = discard_staged(site, report.cohort.schema)
    larger = larger_size(site, report.cohort)
    if as_json:
        told = {"fetched_films_deleted": is_discarded, "size_to_declare": larger}
        show_json(report.summary() | told)
        return
    _show_intake(site, report)
    if larger is not None:
        say(
            "a split has more patients than the declared size has places for, and no round will be "
            f"answered: publish {larger} by `osteofed-site declare --declared-patients {larger}`"
        )
    if is_discarded:
        say("the films that the PACS sent were deleted here; the cohort keeps its small images")


def larger_size(site: Site, cohort: Cohort) -> int | None:
    """The size that a site must publish for its cohort to have places; None where it has."""
    from client.site.declared import bucket_for, exceeds

    rule, declared = cohort.schema.split, site.settings.declared_patients
    sizes: dict[PatientGroup, int] = {
        "train": len(cohort.patients("train")),
        "internal": len(cohort.patients("internal")),
        "everybody": len(cohort.patients()),
    }
    is_over = exceeds(sizes, rule, declared_patients=declared)
    return bucket_for(sizes, rule) if is_over else None


def _show_intake(site: Site, report: IntakeReport) -> None:
    from client.cohort.framing import framing_in_words

    cohort = report.cohort
    state = "frozen" if report.is_new else "unchanged"
    films: dict[str, object] = {}
    if cohort.schema.views:
        derived = [word for word in report.words if word.attribute == "ImageType"]
        films = {
            "films": f"{report.n_films_used} of {report.n_films_read} used",
            "films, derived": f"{sum(word.n_taken for word in derived)} of "
            f"{sum(word.n_films for word in derived)} show a view of the schema",
        }
    show_facts(
        f"cohort {cohort.name} v{cohort.version}, {state}",
        films
        | {
            "rows": f"{report.n_rows_used} of {report.n_rows_read} used",
            "exams": len(cohort.exams),
            "patients": len(cohort.patients()),
            "patients lost": _in_words(report.losses.by_code),
            "fingerprint": cohort.fingerprint,
        },
    )
    if report.is_new and cohort.version > 1:
        changes = asdict(report.changes)
        show_facts(
            f"exams, against v{cohort.version - 1}",
            {words: changes[each] for each, words in _CHANGES.items()},
        )
    links = asdict(report.links)
    if cohort.schema.views:
        show_facts("films and rows", {words: links[each] for each, words in _LINKS.items()})
        show_facts(_FRAMED, framing_in_words(cohort))
    _show_groups("quarantined", _group(site, cohort.quarantined), examples=False)
    _show_words(report.words)


def _in_words(by_code: Mapping[str, int]) -> str:
    causes = ", ".join(f"{code} {n}" for code, n in by_code.items())
    return f"{sum(by_code.values())}: {causes}" if causes else "0"


def _show_words(words: Sequence[FoundWord]) -> None:
    """What films said about themselves; a word that is read as nothing is one to map."""
    rows = [
        (
            word.attribute,
            word.text or "(empty)",
            ", ".join(word.terms) or "?",
            word.n_films,
            word.n_taken,
        )
        for word in words
    ]
    if rows:
        columns = ("attribute", "word", "read as", "films", "show a view")
        show_table("words of the films", columns, rows)


def _describe(found: Cohort) -> dict[str, object]:
    from client.cohort.split import SPLITS

    return {
        "version": found.version,
        "fingerprint": found.fingerprint,
        "exams": len(found.exams),
        "films": len(found.images),
        **{f"patients, {split}": len(found.patients(split)) for split in SPLITS},
    }


def _group(site: Site, entries: Sequence[Quarantined]) -> list[QuarantineGroup]:
    from client.cohort_page.quarantine import group_quarantine

    return group_quarantine(entries, site.linkage)


def _as_json(groups: Sequence[QuarantineGroup], *, examples: bool) -> list[dict[str, object]]:
    left_out = () if examples else ("examples",)
    return [
        {"group": group.title}
        | {name: value for name, value in asdict(row).items() if name not in left_out}
        for group in groups
        for row in group.rows
    ]


def _show_groups(title: str, groups: Sequence[QuarantineGroup], *, examples: bool) -> None:
    for group in groups:
        has_fields = any(row.fields for row in group.rows)
        columns = ("kind", "code", "n", *(("of field",) if has_fields else ()), "meaning", "remedy")
        rows = [
            (row.kind, row.code, row.n)
            + ((row.fields,) if has_fields else ())
            + (row.meaning, row.remedy)
            + (("\n".join(row.examples),) if examples else ())
            for row in group.rows
        ]
        columns += ("for example",) if examples else ()
        if rows:
            show_table(f"{title}: {group.title.lower()}, {group.n}", columns, rows)
