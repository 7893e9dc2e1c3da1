"""The command that reads one patient's exam with a release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.command.options import Folder
from shared.machine.terminal import JsonOption, command, show_facts, show_json

reading_app = typer.Typer()


@reading_app.command()
@command
def predict(
    release: Annotated[Path, typer.Argument(help="A release's folder.", exists=True, file_okay=False)],
    films: Annotated[
        list[Path], typer.Argument(help="DICOM files of one exam.", exists=True, dir_okay=False)
    ],
    value: Annotated[
        list[str] | None, typer.Option("--value", "-v", help="A clinical value, name=value.")
    ] = None,
    heat_map: Annotated[
        Path | None, typer.Option(help="PNG file to write; by default one in the site's readings/.")
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Read one exam with a release, here; nothing leaves. Not a medical device."""
    from client.reading.predict import draw_heat_maps
    from client.reading.predict import predict as read_exam
    from client.site.folder import open_site
    from shared.contract.release import read_release

    site = open_site(folder)
    pairs = [item.partition("=") for item in value or []]
    reading = read_exam(
        site,
        read_release(release, coordinator_key=site.coordinator_key),
        films,
        {name: text for name, _, text in pairs},
    )
    drawn = draw_heat_maps(site, reading, heat_map)
    if as_json:
        figures = {"value": reading.value, "unit": reading.unit, "t_score": reading.t_score}
        show_json(
            figures
            | {"class": reading.class_name, "rule": reading.rule, "heat_map": drawn and str(drawn)}
        )
        return
    show_facts("reading, not a diagnosis", reading.facts())
    if drawn:
        show_facts("", {"heat map, for this hospital only": drawn})
