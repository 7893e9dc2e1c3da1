"""A measure as a stage: the release scores each patient, the measure counts, nothing of it changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from practice_learners import SITES, learner_plan, patients_of, played, silent
from practice_patients import practice_patients, read
from practice_plan import planned_locally, started_release

from shared.contract.decision import decision_of
from shared.contract.plan import Plan
from shared.contract.stages import MeasureStage
from shared.errors import PolicyError, WeightsError
from shared.measures.scored import MeasureTask, Scored
from shared.measures.subgroups import Subgroups, SubgroupsSettings
from shared.stages.donors import with_donors
from shared.stages.measure import MeasureSum, both_weights, released_weights
from shared.stages.scores import scorer_of

EDGES = (0.05, 0.2, 0.6)


def measured(name: str, **validation: object) -> tuple[Plan, MeasureSum]:
    request = {"groups": ["internal"], "epsilon": 2.0, "measure": {"kind": "errors", "edges": EDGES}}
    plan = learner_plan(name, SITES, measures={"errors": request}, **validation)
    stage = plan.stage("errors_internal")
    assert isinstance(stage, MeasureStage)
    return plan, MeasureSum(plan, stage, None)


def governed() -> dict[str, object]:
    return {"validation": {**read("validation/bmd"), "release_class": "governed"}}


def total_of(plan: Plan, asked: MeasureSum) -> tuple[np.ndarray, np.ndarray]:
    """The exact total over one site's patients, and the histogram of their errors by numpy."""
    state, [patients, _] = played(plan)[-1], patients_of(plan)
    total = asked.answer(
        state.vector, patients, round_number=1, declared_patients=60, draw_normals=silent
    )
    scored = scorer_of(plan, plan.stage("train"), None).score(state.vector, patients).earliest()
    output, label = scored.outputs[:, -1], scored.label
    edges = np.array([-1.0, *EDGES, np.inf])
    expected = [
        int(((np.abs(output - label) > low) & (np.abs(output - label) <= high)).sum())
        for low, high in itertools.pairwise(edges)
    ]
    return total, np.array(expected)


@pytest.mark.parametrize("name", ["ridge", "lasso"])
def test_errors_are_those_of_the_releases_scores_of_each_patient(name: str) -> None:
    plan, asked = measured(name, **governed())
    total, expected = total_of(plan, asked)
    assert total.tolist() == expected.tolist()
    assert sum(cell > 0 for cell in expected) > 1, "a histogram of one band shows nothing"
    assert asked.noise_sd == 0.0


def test_the_noise_has_the_stages_multiplier_since_a_row_is_one() -> None:
    plan, asked = measured("ridge")
    stage = plan.stage("errors_internal")
    assert asked.noise_sd == stage.noise_of(1) > 0
    state, [patients, _] = played(plan)[-1], patients_of(plan)
    quiet, loud = (
        asked.answer(
            state.vector,
            patients,
            round_number=1,
            declared_patients=60,
            draw_normals=lambda n, value=value: np.full(n, value),
        )
        for value in (0.0, 1.0)
    )
    np.testing.assert_allclose(loud - quiet, asked.noise_sd, rtol=1e-6)
    # ten times the declared patients, and the radius of noise in four cells: √4 and ten SDs more
    assert asked.largest(1, declared_patients=60) == pytest.approx(600 + 12 * asked.noise_sd)


def test_exact_cells_leave_only_as_the_measure_shows_them() -> None:
    _, asked = measured("ridge", **governed())
    bound = asked.bound(1)
    assert (bound.length, bound.kind) == (4, "<f8")
    assert bound.suppress(np.array([1, 9, 0, 12]), 5, []).tolist() == [0, 10, 0, 12]
    with pytest.raises(PolicyError):
        bound.suppress(np.array([9, 9, 9, 1]), 5, [])


def old_and_young(n: int, column: int, n_fields: int) -> Scored:
    """Patients, rightly read, of whom each two hundredth is between 70 and 70.3 years old."""
    draw = np.random.default_rng(4)
    age = np.where(np.arange(n) % 2 == 0, 66.0, 74.0)
    age[::200] = 70.1
    label = draw.normal(0.68, 0.1, n)
    fields = np.zeros((n, n_fields))
    fields[:, column] = age
    return Scored(label[:, None], label, fields)


