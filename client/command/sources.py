"""The options that name films and rows, for every command that takes some in. Imports typer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from client.intake.sources.choose import Choice

_AUTHORITY = "Authority behind the PACS's certificate, a PEM file; without it DIMSE is not encrypted."
_MODALITY = "Modality to ask a PACS for; repeatable."
_BODY_PART = "Body part to ask a PACS for, all if none; repeatable."


def takes_sources(work: Callable[..., None]) -> Callable[..., None]:
    """Give a command all options of ``name_sources`` in place of its parameter ``choice``."""
    named = _parameters(name_sources)
    own = _parameters(work)
    del own["choice"]

    @functools.wraps(work)
    def wrapped(**given: Any) -> None:
        choice = name_sources(**{name: given.pop(name) for name in named})
        work(choice=choice, **given)

    # These two are what typer reads.
    signature = inspect.Signature([*own.values(), *named.values()])
    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    wrapped.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return wrapped


def _parameters(of: Callable[..., object]) -> dict[str, inspect.Parameter]:
    # Choice itself is loaded when a command runs: it takes long.
    parameters = inspect.signature(of, eval_str=True, locals={"Choice": object}).parameters
    return {
        name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, each in parameters.items()
    }


def name_sources(
    source: Annotated[
        Path | None,
        typer.Argument(help="Folder with films/ and clinical.csv, where nothing else is named."),
    ] = None,
    films: Annotated[Path | None, typer.Option(help="Folder of DICOM files, or a DICOMDIR.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks, PNG or DICOM SEG; else masks/ of the folder.")
    ] = None,
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
    ca: Annotated[Path | None, typer.Option(help=_AUTHORITY)] = None,
    dimse: Annotated[str | None, typer.Option(help="host:port of a PACS that speaks DIMSE.")] = None,
    called_aet: Annotated[str, typer.Option(help="The PACS's AE title.")] = "ANY-SCP",
    calling_aet: Annotated[str, typer.Option(help="This site's AE title.")] = "OSTEOFED",
    move: Annotated[
        bool, typer.Option("--move", help="C-MOVE instead of C-GET; the PACS sends to --listen.")
    ] = False,
    listen: Annotated[str, typer.Option(help="host:port for the PACS to send to.")] = "127.0.0.1:11112",
    modality: Annotated[list[str], typer.Option(help=_MODALITY)] = ["DX", "CR"],  # noqa: B006
    body_part: Annotated[list[str], typer.Option(help=_BODY_PART)] = [],  # noqa: B006
    first_day: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day of studies to ask a PACS for."),
    ] = None,
    last_day: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last day of studies to ask a PACS for."),
    ] = None,
) -> Choice:
    """Where films and rows come from, as the options say."""
    from client.intake.sources.choose import Choice
    from client.intake.sources.staging import FilmQuery

    return Choice(
        folder=source,
        films=films,
        masks=masks,
        dicomweb=dicomweb,
        ca=ca,
        login_file=login_file,
        dimse=dimse,
        called_aet=called_aet,
        calling_aet=calling_aet,
        is_move=move,
        listen=listen,
        query=FilmQuery(
            modalities=tuple(name.upper() for name in modality),
            body_parts=tuple(body_part),
            first_day=first_day and first_day.date(),
            last_day=last_day and last_day.date(),
        ),
        table=table,
        sql=sql,
        url_file=url_file,
    )
