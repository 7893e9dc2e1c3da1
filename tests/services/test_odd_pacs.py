"""What a PACS names does not get lost, whatever it answers; what a person names is looked at first."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from practice_odd_pacs import OddPacs
from pynetdicom.association import Association

from client.intake.inputs import ABSENT
from client.intake.sources.choose import Choice, choose_inputs
from client.intake.sources.credentials import trust
from client.intake.sources.dicomweb import DicomWeb
from client.intake.sources.dimse import Dimse
from client.intake.sources.staging import FilmNotSent, FilmQuery, FilmSource, ListedFilm, stage
from client.site.folder import Site, create_site, open_site
from client.site.linkage import Pseudonyms
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import read_schema

HIP = read_schema(Path(__file__).parents[2] / "configs" / "cohort" / "hip_bmd.yaml")
QUERY = FilmQuery(modalities=("DX",))
FILM = ListedFilm("1.1", "1.1.1", "1.1.1.1", "P")
MANY = {"1.1": {"1.1.1": [f"1.1.1.{number}" for number in range(1, 301)]}}
PROTOCOLS = ("dimse", "dicomweb")


@contextmanager
def opened(protocol: str, pacs: OddPacs, timeout_s: float = 20) -> Iterator[FilmSource]:
    if protocol == "dimse":
        with pacs.dimse() as address, closing(Dimse(address, timeout_s=timeout_s)) as source:
            yield source
    else:
        with pacs.web() as url, closing(DicomWeb(url)) as source:
            yield source


def names(source: FilmSource) -> list[str]:
    return [film.instance for film in source.list_films(QUERY)]


class NeverWaits(threading.Event):
    """An event that nobody waits for."""

    def wait(self, timeout: float | None = None) -> bool:
        return True


def fixed(name: str, value: object) -> property:
    """An attribute that reads as ``value`` whatever is set."""
    return property(lambda self: value, lambda self, given: self.__dict__.update({name: given}))


def test_no_answer_is_lost_to_the_associations_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who asks and the association's thread should take turns by these. Here the thread never waits, and
    # who asks is told that it does: so it is for a moment where the two race.
    monkeypatch.setattr(Association, "_is_paused", fixed("_is_paused", True), raising=False)
    checkpoint = fixed("_reactor_checkpoint", NeverWaits())
    monkeypatch.setattr(Association, "_reactor_checkpoint", checkpoint, raising=False)
    with opened("dimse", OddPacs(MANY)) as source:
        assert names(source) == MANY["1.1"]["1.1.1"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_named_without_its_uid_is_an_error(protocol: str) -> None:
    for holdings in (
        {"1.1": {"1.1.1": ["1.1.1.1", ""]}},
        {"1.1": {"1.1.1": ["1.1.1.1"], "": []}},
        {"1.1": {"1.1.1": ["1.1.1.1"]}, "": {}},
    ):
        with opened(protocol, OddPacs(holdings)) as source, pytest.raises(IntakeError) as refusal:
            names(source)
        assert refusal.value.code == "intake.pacs-unreachable"
        assert "InstanceUID" in refusal.value.fact


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_study_without_series_and_a_series_without_images_have_a_code(
    protocol: str, tmp_path: Path
) -> None:
    holdings = {"1.1": {"1.1.1": []}, "1.2": {}, "1.3": {}}
    with opened(protocol, OddPacs(holdings)) as source:
        films = stage(
            source, QUERY, tmp_path, pseudonyms=Pseudonyms(b"\x07" * 32), issuer="",
            is_withdrawn=lambda patient: False,
        )  # fmt: skip
    assert [(film.place, film.code) for film in films] == [
        ("pacs 1.1/1.1.1/", ABSENT),
        ("pacs 1.2//", ABSENT),
        ("pacs 1.3//", ABSENT),
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_uids_against_the_standard_are_taken_as_they_are_and_named_in_no_warning(protocol: str) -> None:
    odd = {"1.01": {"1.1.": ["1.00.1", "1." * 33 + "1"]}}
    with opened(protocol, OddPacs(odd)) as source:
        assert names(source) == odd["1.01"]["1.1."]
        if protocol == "dimse":
            with pytest.raises(FilmNotSent):
                source.fetch(ListedFilm("1.01", "1.1.", "1.00.1", "P" * 65), BytesIO())


@pytest.mark.parametrize("page", [0, 7, 100, 200, 300])
def test_a_dicomweb_server_sends_pages_of_its_own_size(page: int) -> None:
    with opened("dicomweb", OddPacs(MANY, page=page)) as source:
        assert names(source) == MANY["1.1"]["1.1.1"]


def test_a_dicomweb_server_that_cuts_before_it_skips_loses_nothing() -> None:
    with opened("dicomweb", OddPacs(MANY, cuts_first=True)) as source:
        assert names(source) == MANY["1.1"]["1.1.1"]


def test_a_dicomweb_server_that_keeps_back_what_it_has_is_an_error() -> None:
    with (
        opened("dicomweb", OddPacs(MANY, says_more=True)) as source,
        pytest.raises(IntakeError, match="has more matches"),
    ):
        names(source)


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0xFE00])
def test_a_query_that_does_not_end_with_success_is_an_error(status: int) -> None:
    with (
        opened("dimse", OddPacs(MANY, status=status)) as source,
        pytest.raises(IntakeError, match=f"status {status:04X}"),
    ):
        names(source)


def test_a_pacs_that_ends_the_association_or_is_silent_is_an_error() -> None:
    two = {"1.1": {}, "1.2": {}}
    with (
        opened("dimse", OddPacs(two, is_aborting=True)) as source,
        pytest.raises(IntakeError, match="ended the association"),
    ):
        names(source)
    end = threading.Event()
    with opened("dimse", OddPacs(two, on_silence=end), timeout_s=1) as source:
        with pytest.raises(IntakeError, match="is silent"):
            names(source)
        end.set()


@pytest.mark.parametrize("status", [0x0000, 0xA702, 0xB000, 0xC000, 0xCFFF])
def test_a_film_that_the_pacs_cannot_send_is_no_reason_to_stop(status: int) -> None:
    with opened("dimse", OddPacs(status=status)) as source:
        for _ in range(2):
            with pytest.raises(FilmNotSent):
                source.fetch(FILM, BytesIO())


@pytest.mark.parametrize("status", [0x0122, 0x0124, 0xA701, 0xA801, 0xA900, 0xFE00])
def test_a_pacs_that_refuses_to_send_is_an_error_and_no_film_is_given_up(status: int) -> None:
    with (
        opened("dimse", OddPacs(status=status)) as source,
        pytest.raises(IntakeError, match=f"status {status:04X}"),
    ):
        source.fetch(FILM, BytesIO())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    profile = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck")
    create_site(folder, name="birch", declared_patients=10, profile=profile)
    return open_site(folder)


def refusal_of(choice: dict[str, object], site: Site) -> IntakeError:
    """Port 9 is nobody's: an attempt to connect would end otherwise."""
    with pytest.raises(IntakeError) as refusal:
        choose_inputs(Choice(**{"folder": site.folder, "dimse": "127.0.0.1:9"} | choice), site, HIP)
    return refusal.value


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        ({"called_aet": "A" * 17}, "invalid-ae-title"),
        ({"calling_aet": "BACK\\SLASH"}, "invalid-ae-title"),
        ({"calling_aet": "   "}, "invalid-ae-title"),
        ({"called_aet": ""}, "invalid-ae-title"),
        ({"called_aet": "TÄTIGKEIT"}, "invalid-ae-title"),
        ({"called_aet": "LINE\n"}, "invalid-ae-title"),
        ({"dimse": "pacs:²"}, "invalid-address"),
        ({"dimse": "pacs"}, "invalid-address"),
        ({"listen": "0.0.0.0:70000"}, "invalid-address"),
        ({"ca": Path("no-such.pem")}, "unreadable-ca"),
        ({"ca": Path(__file__)}, "unreadable-ca"),
        ({"ca": Path(__file__).parent}, "unreadable-ca"),
        ({"dimse": None, "dicomweb": "https://pacs/x", "ca": Path("no")}, "unreadable-ca"),
        ({"dimse": None, "dicomweb": "https://pacs:port/x"}, "invalid-pacs-url"),
        ({"dimse": None, "dicomweb": "https://[pacs/x"}, "invalid-pacs-url"),
        ({"dimse": None, "dicomweb": "https://:secret@pacs/x"}, "invalid-pacs-url"),
    ],
)
def test_what_is_named_wrongly_is_refused_before_any_connection(
    choice: dict[str, object], code: str, site: Site
) -> None:
    error = refusal_of(choice, site)
    assert error.code == f"intake.{code}"
    assert error.hint or code == "invalid-address"


