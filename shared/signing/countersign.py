"""The coordinator's countersignature of a site's ledger head.

A site whose ledger was restored from a backup or a snapshot is behind the last head that the
coordinator countersigned, and then refuses to train. Owns the signed content; imports canonical and
keys only.
"""

from __future__ import annotations

from shared.signing.canonical import canonical_json
from shared.signing.keys import SigningKey, verify


def countersign(key: SigningKey, *, site: str, plan_sha256: str, ledger_head: str) -> str:
    """The coordinator's signature over a site's ledger head, 128 hexadecimal digits."""
    return key.sign(_content(site, plan_sha256, ledger_head))


def verify_countersignature(
    coordinator_key: str, signature: str, *, site: str, plan_sha256: str, ledger_head: str
) -> bool:
    """Whether the coordinator countersigned this head of this site under this plan."""
    return verify(coordinator_key, _content(site, plan_sha256, ledger_head), signature)


def _content(site: str, plan_sha256: str, ledger_head: str) -> bytes:
    return canonical_json({"site": site, "ledger_head": ledger_head, "plan_sha256": plan_sha256})
