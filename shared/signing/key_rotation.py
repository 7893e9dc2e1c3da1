"""The handing over of a site's signing key: one statement that the old and the new key both sign.

The statement names the ledger's last head, so that the new key vouches for every row before it. It
stands in the ledger (``shared.privacy.ledger_format``) and, as a notice, in a file for the coordinator.
Imports canonical, errors, files and keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import LedgerError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json
from shared.signing.keys import SigningKey, verify

NOTICE_VERSION = 1
# A signature of a rotation can never be taken for one of a ledger row or a message.
_DOMAIN = b"osteofed key rotation\n"


@dataclass(frozen=True, kw_only=True)
class KeyRotation:
    """``old_key`` hands over to ``new_key`` after the ledger row with the hash ``ledger_head``."""

    site: str
    old_key: str
    new_key: str
    ledger_head: str

    @property
    def content(self) -> bytes:
        """The bytes that both keys sign."""
        return _DOMAIN + canonical_json(asdict(self))

    def is_signed(self, public_key: str, signature: str) -> bool:
        """Whether a key has signed this rotation."""
        return verify(public_key, self.content, signature)


def write_notice(path: Path, rotation: KeyRotation, *, old: SigningKey, new_signature: str) -> None:
    """Write what the coordinator needs to replace the enrolled key."""
    notice = {
        "version": NOTICE_VERSION,
        **asdict(rotation),
        "old_signature": old.sign(rotation.content),
        "new_signature": new_signature,
    }
    write_atomic(path, json.dumps(notice, indent=1).encode())


def read_notice(path: Path, *, enrolled_keys: Mapping[str, str]) -> KeyRotation:
    """The rotation in a notice, if it starts from the enrolled key of the site that it names.

    Args:
        path: file that ``osteofed-site rotate-key`` wrote.
        enrolled_keys: the public key in force for each site.

    Raises:
        LedgerError: unreadable, of another version, or not signed by the enrolled and the new key.
    """
    try:
        notice = json.loads(path.read_bytes())
        version = notice.pop("version")
        old_signature, new_signature = notice.pop("old_signature"), notice.pop("new_signature")
        rotation = KeyRotation(**{name: str(value) for name, value in notice.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(
            "unreadable-rotation",
            f"{path.name} is no notice of a rotated key: {type(error).__name__}",
            hint="ask the site for the file that `osteofed-site rotate-key` wrote",
        ) from None
    if version != NOTICE_VERSION:
        raise LedgerError(
            "unknown-version",
            f"a notice's version must be {NOTICE_VERSION}, not {version!r}",
            hint="install the release of OsteoFed that wrote this notice",
        )
    is_genuine = (
        enrolled_keys.get(rotation.site) == rotation.old_key
        and rotation.is_signed(rotation.old_key, str(old_signature))
        and rotation.is_signed(rotation.new_key, str(new_signature))
    )
    if not is_genuine:
        raise LedgerError(
            "forged-rotation",
            f"{path.name} is not signed by a site's enrolled key and by the key that follows",
            hint="keep the enrolled key; ask the site over another channel",
        )
    return rotation
