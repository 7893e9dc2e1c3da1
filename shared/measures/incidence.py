"""Cumulative incidence of each event by each edge, of counts by class of a time to event.

Aalen–Johansen beside a competing event, Kaplan–Meier where there is none. Imports the label.

Source: Aalen & Johansen 1978 (Scand J Stat 5:141).

Legend: b samples · r causes · k intervals · q classes.
"""

from __future__ import annotations

import numpy as np

from shared.exam.time_to_event import TimeToEventLabel
from shared.sums.contract import Floats


def incidence(counts: Floats, label: TimeToEventLabel) -> Floats:
    """Share with each event by each edge, of counts by class; nobody at risk has no event.

    Shapes: counts [b,q] -> [b,r,k].
    """
    k, r = label.n_intervals, len(label.causes)
    ended = counts[:, : r * k].reshape(-1, r, k)
    free = counts[:, r * k :]  # [b,k+1], by how many whole intervals nothing happened
    found, still_free = np.zeros_like(ended), np.ones(len(counts))
    for interval in range(k):
        at_risk = ended[:, :, interval:].sum(axis=(1, 2)) + free[:, interval + 1 :].sum(axis=1)
        hazards = ended[:, :, interval] / np.maximum(at_risk, 1.0)[:, None]  # [b,r]
        found[:, :, interval] = still_free[:, None] * hazards
        still_free = still_free * (1.0 - hazards.sum(axis=1))
    return found.cumsum(axis=2)
