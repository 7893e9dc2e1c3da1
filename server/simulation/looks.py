"""Where an arm looks: what hiding bone costs its ranking, and whether its maps lie in bone.

The figures of measures ``bone`` and ``maps`` of an arm's own patients, exact: differences of AUCs by
DeLong, agreements of maps as means over patients. Who has no mask is in none. Imports the sites'
patients and the arms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from client.cohort.explained import explain_split
from client.cohort.patients import load_split
from client.site.folder import open_site
from server.encoders.file import encoder_file
from server.simulation.arms import Trained
from server.simulation.cohorts import TakenIn
from server.simulation.comparison import Figure, Floats, rank_paired
from shared.contract.decision import decision_of
from shared.contract.plan import Plan
from shared.errors import ProtocolError
from shared.measures.bone import DIFFERENCES
from shared.measures.maps import AGREEMENTS
from shared.stages.explained import ExplainedPatients, score_hidden, score_maps
from shared.stages.scores import scorer_of
from shared.sums.intervals import normal_quantile
from shared.train.patients import join_patients

IOU, *_ = AGREEMENTS
LOOKS = (*DIFFERENCES, *AGREEMENTS)
_CONFIDENCE = 0.95


def explain_cohorts(cohorts: TakenIn, plan: Plan, names: Sequence[str]) -> ExplainedPatients:
    """Everybody of some cohorts as a measure of bone reads them.

    Args:
        cohorts: whose encoder is at the hospitals, as ``TakenIn.wards`` leaves it.
        plan: whose model reads image tokens.
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


def measure_looks(
    trained: Trained, patients: ExplainedPatients, *, place: str, arm: str
) -> list[Figure]:
    """Every figure of ``LOOKS``, with its 95 % interval; null where nobody has a mask.

    Args:
        trained: the arm.
        patients: from ``explain_cohorts``.
        place: where they are from.
        arm: its name.
    """
    plan = trained.plan
    rule = decision_of(plan.settings)
    scorer = scorer_of(plan, plan.trained, encoder_file(plan.settings.encoder))
    hidden = score_hidden(scorer, trained.weights, patients).earliest()
    maps = score_maps(scorer, trained.weights, patients, rule).earliest().maps
    has_mask = hidden.is_assessed
    sign = -1.0 if rule.is_low_positive else 1.0
    readings = (hidden.outputs, *np.moveaxis(hidden.replaced, 1, 0))
    scores = sign * np.stack([rule.score(each[has_mask]) for each in readings])  # [3,n]
    found = []
    try:
        values, _, paired = rank_paired(scores, rule.is_positive(hidden.label[has_mask]))
    except ProtocolError:  # one class only
        found += [Figure(place=place, arm=arm, figure=name) for name in DIFFERENCES]
    else:
        for name, (first, second) in DIFFERENCES.items():
            low, high, _ = paired(first, second)
            value = values[first] - values[second]
            found.append(Figure(place=place, arm=arm, figure=name, value=value, low=low, high=high))
    for column, name in enumerate(AGREEMENTS):
        found.append(_mean(maps[has_mask, column], place=place, arm=arm, figure=name))
    return found


def _mean(values: Floats, *, place: str, arm: str, figure: str) -> Figure:
    if len(values) < 2:
        return Figure(place=place, arm=arm, figure=figure)
    value = float(values.mean())
    margin = normal_quantile(_CONFIDENCE) * float(values.std(ddof=1)) / len(values) ** 0.5
    return Figure(
        place=place, arm=arm, figure=figure, value=value, low=value - margin, high=value + margin
    )
