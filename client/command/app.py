"""The hospital's command, ``osteofed-site``: every verb opens the site folder and does one thing.

Importing it loads neither torch nor pydicom, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from client.command.intake import intake_app
from client.command.ledger import gate_app
from client.command.options import Folder, require_yes
from client.command.people import people_app
from client.command.plan import plan_app
from client.command.reading import reading_app
from client.command.trial import trial_app
from shared.machine.terminal import JsonOption, command, say, show_facts, show_json

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables
    help="A hospital's side of a federation. Films, rows and identities never leave its folder.",
)


@app.callback()
def close_to_others() -> None:
    """Let nobody but this user read what any verb, or a program that it starts, writes."""
    os.umask(0o077)


app.add_typer(intake_app)
app.add_typer(plan_app)
app.add_typer(trial_app)
app.add_typer(people_app)
app.add_typer(gate_app)
app.add_typer(reading_app)


DeclaredPatients = Annotated[
    int,
    typer.Option(
        "--declared-patients", help="Training patients, as published: a bucket of the public list."
    ),
]


@app.command()
@command
def init(
    name: Annotated[str, typer.Argument(help="Site name: lower-case letters, digits, dashes.")],
    declared_patients: DeclaredPatients,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make keys, a policy template, site.yaml and a join request."""
    from client.site.declared import require_bucket
    from client.site.folder import create_site, open_site
    from client.site.profile import SiteProfile
    from shared.signing.keys import spoken

    require_bucket(declared_patients)
    request = create_site(folder, name=name, declared_patients=declared_patients, profile=SiteProfile())
    facts: dict[str, object] = {
        "join request": str(request),
        "this site's key, by voice": spoken(open_site(folder).key.public_hex),
        "edit next": f"{folder / 'site.yaml'}, {folder / 'policy.yaml'}",
    }
    show_json(facts) if as_json else show_facts(f"site {name}", facts)


@app.command()
@command
def declare(
    declared_patients: DeclaredPatients,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Publish another size: write a new join request; approved plans of the former size end."""
    from client.site.declared import require_bucket
    from client.site.folder import declare_size, open_site

    require_bucket(declared_patients)
    request = declare_size(folder, declared_patients)
    facts: dict[str, object] = {
        "declared patients": declared_patients,
        "join request": str(request),
        "next": "the coordinator takes it with `enrol`, without `revoke`, and writes a new plan",
    }
    show_json(facts) if as_json else show_facts(f"site {open_site(folder).name}", facts)


@app.command()
@command
def join(
    enrolment: Annotated[Path, typer.Argument(help="The coordinator's answer.")],
    coordinator_key: Annotated[
        str | None,
        typer.Option(
            "--coordinator-key",
            help="The coordinator's public key, or its first 16 digits or more, as told over another "
            "channel; shown and asked for at the terminal where it is left out.",
        ),
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Trust the coordinator named in its enrolment file, after its key was compared."""
    from client.site.enrolment import enrolled_key
    from client.site.folder import join_federation, open_site
    from shared.signing.keys import require_same_key, spoken

    key = enrolled_key(enrolment, site=open_site(folder).name)
    if coordinator_key is None:
        say(f"the coordinator's key in {enrolment.name} is {key}, by voice {spoken(key)}")
        require_yes("Is it the key that the coordinator told over another channel?", is_given=False)
    else:
        require_same_key(key, told=coordinator_key, file=enrolment.name)
    site = join_federation(folder, enrolment)
    facts: dict[str, object] = {"site": site.name, "coordinator key": site.coordinator_key}
    show_json(facts) if as_json else show_facts("joined", facts)


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
    from client.doctor.connection import (
        Coordinator,
        ending_certificates,
        require_valid_certificate,
    )
    from client.node.supernode import serve, warn_daily

    coordinator = Coordinator(superlink=superlink, root_certificate=root_certificate)
    require_valid_certificate(coordinator)
    warn_daily(lambda: ending_certificates(coordinator))
    serve(
        folder.resolve(),
        superlink=superlink,
        root_certificate=root_certificate,
        auth_key=auth_key,
        health=health,
    )
