"""The heads that a request carries: each site's own, signed for this run's plan."""

from __future__ import annotations

from pathlib import Path

import practice_federation as practice

from server.federation.folder import Home
from server.rounds.heads import CountersignedHead, countersign_heads
from shared.privacy.ledger_format import LedgerHead
from shared.signing.countersign import verify_countersignature
from shared.signing.keys import load_key

HEADS = {
    name: LedgerHead(index=4, sha256=digit * 64) for name, digit in (("site-0", "a"), ("site-1", "b"))
}


def test_each_site_gets_its_own_head_signed_and_a_new_site_none(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=3)
    key = load_key(store.home / "keys" / "coordinator.pem")
    Home(store.home).record_heads(HEADS)
    heads = countersign_heads(store, store.plan.sites("training"), key=key)
    assert list(heads) == ["site-0", "site-1", "site-2"]
    assert heads["site-2"] == CountersignedHead("", "")
    for site, head in (("site-0", "a" * 64), ("site-1", "b" * 64)):
        assert heads[site].ledger_head == head
        signed = {"site": site, "plan_sha256": store.plan.sha256, "ledger_head": head}
        assert verify_countersignature(key.public_hex, heads[site].countersignature, **signed)


def test_only_the_sites_that_are_asked_get_one(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=3)
    key = load_key(store.home / "keys" / "coordinator.pem")
    Home(store.home).record_heads(HEADS)
    assert list(countersign_heads(store, [store.plan.entry("site-1")], key=key)) == ["site-1"]
