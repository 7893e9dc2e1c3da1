"""Readings are asked of the arms that a system names, and stand in a line by their own names."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from practice_experiments import TWO
from practice_follow_up import FOLLOWED, follow, scored
from practice_tables import classes, in_three, table_task

from server.experiments import readings
from server.experiments.readings import (
    APART,
    CALIBRATION,
    COLUMNS,
    DRAWS,
    FORETOLD,
    IMPORTANCE,
    KEPT,
    KINDS,
    MAPS,
    OBSERVED,
    Measured,
    figure_name,
    place_in_table,
    read_further,
)
from server.experiments.system import Reading, Training, usual
from server.federation.compose import compose_settings
from server.simulation.arms import Trained
from server.simulation.film_maps import CAM_STABILITY, LIME_FIT
from shared.contract.decision import decision_of
from shared.contract.stages import LearnerStage
from shared.learners.selection import Selection, SelectionSettings
from shared.measures.scored import Scored
from shared.sums.federate import federate

FEDERATED, OPEN, POOLED, ALONE, *_ = usual(TWO.population)
Values = dict[tuple[str, str], tuple[float, float, float]]


def measured(plan: object, said: Scored, *, training: Training = FEDERATED, **given) -> Measured:
    weights, memory = given.get("weights", np.zeros(1)), given.get("memory", {})
    return Measured(Trained(weights, plan, memory), training, None, said, None, ())


def values_of(kind: str, model: Measured) -> Values:
    return {(row, column): each for row, column, each in readings._KINDS[kind].measure(model)}


def test_a_reading_is_asked_of_its_arms_and_of_the_trainings_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str, tuple[str, ...]]] = []

    def answer(kind: str):
        def measure(model: Measured):
            asked.append((kind, model.training.kind, model.later))
            yield "row", "column", (0.5, 0.4, 0.6)

        return measure

    answers = {kind: replace(own, measure=answer(kind)) for kind, own in readings._KINDS.items()}
    monkeypatch.setattr(readings, "_KINDS", answers)
    system = replace(TWO, readings=tuple(Reading(kind=kind, arms=("descent",)) for kind in KINDS))
    places = {"prospective": None, "external": None, "internal": None}
    figures = [
        each
        for training in (FEDERATED, OPEN, POOLED, ALONE)
        for arm in ("descent", "ridge")
        for each in read_further(
            system, arm, training, None, places=places, scored=places, cohorts=None
        )
    ]
    federations = {FEDERATED.kind, OPEN.kind}
    everybody = {*federations, POOLED.kind, ALONE.kind}
    later = ("aster-later", "birch-later", "cedar-later")
    assert {(kind, training) for kind, training, _ in asked} == {
        *((CALIBRATION, kind) for kind in federations),
        *((IMPORTANCE, kind) for kind in federations),
        *((COLUMNS, kind) for kind in everybody),
        (MAPS, FEDERATED.kind),
    }
    assert {names for *_, names in asked} == {later}
    assert {(each.arm, each.place) for each in figures} == {("descent", "prospective")}
    assert len(figures) == len(asked) == 9


def test_the_name_of_a_figure_tells_its_place_in_a_table() -> None:
    assert place_in_table(figure_name(COLUMNS, "a: b | c", KEPT)) == (COLUMNS, "a: b | c", KEPT)
    for other in ("AUC", "C-index, death", "AUC, mild", "calibration: x"):
        assert place_in_table(other) == ("", "", "")


def test_calibration_is_told_of_each_event_by_each_edge() -> None:
    settings = compose_settings(["experiment=hip_fracture"])
    said = scored(follow(500, seed=1), FOLLOWED)
    found = values_of(CALIBRATION, measured(SimpleNamespace(settings=settings), said))
    assert len(found) == 2 * 5 * 3
    last = {column: found["hip fracture by 5 years", column] for column in (OBSERVED, FORETOLD, APART)}
    assert last[FORETOLD][0] == pytest.approx(said.outputs[:, 0].mean())
    assert last[APART][0] == pytest.approx(last[OBSERVED][0] - last[FORETOLD][0])
    for value, low, high in last.values():
        assert low < value < high
    # the difference is of the same draws: narrower than two figures of other people
    widths = [high - low for _, low, high in (last[OBSERVED], last[FORETOLD])]
    assert last[APART][2] - last[APART][1] < sum(widths)
    assert found["death by 5 years", FORETOLD] == (0.0, 0.0, 0.0)


def test_importance_is_the_rise_of_the_chance_of_a_wrong_class_without_the_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = compose_settings(["experiment=cssc"])
    fields = settings.cohort.fields
    n, c = 50, len(decision_of(settings).classes)
    said = Scored(np.tile(np.eye(c)[0], (n, 1)), np.zeros(n), np.zeros((n, len(fields))))

    def score(_: Trained, replaced: str) -> Scored:
        # without an age a tenth is given to another class; of every other patient two tenths
        outputs = said.outputs.copy()
        if replaced == fields[0].name:
            outputs[:, 0] -= np.tile([0.05, 0.15], n // 2)
        return replace(said, outputs=outputs)

    monkeypatch.setattr(readings, "score_arm", score)
    monkeypatch.setattr(readings, "with_donors", lambda _, place, field: fields[place].name)
    found = values_of(IMPORTANCE, measured(SimpleNamespace(settings=settings), said))
    assert [row for row, _ in found] == [field.name for field in fields]
    value, low, high = found[fields[0].name, "rise"]
    assert value == pytest.approx(0.1)
    assert high - value == pytest.approx(value - low) == pytest.approx(1.96 * 0.05 / n**0.5, rel=1e-3)
    assert found[fields[1].name, "rise"] == (0.0, 0.0, 0.0)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A plan whose learner has kept two of ten columns, and its last state."""
    settings = SelectionSettings.model_validate(
        {
            "kind": "selection",
            "by": {
                "kind": "lasso",
                "radius_per_column": 10.0,
                "shares": [{"up_to_epsilon": 50, "share": 0.25}],
            },
            "keep": 2,
            "then": {"kind": "nearest_centroid"},
        }
    )
    task = table_task(10, n_classes=3, epsilon=3.0)
    monkeypatch.setattr(readings, "table_task", lambda *_: task)
    state = federate(Selection.build(settings, task), in_three(classes(600, 10)), n_declared=600)
    stage = LearnerStage.model_construct(learner=settings, rounds=2, epsilon=3.0)
    plan = SimpleNamespace(settings=None, trained=stage)
    return {"plan": plan, "weights": state.vector, "memory": state.memory}


