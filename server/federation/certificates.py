"""The coordinator's TLS: one certificate authority for the federation's life, server certificates it
renews, and the key pairs with which SuperNodes authenticate.

Sites trust the authority once; renewing the server's certificate changes nothing for them. With
``shared.signing.keys`` and ``shared.privacy.noise`` the only module that imports ``cryptography``.

    <folder>/ca.pem  ca.key      the authority, made once, never replaced silently
    <folder>/server.pem .key     the SuperLink's certificate
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import EngineError
from shared.machine.files import write_atomic
from shared.signing.keys import require_closed

AUTHORITY_YEARS = 10
SERVER_DAYS = 365
RENEW_DAYS = 60
_CLOCK_SLACK = timedelta(hours=1)  # a hospital's clock may be behind the coordinator's


@dataclass(frozen=True)
class ServerCertificate:
    """Files that a SuperLink needs, and until when they hold."""

    authority: Path
    certificate: Path
    key: Path
    expires: datetime


def ensure_authority(folder: Path, *, now: datetime) -> Path:
    """The authority's certificate file; made if there is none.

    Raises:
        EngineError: certificate or key is missing beside the other, or the authority expired.
    """
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() != key.exists():
        raise EngineError(
            "half-authority",
            f"{folder.name} holds only one of ca.pem and ca.key",
            hint="restore both from the backup; a new authority must be sent to every site",
        )
    if not certificate.exists():
        _make_authority(certificate, key, now=now)
    elif _load(certificate).not_valid_after_utc <= now:
        raise EngineError(
            "authority-expired",
            f"the authority in {folder.name} expired",
            hint="move ca.pem and ca.key away, make a new one, and send it to every site",
        )
    return certificate


def ensure_server_certificate(
    folder: Path, *, hosts: Sequence[str], now: datetime
) -> ServerCertificate:
    """The SuperLink's certificate for these hosts, issued anew within 60 days of its end.

    Args:
        hosts: DNS names and IP addresses under which sites reach the SuperLink.

    Raises:
        EngineError: as ``ensure_authority``.
        ProtocolError: the key of the authority or of the server is open to others.
    """
    authority = ensure_authority(folder, now=now)
    require_closed(folder / "ca.key")
    certificate, key = folder / "server.pem", folder / "server.key"
    if not (certificate.exists() and key.exists() and _is_good(certificate, hosts, now)):
        _issue(folder, certificate, key, hosts=hosts, now=now)
    require_closed(key)
    return ServerCertificate(authority, certificate, key, _load(certificate).not_valid_after_utc)


def renew_server_certificate(folder: Path, *, now: datetime) -> ServerCertificate:
    """Issue the SuperLink's certificate anew, under a new key, for the names it has.

    Raises:
        EngineError: there is none yet, or as ``ensure_authority``.
        ProtocolError: the key of the authority is open to others.
    """
    authority = ensure_authority(folder, now=now)
    require_closed(folder / "ca.key")
    certificate, key = folder / "server.pem", folder / "server.key"
    names = _load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    _issue(folder, certificate, key, hosts=[str(name.value) for name in names], now=now)
    return ServerCertificate(authority, certificate, key, certificate_ends(certificate))


def certificate_ends(certificate: Path) -> datetime:
    """When a certificate ends.

    Raises:
        EngineError: the file is none.
    """
    return _load(certificate).not_valid_after_utc


def _make_authority(certificate: Path, key: Path, *, now: datetime) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OsteoFed federation authority")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + timedelta(days=365 * AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(private, hashes.SHA256())
    )
    _write_key(key, private)
    write_atomic(certificate, built.public_bytes(Encoding.PEM))


def _issue(folder: Path, certificate: Path, key: Path, *, hosts: Sequence[str], now: datetime) -> None:
    authority = _load(folder / "ca.pem")
    signer = load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise EngineError("half-authority", "ca.key must hold an elliptic-curve key")
    private = ec.generate_private_key(ec.SECP256R1())
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]))
        .issuer_name(authority.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(min(now + timedelta(days=SERVER_DAYS), authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    _write_key(key, private)
    write_atomic(certificate, built.public_bytes(Encoding.PEM))


def _is_good(path: Path, hosts: Sequence[str], now: datetime) -> bool:
    certificate = _load(path)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    has_names = {_general_name(host) for host in hosts} <= set(names)
    return has_names and certificate.not_valid_after_utc - now > timedelta(days=RENEW_DAYS)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EngineError(
            "bad-certificate",
            f"{path.name} is not a certificate: {type(error).__name__}",
            hint="restore it from the backup",
        ) from None


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(path, pem, mode=0o600)
