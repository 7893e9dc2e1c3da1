"""The federation's authority and what it issues, checked by real TLS handshakes."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from server.federation.certificates import (
    ServerCertificate,
    ensure_authority,
    ensure_server_certificate,
    renew_server_certificate,
)
from shared.errors import EngineError, ProtocolError
from shared.signing.keys import ensure_node_key

NOW = datetime.now(UTC)
HOSTS = ("127.0.0.1", "localhost")


def handshake(server: ServerCertificate, authority: Path, name: str) -> None:
    """A TLS connection over loopback; raises as a client of that authority would."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(server.certificate, server.key)
    asking = ssl.create_default_context(cafile=str(authority))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    here, there = socket.socketpair()

    def accept() -> None:
        try:
            accepting.wrap_socket(here, server_side=True).close()
        except ssl.SSLError:
            here.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        asking.wrap_socket(there, server_hostname=name).close()
    finally:
        there.close()
        thread.join()


def test_a_client_that_trusts_the_authority_accepts_the_server(tmp_path: Path) -> None:
    server = ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW)
    for name in HOSTS:
        handshake(server, server.authority, name)


def test_another_name_and_another_authority_are_refused(tmp_path: Path) -> None:
    server = ensure_server_certificate(tmp_path / "a", hosts=HOSTS, now=NOW)
    with pytest.raises(ssl.SSLError):
        handshake(server, server.authority, "hospital.example")
    with pytest.raises(ssl.SSLError):
        handshake(server, ensure_authority(tmp_path / "b", now=NOW), "localhost")


def test_the_authority_stays_the_same_when_the_server_certificate_is_renewed(
    tmp_path: Path,
) -> None:
    first = ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW - timedelta(days=310))
    before = first.certificate.read_bytes(), first.authority.read_bytes()
    renewed = ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW)
    assert renewed.certificate.read_bytes() != before[0]
    assert renewed.authority.read_bytes() == before[1]
    assert renewed.expires > NOW + timedelta(days=360)
    handshake(renewed, first.authority, "localhost")


def test_a_good_certificate_is_kept_and_a_new_host_asks_for_another(tmp_path: Path) -> None:
    first = ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW).certificate.read_bytes()
    assert ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW).certificate.read_bytes() == first
    wider = ensure_server_certificate(tmp_path, hosts=(*HOSTS, "fed.example"), now=NOW)
    assert wider.certificate.read_bytes() != first


def test_a_server_certificate_ends_no_later_than_its_authority(tmp_path: Path) -> None:
    ensure_authority(tmp_path, now=NOW - timedelta(days=365 * 10 - 100))
    server = ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW)
    assert timedelta(days=99) < server.expires - NOW < timedelta(days=101)
    handshake(server, server.authority, "localhost")


def test_half_an_authority_is_never_replaced(tmp_path: Path) -> None:
    ensure_authority(tmp_path, now=NOW)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(EngineError) as caught:
        ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW)
    assert caught.value.code == "engine.half-authority"


def test_an_expired_authority_is_named_and_not_replaced(tmp_path: Path) -> None:
    ensure_authority(tmp_path, now=NOW - timedelta(days=3651))
    with pytest.raises(EngineError) as caught:
        ensure_authority(tmp_path, now=NOW)
    assert caught.value.code == "engine.authority-expired"


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    server = ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW)
    ensure_node_key(tmp_path / "node.key")
    for path in (server.key, tmp_path / "ca.key", tmp_path / "node.key"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_node_key_is_a_p384_pair_and_is_made_once(tmp_path: Path) -> None:
    public = ensure_node_key(tmp_path / "node.key")
    private = load_ssh_private_key((tmp_path / "node.key").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.curve.name == "secp384r1"
    assert private.public_key() == load_ssh_public_key(public.read_bytes())
    content = public.read_bytes()
    assert ensure_node_key(tmp_path / "node.key").read_bytes() == content


@pytest.mark.parametrize("name", ["ca.key", "server.key"])
def test_a_key_that_others_may_read_serves_nobody(tmp_path: Path, name: str) -> None:
    ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW)
    (tmp_path / name).chmod(0o640)
    with pytest.raises(ProtocolError) as caught:
        ensure_server_certificate(tmp_path, hosts=HOSTS, now=NOW)
    assert caught.value.code == "protocol.open-key"


def test_a_renewed_certificate_has_the_names_and_the_authority_of_the_former_and_a_key_of_its_own(
    tmp_path: Path,
) -> None:
    past = NOW - timedelta(days=300)
    former = ensure_server_certificate(tmp_path, hosts=(*HOSTS, "fl.example"), now=past)
    authority, key = former.authority.read_bytes(), former.key.read_bytes()
    renewed = renew_server_certificate(tmp_path, now=NOW)
    for name in (*HOSTS, "fl.example"):
        handshake(renewed, renewed.authority, name)
    assert renewed.expires - former.expires == timedelta(days=300)
    assert renewed.authority.read_bytes() == authority
    assert renewed.key.read_bytes() != key
    with pytest.raises(EngineError, match="not a certificate"):
        renew_server_certificate(tmp_path / "new", now=NOW)
