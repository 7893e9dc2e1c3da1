"""Figures that a system names and no simulation has.

F1 and Cohen's κ of the classes that are called, the AUC of an earlier stage or worse, the C-index of a
competing event.

Imports the comparison of arms and exact measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from server.simulation.comparison import Floats, Found, Measure, from_parts, rank_paired
from shared.contract.decision import Decision
from shared.exam.time_to_event import TimeToEventLabel
from shared.measure.exact.agreement import f1_influence, kappa_influence
from shared.measure.exact.concordance import concordance

F1, KAPPA = "F1", "Cohen's κ"


def c_index_of(cause: str) -> str:
    """The figure of a competing event's C-index."""
    return f"C-index, {cause}"


def auc_from(stage: str) -> str:
    """The figure of who is at a stage before the endpoint's, or at that, against all others."""
    return f"AUC, {stage} or worse"


def further_measures(
    names: Sequence[str], decision: Decision, follow_up: TimeToEventLabel | None = None
) -> dict[str, Measure]:
    """Those of the named figures that a simulation does not have, for ``measure_place``.

    Args:
        names: of figures.
        decision: who has the endpoint, and what an output is called.
        follow_up: the label of a time to event.
    """
    known: Mapping[str, Measure]
    if follow_up is not None:
        known = {
            c_index_of(cause): partial(_concordance, follow_up, place)
            for place, cause in enumerate(follow_up.causes)
            if place
        }
    else:
        known = {F1: _f1, KAPPA: _kappa} | _stages(decision)
    return {name: known[name] for name in names if name in known}


def _stages(decision: Decision) -> dict[str, Measure]:
    """Of ordered classes with the endpoint at one end: those between it and the other end."""
    last = len(decision.classes) - 1
    if not decision.is_ordered or decision.endpoint not in (0, last):
        return {}
    step = 1 if decision.endpoint == 0 else -1
    from_endpoint = range(len(decision.classes))[::step]
    return {
        auc_from(decision.classes[place]): partial(_auc_of, from_endpoint[: at + 1])
        for at, place in enumerate(from_endpoint)
        if 0 < at < last
    }


def _auc_of(
    places: Sequence[int], label: Floats, outputs: Sequence[Floats], decision: Decision, _: int
) -> Found:
    """AUC of some classes together: by their probability, or by the number itself."""
    if decision.is_regression:
        sign = -1.0 if decision.is_low_positive else 1.0
        scores = sign * np.stack([decision.score(each) for each in outputs])
    else:
        # one column after the other, so that a patient's score is of that patient alone, bit for bit
        scores = np.stack([sum(decision.chances(each)[:, at] for at in places) for each in outputs])
    return rank_paired(scores, np.isin(decision.class_of(label), places))


def _f1(label: Floats, outputs: Sequence[Floats], decision: Decision, _: int) -> Found:
    """Of the endpoint; of three classes or more the mean over all."""
    n = len(decision.classes)
    classes = range(n) if n > 2 else [decision.endpoint]
    called = np.stack([decision.call(each) for each in outputs])
    return from_parts(*f1_influence(called, decision.class_of(label), classes))


def _kappa(label: Floats, outputs: Sequence[Floats], decision: Decision, _: int) -> Found:
    called = np.stack([decision.call(each) for each in outputs])
    found = kappa_influence(called, decision.class_of(label), len(decision.classes))
    return from_parts(*found, least=-1.0)


def _concordance(
    follow_up: TimeToEventLabel,
    cause: int,
    label: Floats,
    outputs: Sequence[Floats],
    _: Decision,
    __: int,
) -> Found:
    """C of the risks of a competing event: who had the event itself never comes to it."""
    k = follow_up.n_intervals
    scores = np.stack([each[:, cause * k : (cause + 1) * k].sum(axis=1) for each in outputs])
    swapped = follow_up.model_copy(update={"event": follow_up.competing, "competing": follow_up.event})
    # both causes' classes change places; who is free stays
    order = np.array([*range(k, 2 * k), *range(k), *range(2 * k, len(follow_up.classes))])
    return from_parts(*concordance(scores, order[label.astype(np.intp)].astype(float), swapped))
