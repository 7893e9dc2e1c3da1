"""Commands about who is in the federation: key, enrolment, and the server that sites reach."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from server.command.options import HOME, HomeOption, Role
from shared.machine.terminal import (
    JsonOption,
    command,
    say,
    show_facts,
    show_json,
    show_table,
)

federation_app = typer.Typer()


@federation_app.command()
@command
def init(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Make the coordinator's folder and signing key; an existing one is kept."""
    from server.federation.folder import create_home

    made = create_home(home)
    facts: dict[str, object] = {"home": str(made.folder), "public key": made.key().public_hex}
    show_json(facts) if as_json else show_facts("coordinator", facts)


@federation_app.command()
@command
def enrol(
    request: Annotated[Path, typer.Argument(help="A site's join-request.json.")],
    role: Annotated[Role, typer.Option(help="training or external.")] = "training",
    optional: Annotated[bool, typer.Option(help="A run may start without this site.")] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Enter a site's key into the federation; hand the written file back to the site."""
    from server.federation.folder import Home
    from server.federation.folder import enrol as enter

    answer = enter(Home(home), request, role=role, is_required=not optional, now=datetime.now(UTC))
    facts: dict[str, object] = {"give to the site": str(answer), "role": role}
    show_json(facts) if as_json else show_facts("enrolled", facts)


@federation_app.command("accept-key")
@command
def accept_key(
    notice: Annotated[Path, typer.Argument(help="What `rotate-key` or `rotate-node-key` wrote.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Replace a site's enrolled key by the one it has rotated to: a signing key, or its node key.

    After a signing key write a new plan; after a node key start `serve` again.
    """
    from server.federation.folder import Home, accept_node_key
    from server.federation.folder import accept_key as enter
    from shared.signing.node_notice import is_node_notice

    if is_node_notice(notice):
        node = accept_node_key(Home(home), notice)
        told: dict[str, object] = {"site": node.site, "node key": node.node_key}
        show_json(told) if as_json else show_facts("node key replaced: start `serve` again", told)
        return
    rotation = enter(Home(home), notice)
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
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Close one site's membership; the others are not touched."""
    from server.federation.folder import Home
    from server.federation.folder import revoke as close

    close(Home(home), site, now=datetime.now(UTC))
    show_json({"revoked": site}) if as_json else show_facts("revoked", {"site": site})


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
    host: Annotated[str, typer.Option(help="Inner address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9092,
    name: Annotated[
        list[str] | None, typer.Option(help="A further name or address in the certificate.")
    ] = None,
    home: HomeOption = HOME,
) -> None:
    """Run the SuperLink (TLS, node keys, SQLite) for hospitals to connect to, until stopped."""
    from server.engines.superlink import serve as run_superlink
    from server.federation.folder import Home

    own = Home(home)
    own.key()
    keys = {site.site: site.node_key for site in own.active_sites()}
    say(f"serving on {host}:{port}; certificates in {home / 'deployment' / 'certificates'}")
    say(
        "whoever has an account on this machine, or reaches this port other than through a proxy that "
        "passes /v1/fleet/ only, can submit runs here: Flower asks them for no key. Hospitals answer "
        "approved plans alone, and a stranger's runs can delay or stop yours"
    )
    run_superlink(home, host=host, port=port, names=name or [], node_keys=keys)
