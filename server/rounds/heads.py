"""The last ledger head that the coordinator has seen of a site, countersigned for the next request.

Every request that can cost a patient something carries one, in every run and every kind of validation,
so that a site notices at the next contact that its ledger was rolled back. The same heads show the
coordinator that its own home was: at hello sites say which one it has signed last. Imports the run
store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from server.federation.folder import Home
from server.run.folder import RunStore
from shared.contract.plan import RosterEntry
from shared.errors import RunError
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
    heads, plan_sha256 = Home(store.home).heads_of(store.keys), store.plan.sha256
    signed = {}
    for entry in entries:
        head = heads.get(entry.site, "")
        signed[entry.site] = CountersignedHead()
        if head:
            signature = countersign(key, site=entry.site, plan_sha256=plan_sha256, ledger_head=head)
            signed[entry.site] = CountersignedHead(head, signature)
    return signed


def require_newest_home(store: RunStore, countersigned: Mapping[str, str]) -> None:
    """Refuse to go on with a home to which sites are ahead, before any of them pays.

    Args:
        store: the run.
        countersigned: by site, the head that this coordinator has signed last under this plan, as the
            site says; empty before the first.

    Raises:
        RunError: a head was signed here of which this home knows nothing.
    """
    home = Home(store.home)
    ledgers = home.ledgers_of(store.keys)
    signed = {site: head for site, head in countersigned.items() if head}
    ahead = [site for site, head in signed.items() if not home.has_seen(ledgers[site], head)]
    if ahead:
        raise RunError(
            "older-home",
            f"sites {ahead} are ahead of this home, an older copy: its key has signed heads of "
            "theirs that it does not know",
            hint="restore a newer copy of the coordinator's folder; nobody was asked or paid. Where "
            "there is none, this run cannot go on: write a new plan",
        )
