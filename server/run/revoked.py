"""What a revocation means for the runs of a home: the site gets no further message of any of them.

Imports amendments and the run folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from server.federation.folder import Home
from server.run.amendments import drop_site, dropped_sites
from server.run.folder import RunStore
from shared.contract.plan import read_plan

REASON = "its membership in the federation was revoked"


def drop_from_runs(home: Home, site: str, *, now: datetime, stops: bool) -> tuple[str, ...]:
    """Drop a site from every run whose roster has it; the runs, by name.

    Args:
        home: the coordinator's.
        site: an enrolled one, before it is revoked.
        now: when.
        stops: whether runs that are not finished are paused too, instead of going on without it.
    """
    [entry] = [each for each in home.active_sites() if each.site == site]
    keys = {entry.public_key, *entry.former_keys}
    runs = []
    for store in _runs(home):
        named = [each for each in store.plan.roster if each.site == site and each.public_key in keys]
        if not named or site in dropped_sites(store):
            continue
        drop_site(store, site, reason=REASON, key=home.key(), now=now)
        if stops and not (store.release_folder / "release.json").exists():
            store.pause()
        runs.append(store.plan.run)
    return tuple(runs)


def _runs(home: Home) -> Iterator[RunStore]:
    """Every run that has a plan, begun or not."""
    for path in sorted((home.folder / "runs").glob("*/plan.json")):
        yield RunStore(path.parent, read_plan(path, coordinator_key=home.key().public_hex))
