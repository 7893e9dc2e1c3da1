"""Keys and seals: published vectors, owners only, and nothing malformed is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.errors import PlanError, ProtocolError
from shared.signing.keys import (
    SigningKey,
    create_key,
    ensure_node_key,
    load_key,
    require_same_key,
    seal,
    spoken,
    unseal,
    verify,
)

# RFC 8032, 7.1, test 2: a message of one byte
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signatures_are_those_of_the_standard() -> None:
    key = SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET)))
    assert key.public_hex == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    assert verify(PUBLIC, b"\x72", SIGNATURE)


@pytest.mark.parametrize(
    ("public", "data", "signature"),
    [
        (PUBLIC, b"\x73", SIGNATURE),
        (PUBLIC, b"", SIGNATURE),
        (PUBLIC, b"\x72", "00" + SIGNATURE[2:]),
        (PUBLIC, b"\x72", SIGNATURE[:-2]),
        (PUBLIC, b"\x72", ""),
        (PUBLIC, b"\x72", "no hexadecimal"),
        ("", b"\x72", SIGNATURE),
        (PUBLIC[:-2], b"\x72", SIGNATURE),
        ("ff" + PUBLIC[2:], b"\x72", SIGNATURE),
        ("zz" * 32, b"\x72", SIGNATURE),
        # the same bytes in another spelling, which other programs need not read
        (PUBLIC, b"\x72", SIGNATURE.upper()),
        (PUBLIC, b"\x72", f"{SIGNATURE[:2]} {SIGNATURE[2:]}"),
        (PUBLIC.upper(), b"\x72", SIGNATURE),
    ],
)
def test_a_wrong_or_malformed_signature_is_false_and_never_an_error(
    public: str, data: bytes, signature: str
) -> None:
    assert not verify(public, data, signature)


def test_a_key_is_read_back_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "site.pem"
    key = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).public_hex == key.public_hex
    assert create_key(tmp_path / "other.pem").public_hex != key.public_hex


def test_what_is_no_key_is_refused_by_name(tmp_path: Path) -> None:
    missing, damaged, other = (tmp_path / name for name in ("missing", "damaged", "other"))
    damaged.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    private = ec.generate_private_key(ec.SECP256R1())
    other.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for path in (damaged, other):
        path.chmod(0o600)
    for path, code in (
        (missing, "protocol.unreadable-key"),
        (damaged, "protocol.unreadable-key"),
        (other, "protocol.wrong-key-kind"),
    ):
        with pytest.raises(ProtocolError) as caught:
            load_key(path)
        assert caught.value.code == code


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644, 0o777])
def test_a_key_that_others_may_touch_is_refused_until_it_is_closed(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.pem"
    key = create_key(path)
    path.chmod(mode)
    with pytest.raises(ProtocolError, match=f"not {mode:04o}") as caught:
        load_key(path)
    assert caught.value.code == "protocol.open-key"
    assert f"chmod 600 {path}" in caught.value.hint
    for closed in (0o600, 0o400):
        path.chmod(closed)
        assert load_key(path).public_hex == key.public_hex


def test_a_key_is_spoken_in_six_groups_that_begin_it() -> None:
    assert spoken(PUBLIC) == "3d40 17c3 e843 895a 92b7 0aa7"
    assert PUBLIC.startswith(spoken(PUBLIC).replace(" ", ""))
    assert spoken(PUBLIC[:22] + "00" + PUBLIC[24:]) != spoken(PUBLIC)


def test_a_seal_opens_for_its_secret_and_purpose_alone_and_is_never_the_same_twice() -> None:
    secret, other = b"\x01" * 32, b"\x02" * 32
    sealed = seal(secret, b"Mrs Canary", purpose="linkage")
    assert unseal(secret, sealed, purpose="linkage") == b"Mrs Canary"
    assert b"Canary" not in sealed
    assert seal(secret, b"Mrs Canary", purpose="linkage") != sealed
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for key, data, purpose in (
        (other, sealed, "linkage"),
        (secret, sealed, "journal"),
        (secret, changed, "linkage"),
        (secret, sealed[:11], "linkage"),
    ):
        with pytest.raises(ValueError, match=r".+"):
            unseal(key, data, purpose=purpose)


def test_a_node_key_is_made_once_and_again_when_half_of_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "node_key"
    public = ensure_node_key(path)
    line = public.read_text()
    assert line.startswith("ecdsa-sha2-nistp384 ")
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_node_key(path).read_text() == line
    public.unlink()
    assert ensure_node_key(path).read_text() != line, "a pair belongs together"


KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize("told", [KEY, KEY[:16], KEY.upper(), "0123 4567 89ab cdef 0123"])
def test_the_told_key_may_be_its_first_digits_in_any_spelling(told: str) -> None:
    require_same_key(KEY, told=told, file="a.json")


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("", "plan.short-key"),
        (KEY[:15], "plan.short-key"),
        (KEY[1:], "plan.untold-key"),
        (KEY[:-1] + "0", "plan.untold-key"),
        (KEY + "0", "plan.untold-key"),
    ],
)
def test_another_key_or_too_little_of_it_is_refused(told: str, code: str) -> None:
    with pytest.raises(PlanError) as caught:
        require_same_key(KEY, told=told, file="a.json")
    assert caught.value.code == code
