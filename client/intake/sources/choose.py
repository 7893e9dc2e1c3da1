"""What the command line names becomes the inputs of an intake: one source of films, one of rows.

Imports the other sources, where they are used, and the site.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from client.intake.folder_inputs import films_of, regions_of
from client.intake.inputs import FILMS_FOLDER, TABLE_FILE, FilmFile, Inputs, RawTable
from client.intake.png_tree import tree_table
from client.intake.sources.credentials import read_secret
from client.intake.sources.staging import FilmQuery, FilmSource, Progress, stage
from client.intake.unreadable import films_problem, table_problem, why_unreadable
from client.site.folder import Site
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema

PACS_LOGIN = "OSTEOFED_DICOMWEB_LOGIN"
TABLE_URL = "OSTEOFED_TABLE_URL"
_TITLE = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")  # PS3.5 6.2, AE: no backslash, no control characters


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where films and rows come from; what is None is looked for in ``folder``.

    ``dimse`` and ``listen`` are host:port. Login and database URL come from the environment or a file.
    ``ca`` is the authority for either protocol; without it ``dimse`` is not encrypted.
    """

    folder: Path | None = None
    films: Path | None = None
    masks: Path | None = None
    dicomweb: str | None = None
    ca: Path | None = None
    login_file: Path | None = None
    dimse: str | None = None
    called_aet: str = "ANY-SCP"
    calling_aet: str = "OSTEOFED"
    is_move: bool = False
    listen: str = "127.0.0.1:11112"
    query: FilmQuery = field(default_factory=FilmQuery)
    table: Path | None = None
    sql: Path | None = None
    url_file: Path | None = None


# Options that serve some source only: what they set of a choice, and the options that they serve.
_PACS = ("--dicomweb", "--dimse")
_SERVES = {
    "--ca": ("ca", _PACS),
    "--modality": ("query.modalities", _PACS),
    "--body-part": ("query.body_parts", _PACS),
    "--from": ("query.first_day", _PACS),
    "--to": ("query.last_day", _PACS),
    "--login-file": ("login_file", ("--dicomweb",)),
    "--called-aet": ("called_aet", ("--dimse",)),
    "--calling-aet": ("calling_aet", ("--dimse",)),
    "--move": ("is_move", ("--dimse",)),
    "--listen": ("listen", ("--move",)),
    "--url-file": ("url_file", ("--sql",)),
}
_SERVED = {"--dicomweb": "dicomweb", "--dimse": "dimse", "--move": "is_move", "--sql": "sql"}


def choose_inputs(
    choice: Choice, site: Site, schema: CohortSchema, *, progress: Progress | None = None
) -> Inputs:
    """Films and rows of one intake; nothing is connected to before what is named has been looked at.

    Raises:
        IntakeError: none or several sources are named for one of the two, one is not valid, or an
            option is for a source that is not named. Of the table: a file or folder is not there.
    """
    rows = _rows(choice, site, schema)

    def table() -> RawTable:
        _refuse_absent(choice, schema)  # of films too, before a long table is read
        return rows()

    inputs = Inputs(
        table=table,
        films=_films(choice, site, schema, progress) if schema.views else list,
        regions=lambda: regions_of(choice.folder, masks=choice.masks),
    )
    _refuse_unused(choice)
    return inputs


def discard_staged(site: Site, schema: CohortSchema) -> bool:
    """Delete the films fetched for a schema, which name people; whether there were any.

    For when a cohort of the schema is frozen: what an intake that was cut off has left goes too.
    """
    staged = _staging(site, schema)
    if not staged.exists():
        return False
    shutil.rmtree(staged)
    return True


def _staging(site: Site, schema: CohortSchema) -> Path:
    return site.staging / schema.name


def _rows(choice: Choice, site: Site, schema: CohortSchema) -> Callable[[], RawTable]:
    from client.intake.sources.tables import file_table, sql_table

    profile = site.settings.profile
    query, path = choice.sql, choice.table
    if schema.films == "png_tree":
        root = _tree(choice)
        return lambda: tree_table(root, schema, profile)
    _refuse_several("rows", ("--table", path), ("--sql", query))
    if query is not None:
        url = read_secret(TABLE_URL, choice.url_file)
        if url is None:
            raise IntakeError(
                "no-table-url",
                "a SQL query needs the address of the database",
                hint=f"set {TABLE_URL}, or name --url-file; never a command line",
            )
        select = _select(query)
        return lambda: sql_table(url, select, schema, profile)
    if path is None and choice.folder is not None:
        path = choice.folder / TABLE_FILE
    if path is None:
        raise _nothing_named("rows", "--table or --sql")
    found = path
    return lambda: file_table(found, schema, profile)


def _tree(choice: Choice) -> Path:
    """The folder of a tree, which is films and table in one."""
    _refuse_several(
        "films and rows of a tree of PNG files",
        ("its folders", True),
        ("--table", choice.table),
        ("--sql", choice.sql),
        ("--dicomweb", choice.dicomweb),
        ("--dimse", choice.dimse),
    )
    root = choice.films or (choice.folder and choice.folder / FILMS_FOLDER)
    if root is None:
        raise _nothing_named("films", "--films")
    return root


