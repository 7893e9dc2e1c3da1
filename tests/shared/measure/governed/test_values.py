"""Figures of few scores, attacked: whoever knows the scores solves for every table that looks the same.

The solver enumerates the tables of n patients by score (by prediction and target, in regression) and
class, lets each through the real figures and rules, and puts those that look the same into one class. A
group whose size lies between 1 and the minimum in all tables of a class is a breach.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from shared.measure.governed import statistics
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import StatisticsSpec, measure_statistics
from shared.measure.governed.values import MANY, has_many_values

CLASSES = StatisticsSpec(is_regression=False)
REGRESSION = StatisticsSpec(is_regression=True)
SCORES = (0.08, 0.35, 0.52, 0.91)  # a public model gives one of these
PREDICTIONS, TARGETS = (0.55, 0.7), (0.5, 0.65, 0.8)
ENDPOINT = 0.6
COUNTED = {"n", "n_positive", "sensitivity", "specificity"}
MINIMUM = 5
Floats = np.ndarray


def tables(n: int, cells: int) -> Iterator[tuple[int, ...]]:
    """Every way to divide n patients into so many cells."""
    for bars in itertools.combinations(range(n + cells - 1), cells - 1):
        ends = (-1, *bars, n + cells - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(ends))


def of_scores(table: Sequence[int], scores: Sequence[float]) -> Floats:
    """Exact figures; a table is those with the endpoint by score, then those without."""
    suspicion = np.repeat([*scores, *scores], table)
    return measure_statistics(
        CLASSES,
        suspicion=suspicion,
        is_positive=np.arange(suspicion.size) < sum(table[: len(scores)]),
        is_called=suspicion > scores[0],
    )


def of_errors(table: Sequence[int]) -> Floats:
    """Exact figures; a table is patients by prediction, each by target."""
    pairs = np.repeat(list(itertools.product(PREDICTIONS, TARGETS)), table, axis=0)
    return of_predictions(pairs[:, 1], pairs[:, 0])


def of_predictions(target: Floats, prediction: Floats) -> Floats:
    return measure_statistics(
        REGRESSION,
        suspicion=-prediction,
        is_positive=target <= ENDPOINT,
        is_called=prediction <= ENDPOINT,
        target=target,
        prediction=prediction,
    )


def breaches(shown: dict[tuple[int, ...], Floats], groups: Sequence[tuple[int, ...]]) -> set[str]:
    """Groups of cells that all tables which look the same put between 1 and the minimum."""
    alike = defaultdict(list)
    for table, figures in shown.items():
        alike[np.nan_to_num(figures, nan=-1e12).tobytes()].append(table)
    found = set()
    for each in alike.values():
        cells = np.array(each)
        for group in groups:
            size = cells[:, group].sum(axis=1)
            if size.min() >= 1 and size.max() < MINIMUM:
                found.add(str(group))
    return found


def breaches_of_scores(n: int, n_scores: int) -> set[str]:
    scores = SCORES[:n_scores]
    shown = {
        table: withhold(of_scores(table, scores), CLASSES, minimum_cell=MINIMUM)
        for table in tables(n, 2 * n_scores)
    }
    some = [
        places
        for size in range(1, n_scores + 1)
        for places in itertools.combinations(range(n_scores), size)
    ]
    without = [tuple(place + n_scores for place in places) for places in some]
    either = [(*places, *(place + n_scores for place in places)) for places in some]
    return breaches(shown, [*some, *without, *either])


def breaches_of_errors(n: int) -> set[str]:
    shown = {
        table: withhold(of_errors(table), REGRESSION, minimum_cell=MINIMUM) for table in tables(n, 6)
    }
    by_prediction_and_class = [(0,), (1, 2), (3,), (4, 5), (0, 1, 2), (3, 4, 5)]
    return breaches(shown, [*by_prediction_and_class, *((cell,) for cell in range(6))])


@pytest.mark.parametrize(("n", "n_scores"), [(24, 2), (13, 3), (10, 4)])
def test_no_group_can_be_solved_for_from_figures_of_few_scores(n: int, n_scores: int) -> None:
    assert breaches_of_scores(n, n_scores) == set()


def test_no_group_can_be_solved_for_from_errors_of_few_predictions() -> None:
    assert breaches_of_errors(12) == set()


def test_the_solver_breaks_figures_that_are_computed_from_few_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "has_many_values", lambda values: True)
    assert {"(0,)", "(1,)", "(2,)", "(3,)"} <= breaches_of_scores(20, 2)
    assert {"(0,)", "(3,)", "(4, 5)"} <= breaches_of_errors(12)


def test_values_are_many_where_equal_groups_would_be_half_of_the_patients_or_fifty() -> None:
    assert MANY == 50
    assert has_many_values(np.arange(3.0))
    assert has_many_values(np.repeat(np.arange(20.0), 2))  # twenty pairs
    assert not has_many_values(np.repeat(np.arange(20.0), 3))
    assert has_many_values(np.repeat(np.arange(50.0), 40))
    assert not has_many_values(np.repeat(np.arange(49.0), 40))
    half_alone = np.concatenate([np.arange(500.0), np.full(500, -1.0)])
    assert not has_many_values(half_alone)
    assert not has_many_values(np.zeros(0))
    assert has_many_values(np.array([-np.inf, 0.5, np.inf]))


def test_what_is_computed_from_few_values_is_none_and_the_rest_is_there() -> None:
    draw = np.random.default_rng(1)
    target, prediction = draw.normal(0.65, 0.1, (2, 200))
    few = np.where(prediction > 0.6, *PREDICTIONS)
    of_target = {"target_mean", "target_sd"}
    for vector, spec, there in (
        (of_predictions(target, prediction), REGRESSION, set(REGRESSION.figures)),
        (of_predictions(target, few), REGRESSION, COUNTED | of_target),
        (of_predictions(np.round(target, 1), prediction), REGRESSION, COUNTED | {"auc", "auc_se"}),
        (of_scores((50, 60, 70, 80), SCORES[:2]), CLASSES, COUNTED),
    ):
        named = spec.named(vector)
        assert {name for name, value in named.items() if not math.isnan(value)} == there