def test_two_exact_tables_of_groups_would_show_the_few_between_their_edges() -> None:
    plan, _ = measured("ridge", **governed())
    task = MeasureTask(decision_of(plan.settings), plan.settings.cohort.fields)
    column = next(place for place, field in enumerate(task.fields) if field.name == "age")
    patients = old_and_young(3000, column, len(task.fields))
    totals = []
    for edge in (70.0, 70.3):
        settings = SubgroupsSettings(
            kind="subgroups", field="age", edges=(edge,), bins=4, low=0.5, high=0.8
        )
        measure = Subgroups.build(settings, task)
        total = measure.rows_of(patients).sum(axis=0)
        totals.append(measure.suppress(total, 10))  # each by itself may leave
    between = totals[1] - totals[0]
    assert 0 < between.max() < 10, "and their difference is a cell of few"
    # so no gate lets a second one out, nor one after the main statistics, nor those after one
    bound = measured("ridge", **governed())[1].bound(1)
    assert bound.suppress is not None
    for earlier in (totals[0], np.ones(4), np.ones(20)):
        with pytest.raises(PolicyError) as caught:
            bound.suppress(np.array([10, 10, 10, 12]), 5, [earlier])
        assert caught.value.code == "policy.exact-beside-exact"


def test_measuring_reads_the_last_state_and_changes_nothing_of_it() -> None:
    plan, asked = measured("ridge")
    last = played(plan)[-1]
    assert asked.state_length(1) == last.vector.size
    assert asked.state_kind == "<f8"
    after = asked.advance(last, [np.ones(4)], sites=plan.roster)
    assert after.vector is last.vector
    assert after.round == last.round + 1


def test_a_measure_takes_patients_and_nothing_else() -> None:
    _, asked = measured("ridge")
    with pytest.raises(WeightsError) as caught:
        asked.answer(
            asked.start().vector, None, round_number=1, declared_patients=60, draw_normals=silent
        )
    assert caught.value.code == "weights.wrong-patients"


def test_the_importance_of_a_field_is_what_its_donors_cost() -> None:
    request = {"groups": ["internal"], "epsilon": 2.0, "measure": {"kind": "importance", "clip": 0.5}}
    plan = learner_plan("ridge", SITES, measures={"importance": request}, **governed())
    stage = plan.stage("importance_internal")
    assert isinstance(stage, MeasureStage)
    asked = MeasureSum(plan, stage, None)
    state, [patients, _] = played(plan)[-1], patients_of(plan)
    total = asked.answer(
        state.vector, patients, round_number=1, declared_patients=60, draw_normals=silent
    )
    scorer, fields = scorer_of(plan, plan.stage("train"), None), plan.settings.cohort.fields
    before = scorer.score(state.vector, patients).earliest()
    for place, field in enumerate(fields):
        after = scorer.score(state.vector, with_donors(patients, place, field)).earliest()
        rises = np.abs(after.outputs[:, 0] - before.label) - np.abs(before.outputs[:, 0] - before.label)
        mean = total[1 + place] * len(fields) ** 0.5 / (total[0] / 0.25)
        assert mean == pytest.approx(np.clip(rises / 0.5, -1, 1).mean(), abs=1e-7)
    nothing = asked.answer(
        np.zeros_like(state.vector), patients, round_number=1, declared_patients=60, draw_normals=silent
    )
    assert not nothing[1 : 1 + len(fields)].any()


def test_a_local_plans_measure_scores_both_weights_and_the_local_ones_first() -> None:
    plan = planned_locally(started_release())
    asked, scorer = MeasureSum(plan, plan.measures[0], None), scorer_of(plan, plan.training, None)
    assert asked.state_length(1) == 2 * scorer.length
    draw = np.random.default_rng(3)
    local, released = (draw.normal(0, 0.1, scorer.length).astype(np.float32) for _ in range(2))
    patients = practice_patients(60)
    both = both_weights(local, released)
    assert (released_weights(plan, both) == released).all()
    rows = asked.measure.rows_of(asked._score(both, patients, places=len(patients)).earliest())
    errors = [
        np.abs(read.outputs[:, 0] - read.label)
        for read in (scorer.score(each, patients).earliest() for each in (local, released))
    ]
    rises = np.clip((errors[1] - errors[0]) / 0.05, -1, 1)
    np.testing.assert_allclose(rows[:, 1], rises, atol=1e-9)
    assert asked.start().vector.size == both.size
