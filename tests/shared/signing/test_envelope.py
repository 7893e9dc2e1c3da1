"""Envelopes: the standard's own vector, one form only, every signature genuine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import AuditError
from shared.signing.envelope import (
    Envelope,
    Signature,
    add_signature,
    encode_envelope,
    pre_auth_encoding,
    read_envelope,
    require_signers,
    write_envelope,
)
from shared.signing.keys import SigningKey, create_key

TYPE = "http://example.com/HelloWorld"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[SigningKey, SigningKey]:
    return create_key(tmp_path / "site.pem"), create_key(tmp_path / "coordinator.pem")


@pytest.fixture
def signed(keys: tuple[SigningKey, SigningKey]) -> Envelope:
    return add_signature(Envelope(TYPE, b"hello world"), keys[0])


def test_what_is_signed_is_the_standards_example() -> None:
    # DSSE protocol.md, test vector
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_auth_encoding(TYPE, b"hello world") == expected


def test_lengths_are_of_bytes_so_that_no_two_contents_sign_alike() -> None:
    assert pre_auth_encoding("é", b"") == "DSSEv1 2 é 0 ".encode()
    assert pre_auth_encoding("a 1", b"b") != pre_auth_encoding("a", b"1 b")


def test_a_file_is_read_back_and_its_signer_found(
    signed: Envelope, keys: tuple[SigningKey, SigningKey], tmp_path: Path
) -> None:
    path = tmp_path / "statement.json"
    write_envelope(path, signed)
    found = read_envelope(path, payload_type=TYPE)
    assert found == signed
    require_signers(found, [keys[0].public_hex])
    with pytest.raises(AuditError) as caught:
        require_signers(found, [keys[0].public_hex, keys[1].public_hex])
    assert caught.value.code == "audit.signer-missing"


def test_a_second_signer_signs_the_same_bytes_and_nobody_signs_twice(
    signed: Envelope, keys: tuple[SigningKey, SigningKey]
) -> None:
    both = add_signature(signed, keys[1])
    assert both.payload == signed.payload
    assert [each.public_key for each in both.signatures] == [key.public_hex for key in keys]
    require_signers(both, [key.public_hex for key in keys])
    assert add_signature(both, keys[0]) == both


def twice(envelope: Envelope) -> Envelope:
    return replace(envelope, signatures=envelope.signatures * 2)


def renamed(envelope: Envelope) -> Envelope:
    """The same signature under another spelling of its key."""
    [only] = envelope.signatures
    return replace(envelope, signatures=(only, Signature(only.public_key.upper(), only.signature)))


def spoilt(envelope: Envelope) -> Envelope:
    foreign = Signature(public_key="0" * 64, signature="0" * 128)
    return replace(envelope, signatures=(*envelope.signatures, foreign))


@pytest.mark.parametrize(
    "change",
    [
        twice,
        renamed,
        spoilt,
        lambda envelope: replace(envelope, payload=b"hello_world"),
        lambda envelope: replace(envelope, payload_type="http://example.com/Other"),
    ],
)
def test_an_envelope_with_any_signature_that_is_not_genuine_is_refused(
    signed: Envelope, keys: tuple[SigningKey, SigningKey], change: Callable[[Envelope], Envelope]
) -> None:
    with pytest.raises(AuditError) as caught:
        require_signers(change(signed), [keys[0].public_hex])
    assert caught.value.code == "audit.bad-signature"


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (lambda data: data + b"\n", "audit.changed-envelope"),
        (lambda data: data.removesuffix(b"\n"), "audit.changed-envelope"),
        (lambda data: json.dumps(json.loads(data)).encode(), "audit.changed-envelope"),
        (lambda data: data.replace(b"HelloWorld", b"OtherWorld"), "audit.changed-envelope"),
        (lambda data: data[:-5], "audit.unreadable-envelope"),
        (lambda data: b"[]", "audit.unreadable-envelope"),
        (lambda data: data.replace(b'"payload":"', b'"payload":"*'), "audit.unreadable-envelope"),
    ],
)
def test_a_file_has_exactly_one_form(
    signed: Envelope, tmp_path: Path, write: Callable[[bytes], bytes], code: str
) -> None:
    path = tmp_path / "statement.json"
    path.write_bytes(write(encode_envelope(signed)))
    with pytest.raises(AuditError) as caught:
        read_envelope(path, payload_type=TYPE)
    assert caught.value.code == code
