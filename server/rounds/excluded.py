"""Who is not waited for any more: a site that is not required and has hung in rounds in a row.

Each round would wait for it until its deadline. It is greeted in passing instead, and asked again in
the round after its answer. What is kept of committed rounds tells who it is. After a restart of the
ServerApp every site is greeted afresh. Imports the exchange and the stage's folder.
"""

from __future__ import annotations

from collections.abc import Iterable

from server.rounds.exchange import DEADLINE_PASSED, Exchange
from server.run.events import EXCLUDED
from server.run.stage_folder import StageFolder
from shared.contract.plan import RosterEntry

MISSES_IN_A_ROW = 2  # after which a site is excluded


def exclude_hung(
    exchange: Exchange, folder: StageFolder, entries: Iterable[RosterEntry], *, number: int
) -> None:
    """Leave the sites that have missed so many rounds before this one by their deadline.

    A required site is never left. One that was readmitted and misses again is left at once.
    """
    last = folder.missing(number - 1)
    for entry in entries:
        site = entry.site
        if entry.is_required or site not in exchange.sites or last.get(site) != DEADLINE_PASSED:
            continue
        if _missed_in_a_row(folder, site, before=number) >= MISSES_IN_A_ROW:
            exchange.leave(site, EXCLUDED)


def readmitted(exchange: Exchange, folder: StageFolder, *, number: int) -> tuple[str, ...]:
    """Sites that were excluded in the round before and have answered a hello since."""
    last = folder.missing(number - 1)
    return tuple(site for site, code in last.items() if code == EXCLUDED and site in exchange.sites)


def _missed_in_a_row(folder: StageFolder, site: str, *, before: int) -> int:
    """Rounds that a site has missed by their deadline; those in which it was excluded end no row."""
    missed = 0
    for number in range(before - 1, 0, -1):
        code = folder.missing(number).get(site)
        if code not in (DEADLINE_PASSED, EXCLUDED) or missed == MISSES_IN_A_ROW:
            break
        missed += code == DEADLINE_PASSED
    return missed
