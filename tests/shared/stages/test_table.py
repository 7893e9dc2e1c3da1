"""Validation as a stage: the release scores each patient, the table adds a row of each."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from practice_learners import learner_plan, silent
from practice_patients import practice_patients, practice_settings
from practice_plan import plan_of, with_training

from shared.contract.decision import decision_of
from shared.contract.plan import Plan
from shared.contract.stages import TableStage
from shared.errors import PlanError, PolicyError, WeightsError
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import LARGEST, measure_statistics
from shared.measure.table.rows import contributions
from shared.measure.table.spec import sensitivity, table_spec
from shared.measures.scored import Scored
from shared.stages.gradient import GradientSum
from shared.stages.stage_sum import StageState
from shared.stages.table import TableSum
from shared.train.update import each_exam, score_exams, score_patients

SITES = {"aster": 20, "birch": 30}


def measured(**changes: object) -> tuple[Plan, TableStage, TableSum]:
    """The internal table of a plan, changed."""
    plan = plan_of(practice_settings("linear"), SITES)
    stage = plan.stage("internal")
    assert isinstance(stage, TableStage)
    changed = stage.model_copy(update=changes)
    return plan, changed, TableSum(plan, changed, None)


def exact(**changes: object) -> tuple[Plan, TableStage, TableSum]:
    return measured(release_class="governed", noise_multipliers=(0.0,), **changes)


def moved(asked: TableSum) -> np.ndarray:
    start = asked.start().vector
    return (start + np.linspace(-0.2, 0.2, start.size)).astype(np.float32)


def table_of(asked: TableSum, n: int = 20, *, normal: float = 0.0) -> np.ndarray:
    return asked.answer(
        moved(asked),
        practice_patients(n, seed=2),
        round_number=1,
        declared_patients=20,
        draw_normals=lambda m: torch.full((m,), normal, dtype=torch.float64),
    )


def test_a_table_is_the_row_of_each_patients_score_added_up() -> None:
    plan, stage, asked = measured()
    exams, patient = each_exam(practice_patients(20, seed=2))
    output, target = score_exams(plan.settings, exams, moved(asked))
    assert plan.settings.task.kind == "regression"
    made = contributions(table_spec(plan.settings, stage), outputs=output, label=target)
    rows = np.stack([made[patient == row].mean(axis=0) for row in range(20)])
    assert len(made) > len(rows), "some came twice"
    np.testing.assert_allclose(table_of(asked), rows.sum(axis=0), rtol=0, atol=1e-6)
    assert asked.spec == table_spec(plan.settings, stage)


def test_a_governed_stage_answers_with_the_statistics_of_its_patients() -> None:
    plan, _, asked = exact()
    outputs, target = score_patients(plan.settings, practice_patients(20, seed=2), moved(asked))
    output = outputs[:, 0]
    assert plan.settings.task.kind == "regression"
    rule = decision_of(plan.settings)
    true, called = (
        np.searchsorted(cuts, values)
        for cuts, values in ((rule.label_cuts, target), (rule.output_cuts, output))
    )
    assert len(asked.statistics.others) == 2
    expected = measure_statistics(
        asked.statistics,
        suspicion=-output,
        is_positive=target <= plan.settings.task.endpoint_threshold,
        is_called=output <= plan.settings.task.operating_point,
        target=target,
        prediction=output,
        rightly={rule.classes[place]: called[true == place] == place for place in (1, 2)},
    )
    np.testing.assert_array_equal(table_of(asked), expected)
    assert (asked.noise_sd, asked.statistics.named(expected)["n"]) == (0.0, 20)


def test_a_classifier_calls_at_or_above_its_operating_point() -> None:
    plan = learner_plan("naive_bayes", SITES)
    stage = plan.stage("internal")
    assert isinstance(stage, TableStage)
    governed = stage.model_copy(update={"release_class": "governed", "noise_multipliers": (0.0,)})
    asked = TableSum(plan, governed, None)
    probability = np.array([0.5, 0.4, 0.5, 0.4])
    spread = np.stack([(1 - probability) / 2, (1 - probability) / 2, probability], axis=1)
    scored = Scored(spread, np.array([2.0, 2.0, 0.0, 1.0]), np.zeros((4, 0)))
    named = asked.statistics.named(asked.measured(scored))
    assert plan.settings.task.operating_point == 0.5
    assert (named["sensitivity"], named["specificity"]) == (0.5, 0.5)
    assert named["brier"] == pytest.approx((2 * 0.25 + 0.36 + 0.16) / 4)


def test_who_cannot_be_read_is_called_wrongly_in_every_class() -> None:
    plan = learner_plan("naive_bayes", SITES)
    stage = plan.stage("internal")
    governed = stage.model_copy(update={"release_class": "governed", "noise_multipliers": (0.0,)})
    asked = TableSum(plan, governed, None)
    first, second, endpoint = decision_of(plan.settings).classes
    assert asked.statistics.others == (first, second)
    outputs = np.array(
        [[0.8, 0.1, 0.1], [np.nan] * 3, [0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    )
    scored = Scored(outputs, np.array([0.0, 0.0, 1.0, 1.0, 2.0]), np.zeros((5, 0)))
    named = asked.statistics.named(asked.measured(scored))
    assert endpoint == plan.settings.task.positive_class
    assert (named[f"n, {first}"], named[f"n, {second}"]) == (2, 2)
    assert (named[f"sensitivity, {first}"], named[f"sensitivity, {second}"]) == (0.5, 0.5)


def test_the_noise_in_every_cell_is_the_stages_multiplier_times_the_rows_bound() -> None:
    _, stage, asked = measured()
    quiet, loud = (table_of(asked, normal=normal) for normal in (0.0, 1.0))
    assert asked.noise_sd == pytest.approx(stage.noise_of(1) * sensitivity(asked.spec))
    np.testing.assert_allclose(loud - quiet, asked.noise_sd, rtol=1e-6)


def test_sites_tables_add_up_to_the_table_of_everybody() -> None:
    _, _, asked = measured()
    weights, batch = moved(asked), practice_patients(20, seed=2)
    parts = [batch.select(torch.arange(7)), batch.select(torch.arange(7, 20))]
    one, two = (
        asked.answer(
            weights,
            part,
            round_number=1,
            declared_patients=20,
            draw_normals=lambda m: torch.zeros(m, dtype=torch.float64),
        )
        for part in parts
    )
    assert np.array_equal(one + two, table_of(asked))


def test_a_patient_is_positive_by_the_endpoint_or_by_the_positive_class() -> None:
    plan, _, asked = measured()
    threshold = plan.settings.task.endpoint_threshold  # type: ignore[union-attr]
    label = np.array([threshold - 0.01, threshold, threshold + 0.01])
    rows = contributions(asked.spec, outputs=np.array([[0.5], [0.6], [0.7]]), label=label)
    assert (rows[:, : asked.spec.bins].sum(axis=1) > 0).tolist() == [True, True, False]
    plan = learner_plan("naive_bayes", SITES)
    assert plan.settings.cohort.label.kind == "bmd"
    spec = table_spec(plan.settings, plan.tables[0])
    assert spec.classes == ("osteoporosis", "normal", "osteopenia")
    outputs = np.array([[0.8, 0.1, 0.1], [0.0, 0.1, 0.9], [0.2, 0.3, 0.5]])
    rows = contributions(spec, outputs=outputs, label=np.array([0.0, 2.0, 1.0]))
    is_positive = rows[:, spec.bins : 2 * spec.bins]
    assert (is_positive.sum(axis=1) > 0).tolist() == [False, True, False]
    assert is_positive[1].argmax() == np.searchsorted(spec.inner_edges, 0.9, side="right")


def test_an_honest_table_of_ten_times_the_declared_patients_is_not_beyond_the_largest() -> None:
    _, stage, asked = measured()
    bound = sensitivity(asked.spec)
    largest = asked.largest(1, declared_patients=7)
    radius = asked.noise_sd * (math.sqrt(asked.spec.n_cells) + 10)
    assert largest == pytest.approx(70 * bound + radius)
    # seventy patients with equal rows of the largest norm, beside any noise that is ever drawn
    draw = np.random.default_rng(1)
    row = np.zeros(asked.spec.n_cells)
    row[0] = bound
    for _ in range(200):
        noise = asked.noise_sd * draw.normal(size=row.size)
        assert np.linalg.norm(70 * row + noise) < largest
    assert np.linalg.norm(200 * row) > largest
    governed = exact()[2]
    length = governed.statistics.n_figures
    assert governed.largest(1, declared_patients=7) == pytest.approx(LARGEST * math.sqrt(length))
    assert stage.noise_of(1) > 0


def test_statistics_leave_only_under_the_rules_and_with_what_was_shown_before_in_view() -> None:
    _, _, asked = exact()
    bound, spec = asked.bound(1), asked.statistics
    found = dict.fromkeys(spec.figures, 0.5) | {"n": 100, "n_positive": 40, "sensitivity": 0.9}
    vector = np.array(list(found.values()))
    assert (bound.length, bound.kind, bound.norm_max) == (spec.n_figures, "<f8", None)
    assert bound.may_withhold
    assert bound.suppress is not None
    shown = bound.suppress(vector, 10, [])
    np.testing.assert_array_equal(shown, withhold(vector, spec, minimum_cell=10))
    hidden = {name for name, value in spec.named(shown).items() if np.isnan(value)}
    assert hidden == {"sensitivity", *(name for name in spec.figures if ", " in name)}
    other = vector.copy()
    other[0] = 101
    assert np.isnan(bound.suppress(other, 10, [shown])).all()
    named = found | {"sensitivity": 0.5, "specificity": 0.75, "n, osteopenia": 30, "n, normal": 30}
    whole = np.array(list(named.values()))
    assert not np.isnan(bound.suppress(whole, 10, [])).any()
    after = spec.named(bound.suppress(whole, 10, [bound.suppress(whole, 10, [])]))
    assert {name for name in spec.figures if ", " in name} <= {
        name for name, value in after.items() if np.isnan(value)
    }
    of_another_length = np.ones(3)
    with pytest.raises(PolicyError) as caught:
        bound.suppress(vector, 10, [shown, of_another_length])
    assert caught.value.code == "policy.exact-beside-exact"
    noised = measured()[2].bound(1)
    assert (noised.suppress, noised.may_withhold) == (None, False)


def test_a_table_reads_the_last_state_of_training_and_changes_nothing_of_it() -> None:
    plan, _, asked = measured()
    training = plan.training
    assert training is not None
    trained = GradientSum(plan, training, None)
    assert asked.state_length(1) == trained.state_length(1)
    assert (asked.state_kind, asked.state_largest) == (trained.state_kind, trained.state_largest)
    assert np.array_equal(asked.start().vector, trained.start().vector)
    state = StageState(round=0, vector=moved(asked))
    after = asked.advance(state, [table_of(asked)], sites=plan.roster)
    assert after.vector is state.vector
    assert after.round == 1


def test_a_table_of_a_stage_that_trains_nothing_is_refused() -> None:
    plan, stage, _ = measured()
    for reads, code in (("external", "plan.reads-no-training"), ("nothing", "plan.no-such-stage")):
        with pytest.raises(PlanError) as caught:
            TableSum(plan, stage.model_copy(update={"reads": reads}), None)
        assert caught.value.code == code
    renamed = with_training(plan, learning_rate=0.1)
    assert TableSum(renamed, stage, None).state_length(1) > 0


def test_a_validation_takes_patients_and_nothing_else() -> None:
    _, _, asked = measured()
    with pytest.raises(WeightsError) as caught:
        asked.answer(moved(asked), None, round_number=1, declared_patients=7, draw_normals=silent)
    assert caught.value.code == "weights.wrong-patients"
