"""Commands about who is in the federation: key, enrolment, and the server that sites reach."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.command.options import HOME, HomeOption, Role, Run
from shared.errors import PlanError
from shared.machine.terminal import (
    JsonOption,
    command,
    say,
    show_facts,
    show_json,
    show_lines,
    show_table,
)

if TYPE_CHECKING:
    from server.federation.folder import Home
    from server.federation.join_request import JoinRequest

federation_app = typer.Typer()


@federation_app.command()
@command
def init(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Make the coordinator's folder and signing key; an existing one is kept."""
    from server.federation.folder import create_home
    from shared.signing.keys import spoken

    made = create_home(home)
    key = made.key().public_hex
    facts: dict[str, object] = {"home": str(made.folder), "public key": key, "by voice": spoken(key)}
    show_json(facts) if as_json else show_facts("coordinator", facts)


@federation_app.command()
@command
def enrol(
    request: Annotated[Path, typer.Argument(help="A site's join-request.json.")],
    role: Annotated[Role, typer.Option(help="training or external.")] = "training",
    site_key: Annotated[
        str | None,
        typer.Option(
            "--site-key",
            help="The site's public key, or its first 16 digits or more, as told over another channel; "
            "asked for at the terminal where it is left out.",
        ),
    ] = None,
    optional: Annotated[bool, typer.Option(help="A run may start without this site.")] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Enter a site's key into the federation, once it was compared; hand the written file to the site.

    A `serve` that runs lets the site in at once; the others are not touched.
    """
    from server.federation.folder import Home
    from server.federation.folder import enrol as enter
    from shared.signing.keys import spoken

    own = Home(home)
    answer = enter(
        own,
        request,
        role=role,
        is_required=not optional,
        now=datetime.now(UTC),
        compare=lambda asked: _compare(request.name, asked, told=site_key),
    )
    site = next(entry for entry in own.active_sites() if entry.site == answer.stem)
    facts: dict[str, object] = {
        "give to the site": str(answer),
        "role": site.role,
        "the site's key, by voice": spoken(site.public_key),
        "server": _followed(own),
    }
    show_json(facts) if as_json else show_facts(f"enrolled: {site.site}", facts)


def _compare(file: str, request: JoinRequest, *, told: str | None) -> None:
    """Go on only if a request's key is the one that its site reads out; it is not shown before.

    Raises:
        PlanError: nobody has told one, too little of it, or another.
    """
    from shared.signing.keys import require_same_key

    say(f"{request.site} asks to be enrolled, with {request.declared_patients} declared patients")
    try:
        typed = told or typer.prompt(
            f"Type the key that {request.site} reads out by telephone, four groups or more",
            default="",
            show_default=False,
            err=True,
        )
    except typer.Abort:  # nobody to ask
        typed = ""
    if not typed:
        raise PlanError(
            "uncompared-key",
            f"{request.site} was not enrolled: nobody told its key",
            hint="`osteofed-site init` and `doctor` show it there; type it, or add --site-key KEY",
        )
    require_same_key(request.public_key, told=typed, file=file)


@federation_app.command("accept-key")
@command
def accept_key(
    notice: Annotated[Path, typer.Argument(help="What `rotate-key` or `rotate-node-key` wrote.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Replace a site's enrolled key by the one it has rotated to: a signing key, or its node key.

    After a signing key write a new plan; after a node key a `serve` that runs lets in the new one only.
    """
    from server.federation.folder import Home, accept_node_key
    from server.federation.folder import accept_key as enter
    from shared.signing.node_notice import is_node_notice

    own = Home(home)
    if is_node_notice(notice):
        node = accept_node_key(own, notice)
        told: dict[str, object] = {
            "site": node.site,
            "node key": node.node_key,
            "server": _followed(own),
        }
        show_json(told) if as_json else show_facts("node key replaced", told)
        return
    rotation = enter(own, notice)
    facts: dict[str, object] = {
        "site": rotation.site,
        "former key": rotation.old_key,
        "key": rotation.new_key,
    }
    show_json(facts) if as_json else show_facts("key replaced", facts)


@federation_app.command()
@command
def revoke(
    site: Annotated[str, typer.Argument(help="Name of the site.")],
    stop_runs: Annotated[
        bool, typer.Option("--stop-runs", help="Pause runs with it too; else they go on without it.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Close one site's membership for good, in every run too; the others are not touched.

    A `serve` that runs refuses the site from its next call on; under these keys it cannot come back.
    """
    from server.federation.folder import Home, require_active
    from server.federation.folder import revoke as close
    from server.run.revoked import drop_from_runs

    own, now = Home(home), datetime.now(UTC)
    require_active(own, site)
    runs = drop_from_runs(own, site, now=now, stops=stop_runs)  # first, while its key is known
    close(own, site, now=now)
    facts: dict[str, object] = {
        "revoked": site,
        "server": _followed(own),
        "runs": ", ".join(runs) or "none",
    }
    if runs:
        facts["they"] = "stop before their next round" if stop_runs else "go on without it"
    show_json(facts) if as_json else show_facts("revoked", facts)


def _followed(home: Home) -> str:
    """What a change of the registry has come to at the SuperLink, in words."""
    from server.engines.superlink import await_nodes

    if await_nodes(home.folder, home.node_keys()):
        return "the one that runs has followed"
    return (
        "none runs on this machine; one that runs or starts elsewhere for this home follows by itself"
    )


@federation_app.command("drop-site")
@command
def drop_site(
    run: Run,
    site: Annotated[str, typer.Argument(help="Name of a site on the run's roster.")],
    reason: Annotated[str, typer.Option(help="One line; release and report print it.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run without one of its sites: a signed amendment, which is not taken back."""
    from server.federation.folder import Home
    from server.run.amendments import drop_site as drop
    from server.run.folder import open_run

    own = Home(home)
    made = drop(
        open_run(own.planned_run(run)), site, reason=reason, key=own.key(), now=datetime.now(UTC)
    )
    facts: dict[str, object] = {"run": run, **made.model_dump(mode="json", exclude={"version"})}
    show_json(facts) if as_json else show_facts("dropped", facts)


@federation_app.command()
@command
def sites(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the federation's sites."""
    from server.federation.folder import Home

    found = Home(home).sites()
    if as_json:
        show_json([site.model_dump() for site in found])
        return
    show_table(
        "sites",
        ("site", "role", "required", "declared patients", "enrolled", "revoked"),
        [
            (
                site.site,
                site.role,
                "yes" if site.is_required else "no",
                site.declared_patients,
                site.enrolled_utc[:10],
                (site.revoked_utc or "")[:10],
            )
            for site in found
        ],
    )


@federation_app.command()
@command
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9092,
    name: Annotated[
        list[str] | None, typer.Option(help="A further name or address in the certificate.")
    ] = None,
    health: Annotated[
        str,
        typer.Option(help="host:port that answers gRPC health checks (grpc.health.v1); '' for none."),
    ] = "127.0.0.1:9095",
    home: HomeOption = HOME,
) -> None:
    """Run the SuperLink (TLS, node keys, SQLite) for hospitals to connect to, until stopped.

    Other machines reach the sites' interface and `/health` only, whatever the address.
    """
    from server.engines.superlink import serve as run_superlink
    from server.federation.folder import Home

    own = Home(home)
    own.key()
    say(f"serving on {host}:{port}; certificates in {home / 'deployment' / 'certificates'}")
    say(
        "whoever has an account on this machine can submit runs here: Flower asks them for no key. "
        "Hospitals answer approved plans alone, and a stranger's runs can delay or stop yours"
    )
    run_superlink(
        home,
        host=host,
        port=port,
        names=name or [],
        node_keys=own.node_keys,
        warn=lambda: say_what_ends(own),
        health=health,
    )


@federation_app.command()
@command
def doctor(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Say whether hospitals can reach this coordinator, until when, and the remedy; changes nothing."""
    from server.engines.doctor import examine
    from server.federation.folder import Home
    from shared.machine.line import is_well, lines_as_json

    lines = examine(Home(home), now=datetime.now(UTC))
    show_json(lines_as_json(lines)) if as_json else show_lines("doctor", lines)
    if not is_well(lines):
        raise typer.Exit(1)


@federation_app.command("renew-certificate")
@command
def renew_certificate(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Issue the server's certificate anew, under a new key, for the names it has.

    A `serve` that runs shows it within seconds; runs go on, and sites have nothing to do.
    """
    from server.engines.superlink import Deployment
    from server.federation.certificates import renew_server_certificate

    renewed = renew_server_certificate(Deployment(home).authority.parent, now=datetime.now(UTC))
    facts: dict[str, object] = {
        "certificate": str(renewed.certificate),
        "ends": f"{renewed.expires:%Y-%m-%d}",
    }
    show_json(facts) if as_json else show_facts("renewed; restart a door before the server", facts)


def say_what_ends(home: Home) -> None:
    """Name on stderr every certificate that has less than 60 days left."""
    from server.engines.doctor import certificate_lines

    for line in certificate_lines(home, now=datetime.now(UTC)):
        if line.state in ("attention", "problem"):
            say(f"{line.name}: {line.fact}; {line.remedy}")
