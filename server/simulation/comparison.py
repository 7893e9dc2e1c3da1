"""Arms beside each other on the same patients: figures, and paired differences, with their intervals.

Exact, from each patient's own output: R² and MAE, or accuracy, by a bootstrap of patients, the
endpoint's AUC by DeLong, as are those of three classes or more and their mean, of a time to event the
C-index by its influence function; p of the differences adjusted by Holm. A patient counts once, by the
earliest labelled exam. Imports measures.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from server.simulation.arms import FEDERATED
from shared.contract.decision import Decision
from shared.errors import ProtocolError
from shared.exam.time_to_event import TimeToEventLabel
from shared.measure.exact.concordance import concordance
from shared.measure.exact.discrimination import auc_influence, delong, exact_auc_interval
from shared.measure.exact.regression import (
    bootstrap_means,
    bootstrap_r2,
    measure_regression,
    percentile_interval,
    percentile_p,
)
from shared.measures.differences import adjust_by_holm
from shared.measures.scored import Scored
from shared.strict import FROZEN
from shared.sums.intervals import normal_quantile

Floats = NDArray[np.float64]
REPLICATES = 1000
INTERNAL, MACRO = "internal", "macro AUC"
_SEED = 20_261  # of the bootstrap, which is no protective noise
_CONFIDENCE = 0.95


class Figure(BaseModel):
    """One figure of an arm at a place.

    Attributes:
        place: where it was measured.
        arm: who trained.
        figure: its name.
        value: null where it does not exist there.
        low: of the 95 % interval.
        high: of the interval.
    """

    model_config = FROZEN

    place: str
    arm: str
    figure: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


class Difference(BaseModel):
    """Federated, or another arm that was named, minus another on the same patients, with its interval.

    Attributes:
        place: where it was measured.
        against: the other arm.
        figure: its name.
        value: null where it does not exist there.
        low: of the 95 % interval.
        high: of the interval.
        p: two-sided, of no difference; null where there is none.
        p_adjusted: for the comparisons with all other arms by this figure at this place (Holm).
    """

    model_config = FROZEN

    place: str
    against: str
    figure: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None


class PublishedRule(BaseModel):
    """A published simple rule that is measured beside the arms.

    Attributes:
        name: as figures call it.
        formula: what it adds up.
        patients: how many have all its fields, by place; its figures are of these.
    """

    model_config = FROZEN

    name: str
    formula: str
    patients: dict[str, int]


class Division(BaseModel):
    """One division of the patients into training and held out, and what every arm reached.

    Attributes:
        version: of this format.
        number: from 1 on.
        training: how many patients trained, by site.
        patients: how many are measured, by place.
        figures: of every arm at every place.
        differences: federated minus each other arm.
        rule: a published simple rule beside them; null where none goes with the cohort.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    number: int = Field(ge=1)
    training: dict[str, int]
    patients: dict[str, int]
    figures: tuple[Figure, ...]
    differences: tuple[Difference, ...]
    rule: PublishedRule | None = None


class Spread(BaseModel):
    """Mean and standard deviation over divisions.

    Attributes:
        place: where it was measured.
        arm: who trained.
        against: the other arm of a difference; empty for a figure of an arm.
        figure: its name.
        mean: over divisions.
        sd: over divisions.
        n: divisions.
    """

    model_config = FROZEN

    place: str
    arm: str
    against: str = ""
    figure: str
    mean: float
    sd: float
    n: int


