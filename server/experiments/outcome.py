"""What kept lines say of a system over its populations: means with intervals, and arms compared.

A difference is paired: both models read the same patients of the same population. The interval of a
mean over populations is of the patients who were measured, their standard errors added; how far
populations lie apart is beside it. p-values are adjusted by Holm for all
comparisons of a system by one figure. Imports the harness.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from pydantic import BaseModel

from server.experiments.harness import (
    Kept,
    Line,
    Model,
    measure_figures,
    measured_lines,
    models_of,
    settings_of,
)
from server.experiments.readings import place_in_table
from server.experiments.system import ALONE, FEDERATED, LOCAL, Setting, System, Training
from server.simulation.comparison import Difference, Figure
from server.simulation.looks import LOOKS
from shared.errors import RunError
from shared.measures.differences import adjust_by_holm
from shared.strict import FROZEN
from shared.sums.intervals import normal_quantile

_CONFIDENCE = 0.95


class Mean(BaseModel):
    """Over populations.

    Attributes:
        value: the mean.
        low: of the 95 % interval of the patients.
        high: of the interval.
        by_seed: the value of each population.
    """

    model_config = FROZEN

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    @property
    def standard_error(self) -> float:
        """Of the patients."""
        return (self.high - self.low) / 2 / normal_quantile(_CONFIDENCE)

    @property
    def holds_nought(self) -> bool:
        """Whether the interval does not tell it from 0."""
        return self.low <= 0 <= self.high


class Row(BaseModel):
    """A figure of an arm under a training at a place; ``mean``: null where it does not exist.

    Attributes:
        arm: of the system.
        kind: how it was trained.
        training: who trained, in words.
        place: where it was measured.
        figure: its name.
        mean: over populations.
    """

    model_config = FROZEN

    arm: str
    kind: str
    training: str
    place: str
    figure: str
    mean: Mean | None


class Compared(BaseModel):
    """First minus second on the same patients.

    Attributes:
        first: an arm, or a training of the first arm.
        second: another.
        kind: how both arms were trained; empty where trainings are compared.
        place: where they were measured.
        figure: its name.
        mean: over populations; null where the figure does not exist.
        p: two-sided, of no difference.
        p_adjusted: for all comparisons of the system by this figure.
    """

    model_config = FROZEN

    first: str
    second: str
    kind: str
    place: str
    figure: str
    mean: Mean | None
    p: float | None = None
    p_adjusted: float | None = None


class Outcome(BaseModel):
    """What a system has reached.

    Attributes:
        system: its name.
        setting: how much was measured.
        n_patients: of each hospital, and as many later ones.
        seeds: of the populations.
        date: when the last of its models was measured.
        seconds: of a core, for training and measuring all of them; films and intake apart.
        patients: who were measured at each place, over all populations.
        rows: figures.
        compared: differences.
        against_clean: figures less those of the same people's clean films, paired, where a marker
            leaks and both were measured.
    """

    model_config = FROZEN

    system: str
    setting: str
    n_patients: int
    seeds: tuple[int, ...]
    date: str
    seconds: int
    patients: dict[str, int]
    rows: tuple[Row, ...]
    compared: tuple[Compared, ...]
    against_clean: tuple[Row, ...] = ()


@dataclass(frozen=True)
class _Pair:
    """Two models' (arm, training), what they are called, where both were measured, by what figures."""

    first: tuple[str, Training]
    second: tuple[str, Training]
    words: tuple[str, str]
    kind: str
    place: str
    figures: tuple[str, ...]


def outcome_of(system: System, setting: Setting, seeds: Sequence[int], kept: Kept) -> Outcome:
    """Means and comparisons of everything that a system has at a setting; its date is the last line's.

    Raises:
        RunError: a model has no line yet.
    """
    lines, models = measured_lines(system, kept), list(models_of(system, setting, seeds))
    waiting = sum(model not in lines for model, *_ in models)
    if waiting:
        raise RunError(
            "experiments-unfinished",
            f"{system.name}, {setting.name}: {waiting} of {len(models)} models are not measured",
            hint="`make experiments` goes on where it was cut off",
        )
    found = [lines[model] for model, *_ in models]
    return Outcome(
        system=system.name,
        setting=setting.name,
        n_patients=setting.n_patients,
        seeds=tuple(seeds),
        date=max(line.date for line in found),
        seconds=round(sum(line.seconds for line in found)),
        patients=_patients(found),
        rows=tuple(_rows(system, found, kept)),
        compared=tuple(_adjusted(_compare(system, models, kept))),
    )


def mean_over(rows: Sequence[Figure | Difference]) -> Mean | None:
    """The mean of one figure over populations; None where one of them has it not."""
    found = [
        (row.value, (row.high - row.low) / 2 / normal_quantile(_CONFIDENCE))
        for row in rows
        if row.value is not None and row.low is not None and row.high is not None
    ]
    if len(found) < len(rows) or not found:
        return None
    return _mean([value for value, _ in found], [error for _, error in found])


