"""One stage as it is played, and who is let into its rounds.

A round is begun where its disk has room, the home is no older than what its key has signed, and enough
sites are there (``server.rounds.enough``); else it is not asked for, and nobody pays. It stands where
enough totals came. Imports the exchange and the run store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from server.federation.folder import Home
from server.rounds.enough import needed_in, what_lacks
from server.rounds.exchange import ABSENT, Exchange
from server.rounds.excluded import exclude_hung, readmitted
from server.rounds.heads import require_newest_home
from server.rounds.weights_delivery import deliver_encoder
from server.run.advice import next_step
from server.run.amendments import DROPPED, dropped_sites
from server.run.events import READMITTED
from server.run.folder import Event, RunStore
from server.run.journal import Journal
from server.run.stage_folder import RoundState, StageFolder
from server.run.stopped import STOPPED, stop_of
from shared.contract.plan import RosterEntry
from shared.contract.stages import Stage
from shared.errors import RunError
from shared.signing.keys import SigningKey
from shared.stages.stage_sum import StageSum


@dataclass(frozen=True)
class Play:
    """One stage as it is played: whom it can reach, where it is kept, what it asks, who signs."""

    exchange: Exchange
    store: RunStore
    folder: StageFolder
    asked: StageSum
    key: SigningKey

    @property
    def stage(self) -> Stage:
        """The stage's settings."""
        return self.folder.stage

    @property
    def entries(self) -> tuple[RosterEntry, ...]:
        """The sites that the stage asks, in roster order."""
        return self.store.plan.asked(self.stage)

    @property
    def left_out(self) -> dict[str, str]:
        """Sites that get no message, and why; two copies of one would release on one budget."""
        if stop_of(self.store) is not None:
            return {entry.site: STOPPED for entry in self.entries}
        home = Home(self.store.home)
        forked = home.forked_ledgers()
        ledgers = home.ledgers_of(self.store.keys) if forked else {}
        copied = [site for site, ledger in ledgers.items() if ledger in forked]
        return dict.fromkeys(copied, "ledger.forked") | dict.fromkeys(
            dropped_sites(self.store), DROPPED
        )

    def log(self, number: int, site: str, code: str) -> None:
        """Append to the run's events."""
        self.store.log(Event(round=number, site=site, code=code))


def bytes_of_round(play: Play, reached: RoundState) -> int:
    """What the next round will write: its state twice, once as an average, and a total of each site."""
    bound = play.asked.bound(reached.round + 1)
    total = bound.length * np.dtype(bound.kind).itemsize
    memory = sum(vector.nbytes for vector in reached.state.memory.values())
    return 2 * (reached.vector.nbytes + memory) + len(play.entries) * total


def admit(play: Play, number: int, *, wait_s: float) -> None:
    """Find sites that are not met yet, give them the encoder, and see that a round can have enough.

    Raises:
        RunError: after waiting, the round would lack sites that it needs; nobody was asked for it.
    """
    exchange, out = play.exchange, play.left_out
    exclude_hung(exchange, play.folder, play.entries, number=number)
    exchange.meet([entry for entry in play.entries if entry.site not in out], wait_s=wait_s)
    for site in readmitted(exchange, play.folder, number=number):
        play.log(number, site, READMITTED)
    require_newest_home(play.store, exchange.countersigned)
    journal = play.folder.journal(play.asked.bound(number).length)
    there = (exchange.sites - set(out)) | set(journal.read(number).accepted)
    lacks = what_lacks(play.store, play.stage, number, present=there, of="sites said hello")
    if lacks:
        away = [entry.site for entry in play.entries if entry.site not in there]
        codes = {site: out.get(site, exchange.reason(site)) for site in away}
        for site, code in codes.items():
            if code == ABSENT:  # why a site refused its hello was logged then
                play.log(number, site, code)
        raise RunError(
            "site-absent",
            f"round {number} was not asked for: {lacks}",
            hint=_next_step(play, codes),
        )
    exchange.needs_encoder -= set(out)
    deliver_encoder(exchange, play.store, log=lambda site, code: play.log(number, site, code))


def require_enough(
    play: Play, journal: Journal, number: int, *, present: set[str], missing: Mapping[str, str]
) -> None:
    """Stop, resumably, when too few totals are there.

    Raises:
        RunError: what the round lacks.
    """
    lacks = what_lacks(play.store, play.stage, number, present=present, of="updates arrived")
    if not lacks:
        return
    journal.set_aside(number)
    play.log(number, "", "run.quorum-missed")
    raise RunError(
        "quorum-missed",
        f"round {number} stopped: {lacks}",
        hint=_next_step(play, missing),
    )


def _next_step(play: Play, codes: Mapping[str, str]) -> str:
    return next_step(play.store, play.stage, codes, needed=needed_in(play.store, play.stage))
