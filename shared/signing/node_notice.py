"""The replacing of a site's Flower node key: a notice to the coordinator that the site's key signs.

The node key lets a site's program reach the SuperLink and signs nothing of a patient's, so the ledger
knows nothing of it. Imports canonical, errors, files and keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import ProtocolError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json
from shared.signing.keys import SigningKey, verify

NODE_NOTICE_VERSION = 1
# How OpenSSH writes a public key of Flower's curve, P-384.
NODE_KEY = "^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+$"
# A signature of a notice can never be taken for one of a rotation, a ledger row or a message.
_DOMAIN = b"osteofed node key\n"


@dataclass(frozen=True, kw_only=True)
class NodeNotice:
    """``site`` reaches the SuperLink with ``node_key`` (an OpenSSH public key) from now on."""

    site: str
    node_key: str

    @property
    def content(self) -> bytes:
        """The bytes that the site's signing key signs."""
        return _DOMAIN + canonical_json(asdict(self))


def write_node_notice(path: Path, notice: NodeNotice, *, key: SigningKey) -> None:
    """Write what the coordinator needs to let the new node key in."""
    signed = {
        "node_notice": NODE_NOTICE_VERSION,
        **asdict(notice),
        "signature": key.sign(notice.content),
    }
    write_atomic(path, json.dumps(signed, indent=1).encode())


def is_node_notice(path: Path) -> bool:
    """Whether a file is a notice of a node key, and not of a signing key."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "node_notice" in content


def read_node_notice(path: Path, *, enrolled_keys: Mapping[str, str]) -> NodeNotice:
    """The notice, if the enrolled signing key of the site that it names has signed it.

    Args:
        path: file that ``osteofed-site rotate-node-key`` wrote.
        enrolled_keys: the signing key in force for each site.

    Raises:
        ProtocolError: unreadable, of another version, or signed by another key.
    """
    try:
        content = json.loads(path.read_bytes())
        version, signature = content.pop("node_notice"), content.pop("signature")
        notice = NodeNotice(**{name: str(value) for name, value in content.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(
            "unreadable-node-notice",
            f"{path.name} is no notice of a node key: {type(error).__name__}",
            hint="ask the site for the file that `osteofed-site rotate-node-key` wrote",
        ) from None
    if not re.match(NODE_KEY, notice.node_key):
        raise ProtocolError(
            "unreadable-node-notice",
            f"{path.name} names no P-384 key as OpenSSH writes it",
            hint="ask the site for the file that `osteofed-site rotate-node-key` wrote",
        )
    if version != NODE_NOTICE_VERSION:
        raise ProtocolError(
            "unknown-node-notice",
            f"a notice's version must be {NODE_NOTICE_VERSION}, not {version!r}",
            hint="install the release of OsteoFed that wrote this notice",
        )
    if not verify(enrolled_keys.get(notice.site, ""), notice.content, str(signature)):
        raise ProtocolError(
            "forged-node-notice",
            f"{path.name} is not signed by the enrolled key of an active site",
            hint="keep the enrolled node key; ask the site over another channel",
        )
    return notice