def mean_of_hospitals(means: Sequence[Mean]) -> Mean:
    """Hospitals count alike, and no patient is at two of them."""
    by_seed = [
        statistics.fmean(values) for values in zip(*(each.by_seed for each in means), strict=True)
    ]
    margin = normal_quantile(_CONFIDENCE) * _added([each.standard_error for each in means])
    value = statistics.fmean(each.value for each in means)
    return Mean(value=value, low=value - margin, high=value + margin, by_seed=tuple(by_seed))


def _mean(values: Sequence[float], errors: Sequence[float]) -> Mean:
    value, margin = statistics.fmean(values), normal_quantile(_CONFIDENCE) * _added(errors)
    return Mean(value=value, low=value - margin, high=value + margin, by_seed=tuple(values))


def _added(errors: Sequence[float]) -> float:
    """Standard error of a mean of independent values."""
    return math.sqrt(sum(error**2 for error in errors)) / len(errors)


def _patients(lines: Sequence[Line]) -> dict[str, int]:
    """Who were measured at each place, once in each population."""
    by_seed = {(line.model.seed, place): n for line in lines for place, n in line.patients.items()}
    total: Counter[str] = Counter()
    for (_, place), n in by_seed.items():
        total[place] += n
    return dict(total)


def _rows(system: System, lines: Sequence[Line], kept: Kept) -> Iterator[Row]:
    readings = {reading.kind for reading in system.readings}
    grouped: dict[tuple[str, str, str, str, str], list[Figure]] = defaultdict(list)
    for line in lines:
        read = [
            each
            for each in line.figures
            if each.figure in LOOKS or place_in_table(each.figure)[0] in readings
        ]
        for each in (*_figures_of(system, line, kept), *read):
            key = (line.model.arm, line.kind, line.model.training, each.place, each.figure)
            grouped[key].append(each)
    for (arm, kind, training, place, figure), found in grouped.items():
        mean = mean_over(found)
        yield Row(arm=arm, kind=kind, training=training, place=place, figure=figure, mean=mean)


def _figures_of(system: System, line: Line, kept: Kept) -> Iterator[Figure]:
    """Those that the system names, of what a model said of patients at every place."""
    [arm] = [each for each in system.arms if each.name == line.model.arm]
    settings = settings_of(system, arm, is_private=line.epsilon is not None)
    for place, scored in kept.scored(line.model).items():
        found, _ = measure_figures(system, settings, place, {arm.name: scored}, ours=arm.name)
        yield from (each for each in found if each.figure in (*system.figures, *system.of_arms))


def _pairs(system: System) -> Iterator[_Pair]:
    """Ablations, trained together; and the first arm's federation against its other trainings."""
    trainings = system.design(system.population)
    every = tuple(dict.fromkeys((*system.figures, *system.of_arms)))
    for each in system.ablations:
        figures = every if each.is_in_full else system.figures
        for training in (training for training in trainings if training.mode != ALONE):
            for place in training.places:
                words = (each.first, each.second)
                sides = (each.first, training), (each.second, training)
                yield _Pair(*sides, words, training.kind, place, figures)
    own = system.arms[0].name
    for first in (each for each in trainings if each.is_private and each.mode in (FEDERATED, LOCAL)):
        # what goes on from a release is compared with it, and not it with that
        for other in (each for each in trainings if first not in (each, each.base)):
            for place in (place for place in first.places if place in other.places):
                names = first.name, other.name
                yield _Pair((own, first), (own, other), names, "", place, system.figures)


def _compare(
    system: System, models: Sequence[tuple[Model, object, Training]], kept: Kept
) -> Iterator[Compared]:
    by_name: dict[tuple[str, str], list[Model]] = defaultdict(list)
    for model, *_ in models:
        by_name[model.arm, model.training].append(model)
    scored = {model: kept.scored(model) for model, *_ in models}
    settings = settings_of(system, system.arms[0], is_private=True)
    for pair in _pairs(system):
        sides = [by_name[arm, training.name] for arm, training in (pair.first, pair.second)]
        found: Mapping[str, list[Difference]] = defaultdict(list)
        for first, second in zip(*sides, strict=True):
            both = {"first": scored[first][pair.place], "second": scored[second][pair.place]}
            found_here = measure_figures(system, settings, pair.place, both, ours="first")
            for each in found_here[1]:
                found[each.figure].append(each)
        for figure in pair.figures:
            mean = mean_over(found[figure])
            yield Compared(
                first=pair.words[0],
                second=pair.words[1],
                kind=pair.kind,
                place=pair.place,
                figure=figure,
                mean=mean,
                p=_p(mean),
            )


def _p(mean: Mean | None) -> float | None:
    """Two-sided, by the normal law; None where nothing varies."""
    if mean is None or mean.standard_error <= 0:
        return None
    return 2 * NormalDist().cdf(-abs(mean.value) / mean.standard_error)


def _adjusted(compared: Iterator[Compared]) -> list[Compared]:
    rows = list(compared)
    for figure in {row.figure for row in rows}:
        tested = [at for at, row in enumerate(rows) if row.figure == figure and row.p is not None]
        holm = adjust_by_holm([rows[at].p or 0.0 for at in tested])
        for at, p in zip(tested, holm, strict=True):
            rows[at] = rows[at].model_copy(update={"p_adjusted": p})
    return rows