def test_longest_and_oddest_ae_titles_are_taken(site: Site) -> None:
    for title in ("A" * 16, "with space", "~!@#[]^_`{|}"):
        choose_inputs(
            Choice(folder=site.folder, dimse="127.0.0.1:9", called_aet=title, calling_aet=title),
            site,
            HIP,
        )


def test_an_authority_is_for_a_way_that_is_encrypted(site: Site) -> None:
    ca = Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    for choice in ({"is_move": True}, {"dimse": None, "dicomweb": "http://127.0.0.1/x"}):
        error = refusal_of(choice | {"ca": ca}, site)
        assert error.code == "intake.films-in-the-clear"
    assert trust(None).minimum_version == ssl.TLSVersion.TLSv1_2
    assert trust(None).check_hostname


def test_a_query_file_that_cannot_be_read_is_refused_before_any_connection(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEOFED_TABLE_URL", "postgresql+psycopg://ada:CANARY@127.0.0.1:9/x")
    (tmp_path / "latin.sql").write_bytes("SELECT 'Größe'".encode("latin-1"))
    (tmp_path / "empty.sql").write_text("\n")
    for name in ("missing.sql", "latin.sql", "empty.sql", "."):
        error = refusal_of({"sql": tmp_path / name}, site)
        assert error.code == "intake.unreadable-query"
        assert "CANARY" not in str(error)


@pytest.mark.parametrize("login", ["no-colon", ":no-user", "two:lines\nada:pw", "Bearer two tokens"])
def test_a_login_that_cannot_be_one_is_refused_and_not_shown(
    login: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEOFED_DICOMWEB_LOGIN", login)
    error = refusal_of({"dimse": None, "dicomweb": "https://pacs/x"}, site)
    assert error.code == "intake.invalid-login"
    assert login not in str(error)
