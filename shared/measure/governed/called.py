"""The statistics of scored patients, by the decision of a plan: what a hospital computes.

Imports the statistics and the decision.
"""

from __future__ import annotations

import numpy as np

from shared.contract.decision import Decision
from shared.measure.governed.statistics import Floats, StatisticsSpec, measure_statistics


def statistics_of(spec: StatisticsSpec, rule: Decision, *, outputs: Floats, label: Floats) -> Floats:
    """Exact statistics [m], before anything is withheld.

    Args:
        spec: meaning of the places.
        rule: who has the endpoint, and what an output is called.
        outputs: of each patient.
        label: the target in its unit, or the class; NaN: unlabelled.

    Shapes: outputs [n,o], label [n] -> [m].
    """
    score, true, called = rule.score(outputs), rule.class_of(label), rule.call(outputs)
    is_right = (called == true) & np.isfinite(outputs).all(axis=1)
    return measure_statistics(
        spec,
        suspicion=-score if rule.is_low_positive else score,
        is_positive=rule.is_positive(label),
        is_called=called == rule.endpoint,
        target=label if rule.is_regression else None,
        prediction=score if rule.is_regression else None,
        rightly={name: is_right[true == rule.classes.index(name)] for name in spec.others},
    )
