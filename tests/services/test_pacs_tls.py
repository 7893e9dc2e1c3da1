"""DIMSE over TLS with a real Orthanc: films come to who trusts the right authority, to nobody else."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from practice_services import Pacs, orthanc

from client.intake.sources.dimse import Dimse, DimseAddress
from client.intake.sources.staging import FilmQuery, stage
from client.site.linkage import Pseudonyms
from server.federation.certificates import ensure_authority, ensure_server_certificate
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects
from shared.errors import IntakeError

pytestmark = pytest.mark.services

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def pacs(packages: None, folder: Path) -> Iterator[Pacs]:
    """Orthanc that speaks TLS alone, with a certificate for 127.0.0.1."""
    own = ensure_server_certificate(folder, hosts=("127.0.0.1",), now=NOW)
    with orthanc(
        folder,
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(own.certificate),
        DicomTlsPrivateKey=str(own.key),
        DicomTlsTrustedCertificates=str(own.authority),
        DicomTlsRemoteCertificateRequired=False,
    ) as found:
        write_hospital(folder / "hospital", replace(BIRCH, n_patients=6, defects=Defects()), 3)
        assert found.push(folder / "hospital" / "films") >= 6
        yield found


def address_of(pacs: Pacs, **changes: object) -> DimseAddress:
    known = DimseAddress(
        host="127.0.0.1", port=pacs.dimse_port, called_aet="TESTPACS", calling_aet="OSTEOFED"
    )
    return replace(known, **changes)


def bring(address: DimseAddress, home: Path) -> list[bytes]:
    with closing(Dimse(address, timeout_s=20)) as source:
        films = stage(
            source, FilmQuery(), home / "staging", pseudonyms=Pseudonyms(b"\x07" * 32), issuer="",
            is_withdrawn=lambda patient: False,
        )  # fmt: skip
    assert {film.code for film in films} == {""}
    return [film.path.read_bytes()[-4000:] for film in films]


def test_films_come_over_tls_from_a_pacs_with_the_right_certificate(
    pacs: Pacs, folder: Path, tmp_path: Path
) -> None:
    came = bring(address_of(pacs, ca=folder / "ca.pem"), tmp_path)
    sent = {path.read_bytes()[-4000:] for path in (folder / "hospital" / "films").iterdir()}
    assert set(came) == sent


def test_with_another_authority_or_another_name_no_film_comes(
    pacs: Pacs, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = ensure_authority(tmp_path / "other", now=NOW)
    right = folder / "ca.pem"
    for changes, says in (
        ({"ca": other}, "certificate is refused"),
        ({"ca": right, "host": "localhost"}, "certificate is refused: Hostname mismatch"),
    ):
        with pytest.raises(IntakeError) as refusal:
            bring(address_of(pacs, **changes), tmp_path)
        assert refusal.value.code == "intake.pacs-unreachable"
        assert says in refusal.value.fact
    assert not list(tmp_path.rglob("*.dcm"))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # pynetdicom's, where the PACS hangs up
def test_without_an_authority_a_pacs_that_wants_tls_sends_nothing(pacs: Pacs, tmp_path: Path) -> None:
    error = ""
    try:
        bring(address_of(pacs), tmp_path)
    except IntakeError as refusal:
        error = str(refusal)
    gc.collect()
    assert "the PACS refuses the association" in error
    assert "--ca" in error
    assert not list(tmp_path.rglob("*.dcm"))


def test_tls_asked_of_a_pacs_that_does_not_speak_it_is_an_error(
    folder: Path, pacs: Pacs, tmp_path: Path
) -> None:
    port = int(pacs.rest.rpartition(":")[2])  # plain HTTP
    with pytest.raises(IntakeError, match="does not speak TLS"):
        bring(address_of(pacs, ca=folder / "ca.pem", port=port), tmp_path)
