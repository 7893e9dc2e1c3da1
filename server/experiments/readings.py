"""What else is read of a model as its line is made, as data: a reading is one entry here.

A system names readings and the arms that they are asked of; each gives figures of the line, whose names
begin with the reading's. Patients are later ones. Imports simulation, measures and what a system is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from server.experiments.populations import later_name
from server.experiments.system import FEDERATED, PROSPECTIVE, System, Training
from server.report.stability import measure_stability
from server.simulation.arms import Trained, score_arm
from server.simulation.cohorts import TakenIn
from server.simulation.comparison import REPLICATES, Figure, Floats
from server.simulation.film_maps import measure_maps
from shared.contract.decision import decision_of
from shared.contract.model_settings import follow_up_of
from shared.contract.stages import LearnerStage
from shared.learners.selection import Selection, SelectionSettings
from shared.measure.exact.event_calibration import bootstrap_calibration
from shared.measure.exact.regression import percentile_interval
from shared.measures.importance import Importance, ImportanceSettings, rise_without
from shared.measures.scored import MeasureTask, Scored
from shared.stages.donors import with_donors
from shared.stages.learner import table_task
from shared.sums.contract import State
from shared.sums.intervals import normal_quantile
from shared.train.patients import PatientBatch

CALIBRATION, IMPORTANCE, COLUMNS, MAPS = "calibration", "importance", "columns", "maps"
OBSERVED, FORETOLD, APART = "observed", "foretold", "observed − foretold"
KEPT, DRAWS = "kept", "kept in draws"
# Of probability of the true class, as configs/measure/importance.yaml advises for classes
_CLASS_CLIP = 0.2
_EXAMS = 2  # of each hospital that maps are made of, in each population
_SEED = 20_264  # of a bootstrap, which is no protective noise
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """A model that was just trained and scored.

    Attributes:
        trained: it.
        training: who trained.
        patients: later ones.
        scored: what it says of them.
        cohorts: of its population.
        later: names of the cohorts of these patients.
    """

    trained: Trained
    training: Training
    patients: PatientBatch
    scored: Scored
    cohorts: TakenIn
    later: tuple[str, ...]


# Label of a row, of a column -> value, low, high
_Found = Iterator[tuple[str, str, tuple[float, float, float]]]
_Measure = Callable[[Measured], _Found]


def figure_name(reading: str, row: str, column: str) -> str:
    """A figure of a reading: where it stands in the reading's table."""
    return f"{reading}: {row} | {column}"


def place_in_table(figure: str) -> tuple[str, str, str]:
    """Reading, row and column of such a name; of another one empty words."""
    reading, _, rest = figure.partition(": ")
    row, bar, column = rest.rpartition(" | ")
    return (reading, row, column) if bar else ("", "", "")


def read_further(
    system: System,
    arm: str,
    training: Training,
    trained: Trained,
    *,
    places: Mapping[str, PatientBatch],
    scored: Mapping[str, Scored],
    cohorts: TakenIn,
) -> list[Figure]:
    """Figures of all readings that a system asks of an arm trained so.

    Args:
        system: names the readings.
        arm: of it.
        training: who trained.
        trained: the model.
        places: patients by place.
        scored: what the model says of them.
        cohorts: of the population.
    """
    place = PROSPECTIVE if PROSPECTIVE in training.places else training.places[-1]
    sites = system.population.with_later if place == PROSPECTIVE else (place,)
    measured = Measured(
        trained,
        training,
        places[place],
        scored[place],
        cohorts,
        tuple(later_name(site) for site in sites),
    )
    figures = []
    for reading in system.readings:
        kind = _KINDS[reading.kind]
        if arm in (reading.arms or (arm,)) and kind.is_of(training):
            for row, column, (value, low, high) in kind.measure(measured):
                name = figure_name(reading.kind, row, column)
                figures.append(
                    Figure(place=place, arm=arm, figure=name, value=value, low=low, high=high)
                )
    return figures


