"""Every option that names films and rows either has an effect or is refused."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from client.command.app import app
from client.command.sources import name_sources
from client.intake.sources import choose
from client.intake.sources.choose import Choice, choose_inputs, discard_staged
from client.intake.sources.dimse import DimseAddress
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


def code_of(site: Site, schema: CohortSchema = SCHEMA, **given: object) -> str:
    with pytest.raises(IntakeError) as caught:
        choose_inputs(Choice(**given), site, schema)  # type: ignore[arg-type]
    return caught.value.code


def test_films_and_rows_come_from_one_source_each(site: Site, tmp_path: Path) -> None:
    folder = {"folder": site.folder}
    assert code_of(site) == "intake.no-source"
    assert code_of(site, films=Path("films")) == "intake.no-source", "and the rows?"
    assert code_of(site, table=Path("t.csv")) == "intake.no-source", "and the films?"
    for several in (
        {"films": Path("films"), **WEB},
        {"films": Path("films"), **DIMSE},
        WEB | DIMSE,
        {"table": Path("t.csv"), "sql": tmp_path / "q.sql"},
    ):
        assert code_of(site, **folder, **several) == "intake.several-sources"
    choose_inputs(Choice(films=Path("films"), table=Path("t.csv")), site, SCHEMA)
    choose_inputs(Choice(table=Path("t.csv"), **WEB), site, SCHEMA)  # type: ignore[arg-type]
    without_films = SCHEMA.model_copy(update={"views": ()})
    inputs = choose_inputs(Choice(table=Path("t.csv")), site, without_films)
    assert list(inputs.films()) == [], "a schema without views asks nobody for films"


def test_a_folder_holds_what_is_not_named_otherwise(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.chdir(tmp_path)
    for films in (Path("in/films"), Path("f")):
        films.mkdir(parents=True)
    for table in (Path("in/clinical.csv"), Path("t.parquet")):
        table.touch()
    monkeypatch.setattr(choose, "films_of", lambda path, _: asked.append(path) or [])
    monkeypatch.setattr("client.intake.sources.tables.file_table", lambda path, *_: asked.append(path))

    def read(**given: object) -> list[object]:
        asked.clear()
        inputs = choose_inputs(Choice(folder=Path("in"), **given), site, SCHEMA)  # type: ignore[arg-type]
        assert asked == [], "nothing is read before it is asked for"
        inputs.films()
        inputs.table()
        return list(asked)

    assert read() == [Path("in/films"), Path("in/clinical.csv")]
    assert read(films=Path("f")) == [Path("f"), Path("in/clinical.csv")]
    assert read(table=Path("t.parquet")) == [Path("in/films"), Path("t.parquet")]


def test_everything_that_is_named_and_not_there_is_told_at_once(site: Site, tmp_path: Path) -> None:
    def told(**given: object) -> str:
        with pytest.raises(IntakeError) as caught:
            choose_inputs(Choice(**given), site, SCHEMA).table()  # type: ignore[arg-type]
        assert caught.value.code == "intake.no-input"
        return caught.value.fact

    folder, table = tmp_path / "archive", tmp_path / "rows.csv"
    assert told(folder=folder) == f"there is no folder {folder}"
    folder.mkdir()
    assert told(folder=folder) == (
        f"there is no file {folder / 'clinical.csv'}; "
        f"there is no folder and no DICOMDIR {folder / 'films'}"
    )
    assert told(folder=folder, table=folder) == (
        f"{folder} is a folder; name the table in it, a .csv or .parquet file; "
        f"there is no folder and no DICOMDIR {folder / 'films'}"
    )
    table.touch()
    assert told(folder=table) == f"{table} is a file, no folder"


def test_a_query_goes_to_the_database_whose_address_is_no_part_of_the_command(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = tmp_path / "rows.sql"
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("client.intake.sources.tables.sql_table", lambda *given: asked.append(given))
    monkeypatch.delenv("OSTEOFED_TABLE_URL", raising=False)
    query.write_text("  SELECT 1\n")
    (site.folder / "films").mkdir()
    assert code_of(site, folder=site.folder, sql=query) == "intake.no-table-url"
    monkeypatch.setenv("OSTEOFED_TABLE_URL", "sqlite:///x.db")
    choose_inputs(Choice(folder=site.folder, sql=query), site, SCHEMA).table()
    assert asked == [("sqlite:///x.db", "SELECT 1", SCHEMA, site.settings.profile)]
    for content in (b"", b" \n", b"\xff\xfe"):
        query.write_bytes(content)
        assert code_of(site, folder=site.folder, sql=query) == "intake.unreadable-query"
    query.unlink()
    assert code_of(site, folder=site.folder, sql=query) == "intake.unreadable-query"


@pytest.mark.parametrize("is_move", [True, False])
def test_a_pacs_that_speaks_dimse_is_reached_as_the_options_say_and_left_afterwards(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_move: bool
) -> None:
    seen: list[object] = []

    class Pacs:
        def __init__(self, address: object) -> None:
            seen.append(address)

        def close(self) -> None:
            seen.append("closed")

    def stage(source: object, query: object, folder: Path, **given: object) -> list[object]:
        assert isinstance(source, Pacs)
        seen.extend([query, folder, given["issuer"], given["progress"]])
        return []

    monkeypatch.setattr("client.intake.sources.dimse.Dimse", Pacs)
    monkeypatch.setattr(choose, "stage", stage)
    listen = {"is_move": True, "listen": "10.0.0.9:104"} if is_move else {}
    choice = Choice(
        folder=site.folder,
        dimse="pacs.example:4242",
        called_aet="PACS",
        calling_aet="US",
        ca=Path("ca.pem"),
        query=QUERY,
        **listen,  # type: ignore[arg-type]
    )
    choose_inputs(choice, site, SCHEMA, progress=print).films()
    host, port = ("10.0.0.9", 104) if is_move else ("127.0.0.1", 11112)
    assert seen == [
        DimseAddress(
            host="pacs.example",
            port=4242,
            called_aet="PACS",
            calling_aet="US",
            ca=Path("ca.pem"),
            retrieve="move" if is_move else "get",
            listen_host=host,
            listen_port=port,
        ),
        QUERY,
        site.staging / "hip_bmd",
        site.linkage.issuer_for(site.settings.profile.issuer),
        print,
        "closed",
    ]


def test_a_pacs_on_the_web_gets_the_login_of_the_environment_or_the_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, ...]] = []

    def web(url: str, *, login: str | None, ca: Path | None) -> None:
        seen.append((url, login, ca))

    monkeypatch.setattr("client.intake.sources.dicomweb.DicomWeb", web)
    monkeypatch.delenv("OSTEOFED_DICOMWEB_LOGIN", raising=False)
    choice = Choice(folder=site.folder, ca=Path("ca.pem"), **WEB)  # type: ignore[arg-type]
    choose_inputs(choice, site, SCHEMA)
    monkeypatch.setenv("OSTEOFED_DICOMWEB_LOGIN", "nurse:secret")
    choose_inputs(choice, site, SCHEMA)
    url = WEB["dicomweb"]
    assert seen == [(url, None, Path("ca.pem")), (url, "nurse:secret", Path("ca.pem"))]


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        *(("pacs:1", True), ("pacs:65535", True), ("::1:104", True)),
        *(("pacs", False), ("pacs:", False), (":104", False), ("pacs:0", False)),
        *(("pacs:65536", False), ("pacs:-1", False), ("pacs:1_0", False), ("pacs:104 ", False)),
    ],
)
def test_an_address_has_a_host_and_a_port(site: Site, address: str, is_one: bool) -> None:
    given = {"folder": site.folder}
    if is_one:
        choose_inputs(Choice(dimse=address, **given), site, SCHEMA)
        choose_inputs(Choice(dimse="pacs:104", is_move=True, listen=address, **given), site, SCHEMA)
    else:
        assert code_of(site, dimse=address, **given) == "intake.invalid-address"
        asked = {"dimse": "pacs:104", "is_move": True, "listen": address}
        assert code_of(site, **asked, **given) == "intake.invalid-address"


@pytest.mark.parametrize(
    ("title", "is_one"),
    [
        *(("A", True), ("A" * 16, True), ("OSTEO FED", True)),
        *(("", False), ("A" * 17, False), ("   ", False), ("A\\B", False), ("Ä", False)),
    ],
)
def test_an_ae_title_is_what_dicom_allows(site: Site, title: str, is_one: bool) -> None:
    given = {"folder": site.folder, "dimse": "pacs:104"}
    for option in ("called_aet", "calling_aet"):
        if is_one:
            choose_inputs(Choice(**{option: title}, **given), site, SCHEMA)  # type: ignore[arg-type]
        else:
            assert code_of(site, **{option: title}, **given) == "intake.invalid-ae-title"


def test_films_that_a_pacs_sent_are_deleted_with_their_folder_once(site: Site) -> None:
    assert not discard_staged(site, SCHEMA)
    film = site.staging / "hip_bmd" / "patient" / "film.dcm"
    other = site.staging / "other" / "patient" / "film.dcm"
    for path in (film, other):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"film")
    assert discard_staged(site, SCHEMA)
    assert not (site.staging / "hip_bmd").exists()
    assert other.exists(), "those of another schema are not this intake's"
    assert not discard_staged(site, SCHEMA)


TREE = CohortSchema.model_validate(yaml.safe_load(HIP.with_name("mura_wrist.yaml").read_text()))


def test_a_tree_is_films_and_table_in_one(site: Site, tmp_path: Path) -> None:
    lying = tmp_path / "in" / "films" / "XR_WRIST" / "p1" / "study1_positive" / "a.png"
    lying.parent.mkdir(parents=True)
    lying.touch()
    for given in ({"folder": tmp_path / "in"}, {"films": tmp_path / "in" / "films"}):
        inputs = choose_inputs(Choice(**given), site, TREE)
        assert [film.path for film in inputs.films()] == [lying]
        assert [row.cells for row in inputs.table().rows] == [
            {"patient": "p1", "finding": "positive", "study": "study1"}
        ]


@pytest.mark.parametrize("given", [{"table": Path("t.csv")}, {"sql": Path("q.sql")}, WEB, DIMSE])
def test_a_tree_beside_another_source_is_refused(given: dict[str, object], site: Site) -> None:
    with pytest.raises(IntakeError) as caught:
        choose_inputs(Choice(**{"folder": site.folder} | given), site, TREE)  # type: ignore[arg-type]
    assert caught.value.code == "intake.several-sources"


def test_a_tree_that_nobody_names_or_that_is_not_there_is_told(site: Site) -> None:
    with pytest.raises(IntakeError) as caught:
        choose_inputs(Choice(), site, TREE)
    assert caught.value.code == "intake.no-source"
    with pytest.raises(IntakeError) as caught:
        choose_inputs(Choice(films=site.folder / "gone"), site, TREE).table()
    assert caught.value.code == "intake.no-input"
