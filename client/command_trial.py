"""Commands that try and touch nothing: ``doctor``. Imports what they need when run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.command_options import Folder
from shared.terminal import JsonOption, command, show_json, show_table

trial_app = typer.Typer()


@trial_app.command()
@command
def doctor(
    superlink: Annotated[
        str, typer.Option(envvar="OSTEOFED_SUPERLINK", help="host:port of the coordinator's server.")
    ] = "",
    root_certificate: Annotated[
        Path | None,
        typer.Option(envvar="OSTEOFED_ROOT_CERTIFICATE", help="The federation's CA, a PEM file."),
    ] = None,
    health: Annotated[
        str, typer.Option(envvar="OSTEOFED_HEALTH", help="host:port of the SuperNode's gRPC health.")
    ] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="For a health check: no torch, no decoders.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="machine, site or connection; repeatable.")
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say whether this site can take part, and the remedy where not; changes nothing."""
    from client.doctor import AREAS, examine, is_well, lines_as_json
    from client.doctor_connection import Coordinator

    unknown = set(only or ()) - set(AREAS)
    if unknown:
        raise typer.BadParameter(f"must be one of {', '.join(AREAS)}", param_hint="--only")
    lines = examine(
        folder,
        Coordinator(superlink=superlink, root_certificate=root_certificate, health=health),
        is_quick=quick,
        areas=[area for area in AREAS if not only or area in only],
    )
    if as_json:
        show_json(lines_as_json(lines))
    else:
        rows = [(line.state, line.name, line.fact, line.remedy) for line in lines]
        show_table("doctor", ("state", "what", "found", "remedy"), rows)
    if not is_well(lines):
        raise typer.Exit(1)
