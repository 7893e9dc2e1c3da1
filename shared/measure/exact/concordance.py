"""Concordance of a time to event, exact: all pairs that can be compared, each patient's part in it.

A pair is an event and somebody who was free of it then or later, or to whom a competing event came;
two events of one interval are no pair. Imports the label and errors.

Source: Harrell et al. 1982 (JAMA 247:2543); Wolbers et al. 2009 (Epidemiology 20:555) for a competing
event. The variance is that of a ratio of two U-statistics, by their first projections (Hoeffding 1948,
Ann Math Stat 19:293).

Legend: m scores · n patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import ProtocolError
from shared.exam.time_to_event import TimeToEventLabel

Floats = NDArray[np.float64]


def concordance(scores: Floats, place: Floats, label: TimeToEventLabel) -> tuple[Floats, Floats]:
    """C of each score [m], and each patient's influence on it [m,n], whose covariance is that of C.

    Args:
        scores: higher where the event is expected sooner, of the same patients.
        place: class of the label, of each.
        label: whose classes these are.

    Shapes: scores [m,n], place [n].

    Raises:
        ProtocolError: no pair can be compared.
    """
    k, r = label.n_intervals, len(label.causes)
    place = place.astype(np.intp)
    is_event = place < k
    # the last interval in which a patient was known to be free, from 1 on
    free_until = np.where(place >= r * k, place - r * k, np.where(is_event, place, k))
    wins, pairs = np.zeros_like(scores), np.zeros(place.size)
    for one in np.flatnonzero(is_event):
        others = np.flatnonzero(free_until > place[one])
        higher = np.sign(scores[:, one, None] - scores[:, others]) / 2 + 0.5  # [m, others]
        pairs[one] += others.size
        pairs[others] += 1.0
        wins[:, one] += higher.sum(axis=1)
        wins[:, others] += higher
    if not pairs.any():
        raise ProtocolError("no-pairs", "no event has anybody to be compared with")
    values = wins.sum(axis=1) / pairs.sum()  # each pair stands twice in both
    return values, 2.0 * (wins - values[:, None] * pairs) / pairs.sum()
