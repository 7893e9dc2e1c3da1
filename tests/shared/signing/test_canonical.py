"""Canonical JSON by the examples of RFC 8785, hashes by published vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shared.signing.canonical import canonical_json, hash_file, hash_of, sha256_hex


def test_keys_are_sorted_numbers_are_short_and_nothing_is_padded() -> None:
    value = {"b": [1.0, 1e30, 0.002], "a": "€", "": None}
    assert canonical_json(value) == '{"":null,"a":"€","b":[1,1e+30,0.002]}'.encode()


def test_keys_are_sorted_by_their_utf16_units() -> None:
    # RFC 8785, 3.2.3: an emoji is a surrogate pair (D83D…) and comes before U+FB33
    assert canonical_json({"\ufb33": 1, "😂": 2}) == '{"😂":2,"\ufb33":1}'.encode()


def test_a_hash_is_sha256_of_the_bytes() -> None:
    # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_hex(b"abc") == known
    assert hash_of({"b": 1, "a": 2}) == hash_of({"a": 2, "b": 1}) == sha256_hex(b'{"a":2,"b":1}')


def test_a_file_of_several_blocks_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # 2.4 blocks
    path = tmp_path / "file"
    path.write_bytes(content)
    assert hash_file(path) == hashlib.sha256(content).hexdigest()
    path.write_bytes(b"")
    assert hash_file(path) == hashlib.sha256(b"").hexdigest()
