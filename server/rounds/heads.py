"""The last ledger head that the coordinator has seen of a site, countersigned for the next request.

Every request that can cost a patient something carries one, in every run and every kind of validation,
so that a site notices at the next contact that its ledger was rolled back. Imports the run store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.federation.folder import Home
from server.run.folder import RunStore
from shared.contract.plan import RosterEntry
from shared.signing.countersign import countersign
from shared.signing.keys import SigningKey


@dataclass(frozen=True)
class CountersignedHead:
    """A head and the coordinator's signature; both empty for a site that has sent none yet."""

    ledger_head: str = ""
    countersignature: str = ""


def countersign_heads(
    store: RunStore, entries: Iterable[RosterEntry], *, key: SigningKey
) -> dict[str, CountersignedHead]:
    """The last head of each site on the roster, signed for this run's plan."""
    heads, plan_sha256 = Home(store.home).ledger_heads(), store.plan.sha256
    signed = {}
    for entry in entries:
        head = heads.get(entry.site, "")
        signed[entry.site] = CountersignedHead()
        if head:
            signature = countersign(key, site=entry.site, plan_sha256=plan_sha256, ledger_head=head)
            signed[entry.site] = CountersignedHead(head, signature)
    return signed
