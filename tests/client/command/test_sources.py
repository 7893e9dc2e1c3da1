"""Options that name films and rows: each arrives in the choice, under its own name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import typer
from typer.testing import CliRunner

from client.command.sources import name_sources, takes_sources
from client.intake.sources.choose import Choice
from client.intake.sources.staging import FilmQuery

app = typer.Typer()
SEEN: list[tuple[Choice, int]] = []


@app.command()
@takes_sources
def take(choice: Choice, workers: int = 1) -> None:
    """Note what was typed."""
    SEEN.append((choice, workers))


def typed(*words: str) -> tuple[Choice, int]:
    SEEN.clear()
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return SEEN[0]


def test_every_option_arrives_under_its_own_name() -> None:
    choice, workers = typed(
        *("--films", "films", "--table", "t.csv", "--sql", "q.sql", "--url-file", "url"),
        *("--dicomweb", "https://pacs/web", "--login-file", "login", "--ca", "ca.pem"),
        *("--dimse", "pacs:104", "--called-aet", "PACS", "--calling-aet", "US", "--move"),
        *("--listen", "0.0.0.0:104", "--modality", "cr", "--modality", "Dx", "--body-part", "HIP"),
        *("--from", "2024-01-02", "--to", "2024-03-04", "--workers", "3"),
    )
    assert workers == 3
    assert choice == Choice(
        folder=None,
        films=Path("films"),
        table=Path("t.csv"),
        sql=Path("q.sql"),
        url_file=Path("url"),
        dicomweb="https://pacs/web",
        login_file=Path("login"),
        ca=Path("ca.pem"),
        dimse="pacs:104",
        called_aet="PACS",
        calling_aet="US",
        is_move=True,
        listen="0.0.0.0:104",
        query=FilmQuery(
            modalities=("CR", "DX"),
            body_parts=("HIP",),
            first_day=date(2024, 1, 2),
            last_day=date(2024, 3, 4),
        ),
    )


def test_what_is_not_typed_is_what_a_choice_has_by_itself() -> None:
    choice, workers = typed("archive")
    assert workers == 1
    assert choice == Choice(folder=Path("archive"))
    assert typed()[0] == Choice(folder=None)
    assert name_sources() == Choice(folder=None)


def test_a_day_is_a_day_and_nothing_else() -> None:
    for day in ("2024-13-01", "02.01.2024", "2024-01-02T10:00"):
        assert CliRunner().invoke(app, ["--from", day]).exit_code == 2
