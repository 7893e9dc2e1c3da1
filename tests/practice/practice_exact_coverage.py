"""How often the intervals of a governed release hold the truth: the populations of
``practice_coverage``, measured, withheld and read as a hospital and a report do.

Beside the AUC as it is read stands the one of DeLong's variance alone. Truth is the population's own,
without the table's public bounds, since exact figures have none.
"""

from __future__ import annotations

import numpy as np
from practice_coverage import BMD, FIGURES, MINIMUM_CELL, THRESHOLD, Population, Tally

from server.report.governed import read_statistics
from shared.measure.exact.discrimination import logit_interval
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import StatisticsSpec, measure_statistics
from shared.sums.estimate import Measures

SPEC = StatisticsSpec(
    is_regression=True, unit_range=BMD.target_high - BMD.target_low, error_high=BMD.error_high
)
DELONG_ALONE = "auc_delong"
MEASURED = FIGURES[2:]


def tally_exact(population: Population, n: int, *, repetitions: int, seed: int) -> dict[str, Tally]:
    """What is shown of n patients in each repetition, by figure, and the AUC by DeLong alone."""
    draw = np.random.default_rng(seed)
    truth = {name: pair[1] for name, pair in population.truth().items()}
    truth[DELONG_ALONE] = truth["auc"]
    spans: dict[str, list[tuple[float, float]]] = {name: [] for name in truth}
    for _ in range(repetitions):
        target, prediction = population.draw(n, draw)
        vector = withhold(
            measure_statistics(
                SPEC,
                suspicion=-prediction,
                is_positive=target <= THRESHOLD,
                is_called=prediction <= THRESHOLD,
                target=target,
                prediction=prediction,
            ),
            SPEC,
            minimum_cell=MINIMUM_CELL,
        )
        read = read_statistics(vector, SPEC, sensitivity_target=0.0)
        for name, span in _intervals(read).items():
            spans[name].append(span)
        named = SPEC.named(vector)
        if np.isfinite(named["auc"]):
            spans[DELONG_ALONE].append(logit_interval(named["auc"], named["auc_se"] ** 2))
    return {name: _tally(found, truth[name], repetitions) for name, found in spans.items()}


def _intervals(read: Measures) -> dict[str, tuple[float, float]]:
    """Of each figure that has one."""
    found = {name: getattr(read, name) for name in MEASURED}
    return {
        name: (each.low, each.high)
        for name, each in found.items()
        if each.low is not None and each.high is not None
    }


def _tally(spans: list[tuple[float, float]], truth: float, repetitions: int) -> Tally:
    low, high = np.array(spans, dtype=np.float64).reshape(-1, 2).T
    half = np.maximum((high - low) / 2, 1e-9)
    width = float((high - low).mean()) if low.size else float("nan")
    return Tally(repetitions, np.abs(truth - (low + high) / 2) / half, width)
