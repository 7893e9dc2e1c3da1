"""Commands about single patients and about the end of a project. Import what they need when run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.options import By, Folder, Yes, require_yes
from shared.errors import IntakeError, LedgerError
from shared.machine.terminal import JsonOption, command, say, show_facts, show_json

if TYPE_CHECKING:
    from client.people.identity import KnownPatient
    from client.site.folder import Site

people_app = typer.Typer()


@people_app.command()
@command
def patient(
    by: By,
    pseudonym: Annotated[
        str | None, typer.Argument(help="32 digits, as on a cohort page; or use --find.")
    ] = None,
    find: Annotated[
        str | None, typer.Option("--find", help="The hospital's own number; '-' asks for it.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="Who issued the number; by default as at intake.")
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say who is behind a pseudonym, or find one by number; here only, and it is noted who asked."""
    from client.people.identity import find_patient, name_patient
    from client.site.folder import open_site

    if (pseudonym is None) == (find is None):
        raise typer.BadParameter("give a pseudonym, or --find with a number", param_hint="PSEUDONYM")
    site = open_site(folder)
    if find is not None:
        number = typer.prompt("Patient number", err=True) if find == "-" else find
        found = find_patient(site, number, by=by, issuer=issuer)
    else:
        found = name_patient(site, pseudonym or "", by=by)
    facts = _patient_facts(found) | _whereabouts(site, found)
    show_json(facts) if as_json else show_facts("patient, for this hospital only", facts)
    say("noted in log/identities.jsonl")


def _patient_facts(found: KnownPatient) -> dict[str, object]:
    identity = found.identity
    unknown = "erased: has withdrawn" if found.has_withdrawn else "not known here"
    return {
        "pseudonym": found.pseudonym,
        "patient number": identity.patient_id if identity else unknown,
        "issuer": (identity.issuer or "not named") if identity else "-",
        "withdrawn": "yes" if found.has_withdrawn else "no",
    }


def _whereabouts(site: Site, found: KnownPatient) -> dict[str, object]:
    """What is here of a person; a lost ledger stops neither a look nor a withdrawal."""
    from client.people.withdrawal import models_that_saw

    try:
        models = ", ".join(models_that_saw(site, found.pseudonym)) or "none"
    except LedgerError as error:
        models = f"not known: {error.fact}"
    return {
        "exams": found.n_exams,
        "films": found.n_films,
        "cohorts": ", ".join(found.cohorts) or "none",
        "models that learnt from the person": models,
    }


@people_app.command()
@command
def withdraw(
    by: By,
    patient_id: Annotated[
        str | None, typer.Option(help="Asked for if left out, to keep it off screens.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="Who issued the number; by default as at intake.")
    ] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete older cohort versions that hold the person.")
    ] = False,
    keep_out: Annotated[
        bool,
        typer.Option("--keep-out", help="If nobody of the number is here: keep it out should it come."),
    ] = False,
    yes: Yes = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Take a patient out of every current cohort, for good; charges stay.

    Shows what is here of the person and asks before anything is done. A number that nobody here has is
    refused, since it may be mistyped; --keep-out remembers it all the same.
    """
    from client.people.identity import find_patient
    from client.people.withdrawal import withdraw as take_out
    from client.site.folder import open_site

    site = open_site(folder)
    number = patient_id or typer.prompt("Patient number", err=True)
    found = find_patient(site, number, by=by, issuer=issuer)
    if not found.is_nobody:
        show_facts("found here of this person", _whereabouts(site, found), is_progress=True)
        require_yes(f"Does {by} take this person out for good?", is_given=yes)
    elif not keep_out:
        raise IntakeError(
            "nobody-found",
            "nobody of this number and issuer is here; nothing was done",
            hint="compare number and issuer; --keep-out keeps the number out should it come later",
        )
    done = take_out(site, number, by=by, issuer=issuer, purge=purge)
    if as_json:
        show_json({"found": not found.is_nobody, **asdict(done)})
        return
    if found.is_nobody:
        show_facts("nobody of this number was here; it is kept out from now on", {})
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


@people_app.command()
@command
def purge(by: By, yes: Yes = False, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """End the project here: delete patients' data, keep what proves the past, sign a record."""
    from client.people.purge import CAVEAT, DELETED
    from client.people.purge import purge as end_project
    from client.site.folder import open_site

    site = open_site(folder)
    say(f"deletes for good from {site.folder}: {', '.join(DELETED)}, and all identities")
    require_yes(f"Does {by} end the project at {site.name}?", is_given=yes)
    done = end_project(site, by=by)
    facts: dict[str, object] = {
        "record": str(done.record),
        "cohorts": "\n".join(done.cohorts) or "none",
        "deleted": "\n".join(done.deleted),
        "kept": "\n".join(done.kept),
        "left, to be looked after": "\n".join(done.left) or "nothing",
        "not reached": CAVEAT,
    }
    show_json(facts) if as_json else show_facts(f"project ended at {site.name}", facts)
