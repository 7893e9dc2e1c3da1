"""Where an arm looks: what hiding bone costs its ranking, and whether its maps lie in bone.

The figures of measures ``bone`` and ``maps`` of an arm's own patients, exact: differences of AUCs by
DeLong, agreements of maps as means over patients; of one arm, or of one less another on the same
patients. Who has no mask is in none. Imports the sites' patients and the arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from client.cohort.explained import explain_split
from client.cohort.patients import load_split
from client.site.folder import open_site
from server.encoders.file import encoder_file
from server.simulation.arms import Trained
from server.simulation.cohorts import TakenIn
from server.simulation.comparison import Figure, Floats
from shared.contract.decision import Decision, decision_of
from shared.contract.plan import Plan
from shared.errors import ProtocolError
from shared.measure.exact.discrimination import delong
from shared.measures.bone import DIFFERENCES
from shared.measures.maps import AGREEMENTS
from shared.measures.scored import Bools, Scored
from shared.stages.explained import ExplainedPatients, score_hidden, score_maps
from shared.stages.scores import scorer_of
from shared.sums.intervals import normal_quantile
from shared.train.patients import join_patients

IOU, *_ = AGREEMENTS
LOOKS = (*DIFFERENCES, *AGREEMENTS)
_CONFIDENCE = 0.95
_READINGS = 3  # as it is, bone hidden, as much else hidden
# What is added up of the same patients: each with its sign.
_Signed = Sequence[tuple[float, Scored]]


def explain_cohorts(cohorts: TakenIn, plan: Plan, names: Sequence[str]) -> ExplainedPatients:
    """Everybody of some cohorts as a measure of bone reads them.

    Args:
        cohorts: whose encoders are at the hospitals, as ``TakenIn.wards`` leaves them.
        plan: whose model looks at films.
        names: of hospitals.
    """
    parts = []
    for name in names:
        site = open_site(cohorts.folders.site(name).resolve())
        data = load_split(site, plan, name=plan.settings.cohort.name, split=None)
        parts.append(explain_split(site, plan, data, reads="hidden"))
    return ExplainedPatients(
        own=join_patients(*(part.own.with_films() for part in parts)),
        hidden=tuple(
            join_patients(*(batch.with_films() for batch in batches))
            for batches in zip(*(part.hidden for part in parts), strict=True)
        ),
        bone=torch.cat([part.bone for part in parts]),
    )


def look_at(trained: Trained, patients: ExplainedPatients) -> Scored:
    """What an arm says of each patient's earliest exam, as it is and with bone or as much else hidden.

    With the agreement of its maps; none [n,0], where it reads of a film what has no place in it.

    Args:
        trained: the arm.
        patients: from ``explain_cohorts``.
    """
    plan, settings = trained.plan, trained.plan.settings
    scorer = scorer_of(plan, plan.trained, encoder_file(settings.encoder))
    looked = score_hidden(scorer, trained.weights, patients).earliest()
    if not settings.map_grid:
        return looked
    cells = settings.features.cells
    maps = score_maps(scorer, trained.weights, patients, decision_of(settings), cells=cells)
    return replace(looked, maps=maps.earliest().maps)


def measure_looks(looked: Scored, rule: Decision, *, place: str, arm: str) -> list[Figure]:
    """Every figure of ``LOOKS``, with its 95 % interval; null where it does not exist.

    Args:
        looked: from ``look_at``.
        rule: who has the endpoint.
        place: where the patients are from.
        arm: its name.
    """
    return list(_figures([(1.0, looked)], rule, place=place, arm=arm))


def compare_looks(
    first: Scored, second: Scored, rule: Decision, *, place: str, arm: str
) -> list[Figure]:
    """Every figure of ``LOOKS``, first less second on the same patients, as ``measure_looks``."""
    return list(_figures([(1.0, first), (-1.0, second)], rule, place=place, arm=arm))


def _figures(signed: _Signed, rule: Decision, *, place: str, arm: str) -> Iterator[Figure]:
    has_mask = np.logical_and.reduce([each.is_assessed for _, each in signed])
    found = {**_of_ranking(signed, rule, has_mask), **_of_maps(signed, has_mask)}
    for name in LOOKS:
        value, sd = found.get(name, (None, 0.0))
        margin = normal_quantile(_CONFIDENCE) * sd
        if value is None:
            yield Figure(place=place, arm=arm, figure=name)
        else:
            low, high = value - margin, value + margin
            yield Figure(place=place, arm=arm, figure=name, value=value, low=low, high=high)


def _of_ranking(signed: _Signed, rule: Decision, has_mask: Bools) -> dict[str, tuple[float, float]]:
    """Differences of AUCs, each with its standard error; none of one class only."""
    sign = -1.0 if rule.is_low_positive else 1.0
    readings = [
        rule.score(reading[has_mask])
        for _, each in signed
        for reading in (each.outputs, *np.moveaxis(each.replaced, 1, 0))
    ]
    label = signed[0][1].label[has_mask]
    try:
        aucs, covariance = delong(sign * np.stack(readings), rule.is_positive(label))
    except ProtocolError:
        return {}
    found = {}
    for name, (less, more) in DIFFERENCES.items():
        weights = np.zeros(len(aucs))
        for at, (part, _) in enumerate(signed):
            weights[_READINGS * at + less] = part
            weights[_READINGS * at + more] = -part
        variance = float(weights @ covariance @ weights)
        found[name] = float(weights @ aucs), max(0.0, variance) ** 0.5
    return found


def _of_maps(signed: _Signed, has_mask: Bools) -> dict[str, tuple[float, float]]:
    """Means of the agreements over patients, each with its standard error; none without maps."""
    if has_mask.sum() < 2 or not all(each.maps.shape[1] for _, each in signed):
        return {}
    values: Floats = np.sum([part * each.maps[has_mask] for part, each in signed], axis=0)
    errors = values.std(axis=0, ddof=1) / len(values) ** 0.5
    return {
        name: (float(values[:, at].mean()), float(errors[at])) for at, name in enumerate(AGREEMENTS)
    }
