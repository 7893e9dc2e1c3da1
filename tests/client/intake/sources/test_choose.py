"""Every option that names films and rows either has an effect or is refused."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from client.command.app import app
from client.command.sources import name_sources
from client.intake.sources.choose import Choice, choose_inputs
from client.intake.sources.staging import FilmQuery
from client.site.folder import Site, create_site, open_site
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema

HIP = Path(__file__).parents[4] / "configs" / "cohort" / "hip_bmd.yaml"
SCHEMA = CohortSchema.model_validate(yaml.safe_load(HIP.read_text()))
DIMSE = {"dimse": "127.0.0.1:9"}
WEB = {"dicomweb": "https://127.0.0.1:9/x"}
PACS = "--dicomweb or --dimse"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    create_site(tmp_path, name="birch", declared_patients=10, profile=SiteProfile())
    return open_site(tmp_path)


@pytest.mark.parametrize(
    ("given", "unused"),
    [
        ({"query": FilmQuery(first_day=date(2020, 1, 1))}, {"--from": PACS}),
        ({"query": FilmQuery(last_day=date(2020, 1, 1))}, {"--to": PACS}),
        ({"query": FilmQuery(body_parts=("HIP",))}, {"--body-part": PACS}),
        ({"query": FilmQuery(modalities=("CR",))}, {"--modality": PACS}),
        ({"ca": Path("ca.pem")}, {"--ca": PACS}),
        ({"films": Path("films"), "ca": Path("ca.pem")}, {"--ca": PACS}),
        ({"called_aet": "PACS"}, {"--called-aet": "--dimse"}),
        (WEB | {"calling_aet": "US"}, {"--calling-aet": "--dimse"}),
        ({"is_move": True}, {"--move": "--dimse"}),
        (WEB | {"is_move": True}, {"--move": "--dimse"}),
        (DIMSE | {"login_file": Path("login")}, {"--login-file": "--dicomweb"}),
        (DIMSE | {"listen": "0.0.0.0:104"}, {"--listen": "--move"}),
        (DIMSE | {"url_file": Path("url")}, {"--url-file": "--sql"}),
        (
            {"listen": "0.0.0.0:104", "ca": Path("ca.pem")},
            {"--listen": "--move", "--ca": PACS},
        ),
    ],
)
def test_an_option_for_a_source_that_is_not_named_is_refused(
    given: dict[str, object], unused: dict[str, str], site: Site
) -> None:
    with pytest.raises(IntakeError) as caught:
        choose_inputs(Choice(**{"folder": site.folder} | given), site, SCHEMA)  # type: ignore[arg-type]
    assert caught.value.code == "intake.unused-option"
    told = caught.value.fact.partition(", which is not named")[0].split(", ")
    assert set(told) == {f"{option} is for {source}" for option, source in unused.items()}


QUERY = FilmQuery(
    modalities=("CR",), body_parts=("HIP",), first_day=date(2020, 1, 1), last_day=date(2021, 1, 1)
)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"films": Path("films")},
        WEB | {"query": QUERY},
        DIMSE | {"query": QUERY, "called_aet": "PACS", "calling_aet": "US"},
        DIMSE | {"is_move": True, "listen": "0.0.0.0:104"},
    ],
)
def test_an_option_for_the_source_that_is_named_is_taken(given: dict[str, object], site: Site) -> None:
    choose_inputs(Choice(**{"folder": site.folder} | given), site, SCHEMA)  # type: ignore[arg-type]


def test_what_the_commands_fill_in_by_themselves_is_not_taken_for_an_option(site: Site) -> None:
    choose_inputs(name_sources(source=site.folder), site, SCHEMA)


def test_a_pacs_is_asked_for_the_days_and_the_parts_that_were_named() -> None:
    choice = name_sources(
        modality=["dx"],
        body_part=["HIP"],
        first_day=datetime(2020, 1, 2),
        last_day=datetime(2021, 3, 4),
    )
    assert choice.query == FilmQuery(
        modalities=("DX",),
        body_parts=("HIP",),
        first_day=date(2020, 1, 2),
        last_day=date(2021, 3, 4),
    )


def test_the_command_says_which_option_would_change_nothing(site: Site) -> None:
    done = CliRunner().invoke(
        app, ["ingest", str(site.folder), "--from", "2020-01-01", "--folder", str(site.folder)]
    )
    assert done.exit_code == 1
    assert "intake.unused-option" in done.stderr
    assert "--from is for --dicomweb or --dimse" in " ".join(done.stderr.split())