def _calibration(measured: Measured) -> _Found:
    """By each edge of the label and each event: how many had it, how many were foretold."""
    label = follow_up_of(measured.trained.plan.settings)
    if label is None:
        return
    values, drawn = bootstrap_calibration(
        measured.scored.outputs,
        measured.scored.label,
        label,
        replicates=REPLICATES,
        generator=np.random.default_rng(_SEED),
    )
    for cause, name in enumerate(label.causes):
        for at, edge in enumerate(label.edges):
            row = f"{name} by {edge:g} {label.unit}"
            for column, what in enumerate((OBSERVED, FORETOLD, APART)):
                low, high = percentile_interval(drawn[:, column, cause, at])
                yield row, what, (float(values[column, cause, at]), low, high)


def _importance(measured: Measured) -> _Found:
    """How much more the model errs with each clinical field from a public donor: measure importance."""
    plan = measured.trained.plan
    fields, rule = plan.settings.cohort.fields, decision_of(plan.settings)
    settings = ImportanceSettings(kind="importance", clip=_CLASS_CLIP)
    measure = Importance.build(settings, MeasureTask(rule, fields))
    replaced = [
        score_arm(measured.trained, with_donors(measured.patients, place, fields[place])).outputs
        for place in measure.replaced_fields
    ]
    rows = measure.rows_of(replace(measured.scored, replaced=np.stack(replaced, axis=1)))
    found = measure.read(rows.sum(axis=0), sd=0.0, minimum_cell=0, n_expected=len(rows))
    for field in fields:
        each = found[rise_without(field.name)]
        if each.value is not None and each.low is not None and each.high is not None:
            yield field.name, "rise", (each.value, each.low, each.high)


def _columns(measured: Measured) -> _Found:
    """Whether each column was kept, and in how many draws of fresh noise; exact, no interval."""
    plan, stage = measured.trained.plan, measured.trained.plan.trained
    if not isinstance(stage, LearnerStage) or not isinstance(stage.learner, SelectionSettings):
        return
    selection = Selection.build(stage.learner, table_task(plan.settings, stage.epsilon))
    state = State(
        np.asarray(measured.trained.weights, dtype=np.float64),
        stage.rounds,
        measured.trained.memory,
    )
    kept = set(selection.columns_kept(state))
    for place in selection.places:
        name = selection.task.columns[place].name
        yield name, KEPT, _exact(float(name in kept))
    if measured.training.is_private:
        for each in measure_stability(selection, state):
            yield each.column, DRAWS, _exact(each.frequency)


def _maps(measured: Measured) -> _Found:
    """Fit and stability of maps of some films, as means over these films."""
    found = measure_maps(measured.trained, measured.cohorts, measured.later, n_exams=_EXAMS)
    for name, values in found.items():
        if len(values) > 1:
            yield "maps", name, _mean(values)


def _exact(value: float) -> tuple[float, float, float]:
    return value, value, value


def _mean(values: Floats) -> tuple[float, float, float]:
    value = float(values.mean())
    margin = normal_quantile(_CONFIDENCE) * float(values.std(ddof=1)) / len(values) ** 0.5
    return value, value - margin, value + margin


def _is_federation(training: Training) -> bool:
    return training.mode == FEDERATED


def _is_private_federation(training: Training) -> bool:
    return training.mode == FEDERATED and training.is_private


@dataclass(frozen=True)
class _Kind:
    """How a reading is measured, and of which trainings."""

    measure: _Measure
    is_of: Callable[[Training], bool]


_KINDS: Mapping[str, _Kind] = {
    CALIBRATION: _Kind(_calibration, _is_federation),
    IMPORTANCE: _Kind(_importance, _is_federation),
    COLUMNS: _Kind(_columns, lambda _: True),
    MAPS: _Kind(_maps, _is_private_federation),
}
KINDS: tuple[str, ...] = tuple(_KINDS)