def _select(path: Path) -> str:
    try:
        query = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason, _ = why_unreadable(path, error)
        raise IntakeError(
            "unreadable-query",
            f"the file of --sql {reason}",
            hint="name a text file in UTF-8 with one SELECT",
        ) from None
    if not query:
        raise IntakeError(
            "unreadable-query", "the file of --sql is empty", hint="write one SELECT into it"
        )
    return query


def _films(
    choice: Choice, site: Site, schema: CohortSchema, progress: Progress | None
) -> Callable[[], Sequence[FilmFile]]:
    _refuse_several(
        "films",
        ("--films", choice.films),
        ("--dicomweb", choice.dicomweb),
        ("--dimse", choice.dimse),
    )
    if choice.dicomweb is None and choice.dimse is None:
        root = choice.films or (choice.folder and choice.folder / FILMS_FOLDER)
        if root is None:
            raise _nothing_named("films", "--films, --dicomweb or --dimse")
        found = root
        return lambda: films_of(found, schema)
    source = _pacs(choice)

    def bring() -> list[FilmFile]:
        with closing(source):
            return stage(
                source,
                choice.query,
                _staging(site, schema),
                pseudonyms=site.pseudonyms,
                issuer=site.linkage.issuer_for(site.settings.profile.issuer),
                is_withdrawn=site.linkage.is_withdrawn,
                progress=progress,
            )

    return bring


def _pacs(choice: Choice) -> FilmSource:
    if choice.dicomweb is not None:
        from client.intake.sources.dicomweb import DicomWeb

        login = read_secret(PACS_LOGIN, choice.login_file)
        return DicomWeb(choice.dicomweb, login=login, ca=choice.ca)
    from client.intake.sources.dimse import Dimse, DimseAddress

    host, port = _host_and_port(choice.dimse or "")
    listen_host, listen_port = _host_and_port(choice.listen)
    return Dimse(
        DimseAddress(
            host=host,
            port=port,
            called_aet=_title("--called-aet", choice.called_aet),
            calling_aet=_title("--calling-aet", choice.calling_aet),
            ca=choice.ca,
            retrieve="move" if choice.is_move else "get",
            listen_host=listen_host,
            listen_port=listen_port,
        )
    )


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
        raise IntakeError("invalid-address", f"an address must be host:port, not {text}")
    return host, int(port)


def _title(option: str, text: str) -> str:
    if not _TITLE.fullmatch(text):
        raise IntakeError(
            "invalid-ae-title",
            f"{option} must be 1 to 16 characters of ASCII without a backslash, not {text!r}",
            hint="ask who runs the PACS for the AE titles of both sides",
        )
    return text


def _refuse_several(what: str, *named: tuple[str, object]) -> None:
    given = [option for option, value in named if value is not None]
    if len(given) > 1:
        raise IntakeError(
            "several-sources",
            f"{what} must come from one source, not {' and '.join(given)}",
            hint="name one of them",
        )


def _refuse_absent(choice: Choice, schema: CohortSchema) -> None:
    """Every file and folder that is named and is not there, or is the other of the two."""
    has_rows = schema.films == "png_tree" or choice.table is not None or choice.sql is not None
    has_films = not schema.views or any((choice.films, choice.dicomweb, choice.dimse))
    folder, problems = choice.folder, []
    if folder is not None and not folder.is_dir() and not (has_rows and has_films):
        is_file = folder.is_file()
        problems.append(f"{folder} is a file, no folder" if is_file else f"there is no folder {folder}")
        folder = None
    table = folder / TABLE_FILE if folder and not has_rows else choice.table
    films = folder / FILMS_FOLDER if folder and not has_films else choice.films
    if table is not None:
        problems.append(table_problem(table))
    if films is not None and schema.views:
        problems.append(films_problem(films))
    if choice.masks is not None and not choice.masks.is_dir():
        problems.append(f"there is no folder {choice.masks}")
    problems = [problem for problem in problems if problem]
    if problems:
        raise IntakeError(
            "no-input",
            "; ".join(problems),
            hint=f"a folder holds {TABLE_FILE} and, for a schema with views, {FILMS_FOLDER}/; "
            "--table and --films name others",
        )


def _refuse_unused(choice: Choice) -> None:
    named = {option for option, name in _SERVED.items() if _is_given(choice, name)}
    unused = [
        f"{option} is for {' or '.join(served)}"
        for option, (name, served) in _SERVES.items()
        if _is_given(choice, name) and named.isdisjoint(served)
    ]
    if unused:
        raise IntakeError(
            "unused-option",
            f"{', '.join(unused)}, which is not named: it would change nothing",
            hint="name the source that was meant, or leave the option out",
        )


def _is_given(choice: Choice, name: str) -> bool:
    """Whether a choice has another value than it has where nobody chose."""
    value = attrgetter(name)
    return bool(value(choice) != value(Choice()))


def _nothing_named(what: str, options: str) -> IntakeError:
    return IntakeError(
        "no-source",
        f"nothing says where the {what} come from",
        hint=f"name a folder with {FILMS_FOLDER}/ and {TABLE_FILE}, or {options}",
    )
