"""What the sites answered to a stage that measures, as the report reads it: status, code, table.

Imports the run store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.run.folder import RunStore
from shared.contract.stages import Stage

MEASURED, MISSING = "measured", "missing"


@dataclass(frozen=True)
class Answer:
    """One site's answer; ``table`` [m] is empty unless it measured, ``code`` says why it is missing."""

    site: str
    status: str
    code: str
    table: NDArray[np.float64]


def answers_to(store: RunStore, stage: Stage) -> tuple[Answer, ...]:
    """Answers of the sites that were asked so far, in roster order."""
    results = store.results(stage.name)
    found = []
    for entry in store.plan.asked(stage):
        if entry.site in results.accepted:
            reply = results.accepted[entry.site].reply
            table = np.array(reply.total, dtype=np.float64)
            found.append(Answer(entry.site, reply.status, "", table))
        elif entry.site in results.rejected:
            found.append(Answer(entry.site, MISSING, results.rejected[entry.site], np.zeros(0)))
    return tuple(found)
