"""A notice of a node key counts only under the signing key that the coordinator knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import ProtocolError
from shared.signing.keys import SigningKey, create_key, ensure_node_key
from shared.signing.node_notice import (
    NodeNotice,
    is_node_notice,
    read_node_notice,
    write_node_notice,
)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return create_key(tmp_path / "signing.pem")


@pytest.fixture
def path(tmp_path: Path, key: SigningKey) -> Path:
    node_key = ensure_node_key(tmp_path / "node.key").read_text().strip()
    write_node_notice(tmp_path / "n.json", NodeNotice(site="elm", node_key=node_key), key=key)
    return tmp_path / "n.json"


def test_a_notice_is_read_back_under_the_enrolled_key(path: Path, key: SigningKey) -> None:
    assert is_node_notice(path)
    found = read_node_notice(path, enrolled_keys={"elm": key.public_hex})
    assert (found.site, found.node_key[:20]) == ("elm", "ecdsa-sha2-nistp384 ")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"node_key": "ecdsa-sha2-nistp384 AAAA"}, "protocol.forged-node-notice"),
        ({"site": "oak"}, "protocol.forged-node-notice"),
        ({"node_key": "ssh-rsa AAAA"}, "protocol.unreadable-node-notice"),
        ({"node_notice": 2}, "protocol.unknown-node-notice"),
        ({"more": 1}, "protocol.unreadable-node-notice"),
        ({"signature": None}, "protocol.forged-node-notice"),
    ],
)
def test_a_notice_that_was_changed_is_refused(
    change: dict[str, object], code: str, path: Path, key: SigningKey
) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ProtocolError) as caught:
        read_node_notice(path, enrolled_keys={"elm": key.public_hex, "oak": key.public_hex})
    assert caught.value.code == code


def test_a_stranger_and_another_sites_key_sign_no_notice(path: Path, tmp_path: Path) -> None:
    other = create_key(tmp_path / "other.pem")
    for enrolled in ({}, {"elm": other.public_hex}):
        with pytest.raises(ProtocolError, match="not signed by the enrolled key"):
            read_node_notice(path, enrolled_keys=enrolled)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1}', b"\xff"])
def test_what_is_no_notice_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "n.json"
    path.write_bytes(content)
    assert not is_node_notice(path)
    with pytest.raises(ProtocolError, match="is no notice of a node key"):
        read_node_notice(path, enrolled_keys={})
