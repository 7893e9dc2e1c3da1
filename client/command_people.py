"""Commands about single patients and about the end of a project. Import what they need when run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command_options import By, Folder, Yes, require_yes
from shared.terminal import JsonOption, command, say, show_facts, show_json

if TYPE_CHECKING:
    from client.identity import KnownPatient

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
    from client.identity import find_patient, name_patient
    from client.site import open_site

    if (pseudonym is None) == (find is None):
        raise typer.BadParameter("give a pseudonym, or --find with a number", param_hint="PSEUDONYM")
    site = open_site(folder)
    if find is not None:
        number = typer.prompt("Patient number", err=True) if find == "-" else find
        found = find_patient(site, number, by=by, issuer=issuer)
    else:
        found = name_patient(site, pseudonym or "", by=by)
    facts = _patient_facts(found)
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
        "cohorts": ", ".join(found.cohorts) or "none",
        "models that learnt from the person": ", ".join(found.models) or "none",
    }


@people_app.command()
@command
def purge(by: By, yes: Yes = False, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """End the project here: delete patients' data, keep what proves the past, sign a record."""
    from client.purge import CAVEAT, DELETED
    from client.purge import purge as end_project
    from client.site import open_site

    site = open_site(folder)
    say(f"deletes for good from {site.folder}: {', '.join(DELETED)}, and all identities")
    require_yes(f"Does {by} end the project at {site.name}?", is_given=yes)
    done = end_project(site, by=by)
    facts: dict[str, object] = {
        "record": str(done.record),
        "cohorts": "\n".join(done.cohorts) or "none",
        "deleted": "\n".join(done.deleted),
        "kept": "\n".join(done.kept),
        "not known to this program, left": ", ".join(done.left) or "nothing",
        "not reached": CAVEAT,
    }
    show_json(facts) if as_json else show_facts(f"project ended at {site.name}", facts)