def test_columns_are_kept_or_not_and_under_fresh_noise_so_often(chosen: dict[str, object]) -> None:
    model = measured(chosen.pop("plan"), None, **chosen)
    found = values_of(COLUMNS, model)
    kept = {row for (row, column), (value, *_) in found.items() if column == KEPT and value}
    assert kept == {"x0", "x1"}
    assert len(found) == 20
    assert found["x0", DRAWS] == (1.0, 1.0, 1.0)
    assert found["x5", DRAWS] == found["x5", KEPT] == (0.0, 0.0, 0.0)
    # without noise there is nothing to draw again
    assert {column for _, column in values_of(COLUMNS, replace(model, training=OPEN))} == {KEPT}


def test_a_model_that_chooses_nothing_or_foretells_no_time_has_no_such_figures() -> None:
    settings = compose_settings(["experiment=hip_table"])
    plan = SimpleNamespace(settings=settings, trained=None)
    for kind in (COLUMNS, CALIBRATION):
        assert values_of(kind, measured(plan, None)) == {}


def test_maps_are_means_over_films_and_none_where_there_is_no_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    films = {LIME_FIT: np.array([0.2, 0.4, 0.6]), CAM_STABILITY: np.zeros(0)}
    monkeypatch.setattr(readings, "measure_maps", lambda *_, **__: films)
    found = values_of(MAPS, measured(None, None))
    assert list(found) == [("maps", LIME_FIT)]
    value, low, high = found["maps", LIME_FIT]
    assert value == pytest.approx(0.4)
    assert high - value == pytest.approx(1.959964 * 0.2 / 3**0.5)
    assert value - low == pytest.approx(high - value)
