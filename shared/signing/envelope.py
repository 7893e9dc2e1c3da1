"""DSSE envelopes: a payload, its type, and Ed25519 signatures over both.

Source: Dead Simple Signing Envelope v1.0 (github.com/secure-systems-lab/dsse, ``protocol.md`` and
``envelope.md``). Stricter than the standard in two ways: a file has exactly one form, canonical JSON
and a newline, so that no byte of it can be changed unnoticed; and every signature in it must be
genuine under the key it names. Imports canonical, errors, files and keys.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import AuditError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json
from shared.signing.keys import SigningKey, verify

_PUBLIC_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Signature:
    """One signer: public key and signature, in hexadecimal digits."""

    public_key: str
    signature: str


@dataclass(frozen=True)
class Envelope:
    """A payload with the signatures it carries, oldest first."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()


def pre_auth_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: ``DSSEv1 len(type) type len(payload) payload``, joined by spaces."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def add_signature(envelope: Envelope, key: SigningKey) -> Envelope:
    """The envelope with one more signature, unless this key has signed already."""
    if any(each.public_key == key.public_hex for each in envelope.signatures):
        return envelope
    content = pre_auth_encoding(envelope.payload_type, envelope.payload)
    made = Signature(public_key=key.public_hex, signature=key.sign(content))
    return replace(envelope, signatures=(*envelope.signatures, made))


def require_signers(envelope: Envelope, public_keys: Sequence[str]) -> None:
    """Refuse an envelope that lacks one of these signers or carries a signature that is not genuine.

    Raises:
        AuditError: a signer is missing, named twice, or a signature is not of these bytes.
    """
    content = pre_auth_encoding(envelope.payload_type, envelope.payload)
    signers = [each.public_key for each in envelope.signatures]
    is_genuine = all(
        _PUBLIC_KEY.fullmatch(each.public_key) and verify(each.public_key, content, each.signature)
        for each in envelope.signatures
    )
    if not is_genuine or len(set(signers)) != len(signers):
        raise AuditError(
            "bad-signature",
            "a signature is not of this content, or a signer is named twice",
            hint="the file was changed after it was signed; ask for it again",
        )
    for public_key in public_keys:
        if public_key not in signers:
            raise AuditError(
                "signer-missing",
                f"key {public_key[:12]} has not signed; keys that have: "
                f"{[signer[:12] for signer in signers]}",
                hint="compare the key with the one you enrolled with, over another channel",
            )


def encode_envelope(envelope: Envelope) -> bytes:
    """The file's bytes: canonical JSON with base64 as DSSE has it, and a newline."""
    signatures = [
        {"keyid": each.public_key, "sig": _base64(bytes.fromhex(each.signature))}
        for each in envelope.signatures
    ]
    content = {
        "payload": _base64(envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": signatures,
    }
    return canonical_json(content) + b"\n"


def write_envelope(path: Path, envelope: Envelope) -> None:
    """Write an envelope."""
    write_atomic(path, encode_envelope(envelope))


def read_envelope(path: Path, *, payload_type: str) -> Envelope:
    """Read an envelope; its signatures are not checked yet, see ``require_signers``.

    Raises:
        AuditError: not an envelope of this payload type, or not in its one form.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        envelope = Envelope(
            payload_type=str(content["payloadType"]),
            payload=base64.b64decode(content["payload"], validate=True),
            signatures=tuple(
                Signature(
                    public_key=str(each["keyid"]),
                    signature=base64.b64decode(each["sig"], validate=True).hex(),
                )
                for each in content["signatures"]
            ),
        )
        is_in_its_form = encode_envelope(envelope) == data
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuditError(
            "unreadable-envelope",
            f"{path.name} is not a signed envelope: {type(error).__name__}",
            hint="name the file as it was written; do not edit or reformat it",
        ) from None
    if not is_in_its_form or envelope.payload_type != payload_type:
        raise AuditError(
            "changed-envelope",
            f"{path.name} must hold {payload_type} exactly as it was written",
            hint="name the file as it was written; do not edit or reformat it",
        )
    return envelope


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
