"""Who must be there for a round of training: the quorum, and at both ends every required site.

In the first round, so that each has taken part in what is released; in the last, so that nothing is
released without its word. One rule at hello, before anybody pays, and of the totals that came; for a
run that goes on by itself and for one that is resumed. Imports the run store.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from server.run.amendments import required_sites
from server.run.folder import RunStore
from shared.contract.stages import Stage


def required_in(store: RunStore, stage: Stage, number: int) -> tuple[str, ...]:
    """Sites that a round cannot do without."""
    return required_sites(store, stage) if number in (1, stage.rounds) else ()


def needed_in(store: RunStore, stage: Stage) -> int:
    """How many sites a round needs: the quorum, of the sites that the plan asks."""
    return math.ceil(store.plan.settings.patience.quorum * len(store.plan.asked(stage)))


def what_lacks(store: RunStore, stage: Stage, number: int, *, present: Collection[str], of: str) -> str:
    """What a round lacks, in words; empty where it has enough.

    Args:
        number: of the round.
        present: sites of the stage that are there.
        of: what is counted, "updates arrived".
    """
    needed, lacks = needed_in(store, stage), []
    if len(present) < needed:
        lacks.append(f"{len(present)} of at least {needed} {of}")
    absent = [site for site in required_in(store, stage, number) if site not in present]
    if absent:
        which = "first" if number == 1 else "last"
        lacks.append(f"required sites {absent} are missing in the {which} round")
    return "; ".join(lacks)