class Comparison(BaseModel):
    """Every division of a simulation: the first is the federation's own, whose arm is its release.

    Attributes:
        version: of this format.
        run: its name.
        is_regression: whether a number was predicted.
        endpoint: the positive class.
        target: name of the label.
        unit: of the label.
        training_epsilon: of training; null with privacy off.
        divisions: of the patients.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    run: str
    is_regression: bool
    endpoint: str
    target: str
    unit: str
    training_epsilon: float | None
    divisions: tuple[Division, ...]

    @property
    def first(self) -> Division:
        """The division of the federation itself."""
        return self.divisions[0]

    @property
    def main(self) -> str:
        """Name of the figure that is drawn: R², AUC or C-index."""
        return self.first.figures[0].figure

    def spread(self) -> tuple[Spread, ...]:
        """Of each figure and difference over divisions; none of a single division."""
        if len(self.divisions) < 2:
            return ()
        return (*_figure_spread(self.divisions), *_difference_spread(self.divisions))


def measure_place(
    place: str,
    scored: Mapping[str, Scored],
    decision: Decision,
    *,
    ours: str = FEDERATED,
    follow_up: TimeToEventLabel | None = None,
    further: Mapping[str, Measure] | None = None,
    replicates: int = REPLICATES,
) -> tuple[list[Figure], list[Difference]]:
    """All figures of all arms at one place, and the differences of one arm − each other arm.

    Args:
        place: where the patients are from.
        scored: what each arm says of the same patients in the same order.
        decision: who has the endpoint, and what an output is called.
        ours: the arm that the others are subtracted from.
        follow_up: the label of a time to event.
        further: measures by the name of their figure, beside those of every simulation.
        replicates: of the bootstrap.
    """
    figures, differences = [], []
    arms = list(scored)
    label = next(iter(scored.values())).label
    measures = {**_measures_of(decision, follow_up), **(further or {})}
    for name, measure in measures.items():
        try:
            found = measure(label, [scored[arm].outputs for arm in arms], decision, replicates)
        except ProtocolError:  # one class only, or equal targets: the figure does not exist
            figures += [Figure(place=place, arm=arm, figure=name) for arm in arms]
            differences += [
                Difference(place=place, against=arm, figure=name) for arm in arms if arm != ours
            ]
            continue
        values, intervals, paired = found
        for arm, value, (low, high) in zip(arms, values, intervals, strict=True):
            figures.append(Figure(place=place, arm=arm, figure=name, value=value, low=low, high=high))
        first = arms.index(ours)
        for index, arm in enumerate(arms):
            if index != first:
                low, high, p = paired(first, index)
                value = values[first] - values[index]
                where = {"place": place, "against": arm, "figure": name}
                differences.append(Difference(**where, value=value, low=low, high=high, p=p))
    return figures, adjust_columns(differences)


def adjust_columns(differences: Sequence[Difference]) -> list[Difference]:
    """Each p adjusted for the others of its column: the same figure at the same place, all arms."""
    adjusted = list(differences)
    columns: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, each in enumerate(differences):
        if each.p is not None:
            columns[each.place, each.figure].append(index)
    for column in columns.values():
        holm = adjust_by_holm([differences[index].p or 0.0 for index in column])
        for index, p in zip(column, holm, strict=True):
            adjusted[index] = differences[index].model_copy(update={"p_adjusted": p})
    return adjusted


Interval = tuple[float, float]
# An interval of a difference, and its p.
_Paired = tuple[float, float, float | None]
Found = tuple[list[float], list[Interval], Callable[[int, int], _Paired]]
Measure = Callable[[Floats, Sequence[Floats], Decision, int], Found]


def _r2(label: Floats, outputs: Sequence[Floats], decision: Decision, replicates: int) -> Found:
    predictions = np.stack([decision.score(each) for each in outputs])
    values = [measure_regression(label, prediction).r2 for prediction in predictions]
    drawn = bootstrap_r2(
        label, predictions, np.arange(label.size), replicates=replicates, generator=_generator()
    )
    return _from_replicates(values, drawn)


def _mae(label: Floats, outputs: Sequence[Floats], decision: Decision, replicates: int) -> Found:
    errors = np.abs(np.stack([decision.score(each) for each in outputs]) - label)
    return _means(errors, replicates)


def _accuracy(label: Floats, outputs: Sequence[Floats], decision: Decision, replicates: int) -> Found:
    true = decision.class_of(label)
    return _means(np.stack([decision.call(each) == true for each in outputs]) * 1.0, replicates)


def _auc(label: Floats, outputs: Sequence[Floats], decision: Decision, _: int) -> Found:
    sign = -1.0 if decision.is_low_positive else 1.0
    scores = sign * np.stack([decision.score(each) for each in outputs])
    return rank_paired(scores, decision.is_positive(label))


def _concordance(
    follow_up: TimeToEventLabel,
    label: Floats,
    outputs: Sequence[Floats],
    decision: Decision,
    _: int,
) -> Found:
    scores = np.stack([decision.score(each) for each in outputs])
    return from_parts(*concordance(scores, label, follow_up))


def _class_auc(
    places: Sequence[int], label: Floats, outputs: Sequence[Floats], decision: Decision, _: int
) -> Found:
    """The mean AUC of some classes, each against all the others."""
    true, chances = decision.class_of(label), [decision.chances(each) for each in outputs]
    found = [
        auc_influence(np.stack([each[:, place] for each in chances]), true == place) for place in places
    ]
    values, parts = (np.mean(each, axis=0) for each in zip(*found, strict=True))
    return from_parts(values, parts)


def from_parts(values: Floats, parts: Floats, *, least: float = 0.0) -> Found:
    """Figures [m] with their patients' parts in the errors [m,n], whose squares add up to variances.

    ``least``: of the figure; the most is 1.
    """
    margins = normal_quantile(_CONFIDENCE) * np.sqrt((parts**2).sum(axis=1))

    def paired(a: int, b: int) -> _Paired:
        sd = float(np.sqrt(((parts[a] - parts[b]) ** 2).sum()))
        value, margin = float(values[a] - values[b]), normal_quantile(_CONFIDENCE) * sd
        p = 2 * NormalDist().cdf(-abs(value) / sd) if sd else None
        return value - margin, value + margin, p

    spans = [
        (max(value - margin, least), min(value + margin, 1.0))
        for value, margin in zip(values.tolist(), margins.tolist(), strict=True)
    ]
    return values.tolist(), spans, paired


def rank_paired(scores: Floats, is_positive: NDArray[np.bool_]) -> Found:
    """AUCs of scores on the same patients, their intervals, and DeLong's of a difference.

    Shapes: scores [m,n] that rise with suspicion, is_positive [n].

    Raises:
        ProtocolError: fewer than two patients of a class.
    """
    aucs, covariance = delong(scores, is_positive)
    n_positive = int(is_positive.sum())

    def paired(a: int, b: int) -> _Paired:
        variance = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
        sd = max(0.0, float(variance)) ** 0.5
        margin = normal_quantile(_CONFIDENCE) * sd
        value = float(aucs[a] - aucs[b])
        p = 2 * NormalDist().cdf(-abs(value) / sd) if sd else None
        return value - margin, value + margin, p

    values = [float(auc) for auc in aucs]
    spans = [
        exact_auc_interval(
            auc, variance, n_positive=n_positive, n_negative=is_positive.size - n_positive
        )
        for auc, variance in zip(values, np.diag(covariance).tolist(), strict=True)
    ]
    return values, spans, paired


def _means(values: Floats, replicates: int) -> Found:
    drawn = bootstrap_means(values, replicates=replicates, generator=_generator())
    return _from_replicates([float(row.mean()) for row in values], drawn)


def _from_replicates(values: list[float], drawn: Floats) -> Found:
    """Percentile intervals of the figures, and of their differences within the same replicates."""
    drawn = np.where(np.isfinite(drawn), drawn, np.nan)  # a replicate may draw one patient only
    spans = [percentile_interval(column) for column in drawn.T]

    def paired(a: int, b: int) -> _Paired:
        difference = drawn[:, a] - drawn[:, b]
        return *percentile_interval(difference), percentile_p(difference)

    return values, spans, paired


_MEASURES: Mapping[bool, Mapping[str, Measure]] = {
    True: {"R²": _r2, "MAE": _mae, "AUC": _auc},
    False: {"AUC": _auc, "accuracy": _accuracy},
}


def figure_names(decision: Decision, follow_up: TimeToEventLabel | None = None) -> list[str]:
    """What is measured of every arm."""
    return list(_measures_of(decision, follow_up))


def _measures_of(decision: Decision, follow_up: TimeToEventLabel | None) -> Mapping[str, Measure]:
    """Where there are three classes or more, each one's AUC against the others, and their mean."""
    if follow_up is not None:
        return {"C-index": partial(_concordance, follow_up)}
    found = dict(_MEASURES[decision.is_regression])
    if decision.is_regression or len(decision.classes) == 2:
        return found
    every = range(len(decision.classes))
    of_class = {f"AUC, {decision.classes[place]}": partial(_class_auc, (place,)) for place in every}
    return found | {MACRO: partial(_class_auc, tuple(every))} | of_class


def _generator() -> np.random.Generator:
    return np.random.default_rng(_SEED)


def _figure_spread(divisions: Sequence[Division]) -> list[Spread]:
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in (row for division in divisions for row in division.figures):
        if row.value is not None:
            found.setdefault((row.place, row.arm, row.figure), []).append(row.value)
    return [
        Spread(place=place, arm=arm, figure=figure, **_moments(values))
        for (place, arm, figure), values in found.items()
        if len(values) > 1
    ]


def _difference_spread(divisions: Sequence[Division]) -> list[Spread]:
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in (row for division in divisions for row in division.differences):
        if row.value is not None:
            found.setdefault((row.place, row.against, row.figure), []).append(row.value)
    return [
        Spread(place=place, arm=FEDERATED, against=against, figure=figure, **_moments(values))
        for (place, against, figure), values in found.items()
        if len(values) > 1
    ]


def _moments(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values), "n": len(values)}
