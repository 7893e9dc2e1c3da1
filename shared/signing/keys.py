"""Ed25519 signing keys and sealed files: the project's one door to ``cryptography``'s primitives.

A public key is written as 64 hexadecimal digits. Imports errors and files only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from shared.errors import PlanError, ProtocolError
from shared.machine.files import write_atomic

# Of 64 hexadecimal digits: fewer than 16 could be found again by trying keys.
_SPOKEN_DIGITS, _FEWEST_TOLD = 24, 16
_KEY, _SIGNATURE = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{128}")


class SigningKey:
    """A private Ed25519 key that signs bytes."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_hex = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, data: bytes) -> str:
        """Signature of ``data`` as 128 hexadecimal digits."""
        return self._private.sign(data).hex()


def create_key(path: Path) -> SigningKey:
    """Make a key from the operating system's randomness and write it, readable by its owner only."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(path, pem, mode=0o600)
    return SigningKey(private)


def load_key(path: Path) -> SigningKey:
    """Read a key written by ``create_key``.

    Raises:
        ProtocolError: it is missing, damaged, closed to this user, open to others or of another kind.
    """
    require_closed(path)
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ProtocolError(
            "unreadable-key",
            f"key file {path.name} cannot be read: {type(error).__name__}",
            hint="restore it from backup: nobody else can sign in its place",
        ) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ProtocolError(
            "wrong-key-kind",
            f"key file {path.name} must hold an Ed25519 key",
            hint="restore it from backup: nobody else can sign in its place",
        )
    return SigningKey(private)


def require_closed(path: Path) -> None:
    """Refuse a private key that others than its owner may read or write.

    Raises:
        ProtocolError: it is missing, or open to others.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ProtocolError(
            "unreadable-key",
            f"key file {path.name} cannot be read: {type(error).__name__}",
            hint="restore it from backup: nobody else can sign in its place",
        ) from None
    if mode & 0o077:
        raise ProtocolError(
            "open-key",
            f"key file {path.name} must be open to its owner only (0600), not {mode & 0o777:04o}",
            hint=f"chmod 600 {path}; where somebody else may have read it, rotate it",
        )


def spoken(public_hex: str) -> str:
    """The first 24 digits of a public key in groups of four, for two people on the telephone.

    To find another key with the same ones takes about 2^96 tries.
    """
    digits = public_hex[:_SPOKEN_DIGITS]
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def require_same_key(key: str, *, told: str, file: str) -> None:
    """Refuse a key that a file vouches for itself with, unless its owner told it over another channel.

    Args:
        key: of the file.
        told: the whole key, or its first digits; case and spaces do not matter.
        file: its name.

    Raises:
        PlanError: too few digits, or another key.
    """
    digits = "".join(told.split()).lower()
    if len(digits) < _FEWEST_TOLD:
        raise PlanError(
            "short-key",
            f"a key must be told with its first {_FEWEST_TOLD} digits or more, not {len(digits)}",
            hint="`init` and `doctor` show it to its owner, in groups of four",
        )
    if not key.startswith(digits):
        raise PlanError(
            "untold-key",
            f"{file} names the key {spoken(key)} …, which is not the one that was told",
            hint="nothing was changed: ask its owner over another channel which file is theirs",
        )


def verify(public_hex: str, data: bytes, signature_hex: str) -> bool:
    """Whether ``signature_hex`` is ``public_hex``'s signature of ``data``; malformed input is False.

    Both have one form, 64 and 128 lower-case digits: what is kept of them reads alike everywhere.
    """
    if not (_KEY.fullmatch(public_hex) and _SIGNATURE.fullmatch(signature_hex)):
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))
        key.verify(bytes.fromhex(signature_hex), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def seal(secret: bytes, data: bytes, *, purpose: str) -> bytes:
    """``data`` encrypted and authenticated with ChaCha20-Poly1305 under a 32-byte secret.

    Source: RFC 8439; a fresh random nonce of 12 bytes goes first.
    """
    nonce = os.urandom(12)
    return nonce + ChaCha20Poly1305(secret).encrypt(nonce, data, purpose.encode())


def unseal(secret: bytes, sealed: bytes, *, purpose: str) -> bytes:
    """What ``seal`` encrypted under the same secret and purpose.

    Raises:
        ValueError: another secret or purpose, or changed bytes.
    """
    try:
        return ChaCha20Poly1305(secret).decrypt(sealed[:12], sealed[12:], purpose.encode())
    except InvalidTag:
        raise ValueError("sealed bytes were changed, or the key is another one") from None


def ensure_node_key(path: Path) -> Path:
    """A SuperNode's authentication key (EC P-384, OpenSSH); returns the public key's file."""
    public = path.with_name(path.name + ".pub")
    if not (path.exists() and public.exists()):
        private = ec.generate_private_key(ec.SECP384R1())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        write_atomic(path, pem, mode=0o600)
        write_atomic(public, line + b"\n")
    return public
