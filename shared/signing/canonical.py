"""Canonical JSON (RFC 8785) and SHA-256: the one way anything of ours is hashed or signed.

Imports nothing of the project.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import rfc8785


def canonical_json(value: object) -> bytes:
    """RFC 8785 bytes of a JSON value: equal values give equal bytes on every machine."""
    return rfc8785.dumps(value)  # type: ignore[arg-type]


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_of(value: object) -> str:
    """SHA-256 of the canonical JSON of ``value``."""
    return sha256_hex(canonical_json(value))


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
