"""When an answer may leave: only at whole multiples of a public time after its request came.

What a round computes is the same whoever is there, but a machine is not: caches, disks and other work
show. So an answer waits for the next multiple of the plan's quantum, and one that is late waits for the
one after. Multiples count from the request and not from midnight: whoever sends requests could else
place one so that the end of the work just makes an edge or misses it, and measure by halves. Imports
the site and the plan.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from client.site.folder import Site
from shared.errors import OsteoFedError


def quantum_of(site: Site, plan_sha256: str) -> float:
    """Seconds of the quantum of an approved plan; 0, at once, of any other."""
    try:
        return site.approvals.approved(plan_sha256).settings.patience.reply_quantum_s
    except OsteoFedError:
        return 0.0


def hold(
    began_s: float,
    quantum_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a whole number of quanta, at least one, has passed.

    Args:
        began_s: when the request came, by ``clock``.
        quantum_s: of the plan; 0 waits for nothing.
        clock: seconds that never go back.
        wait: for so many seconds.
    """
    if quantum_s > 0:
        passed_s = clock() - began_s
        multiples = max(1, math.ceil(passed_s / quantum_s))
        wait(max(0.0, multiples * quantum_s - passed_s))  # rounding may end a hair below
