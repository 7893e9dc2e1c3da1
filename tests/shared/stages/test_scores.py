"""A score is in the target's unit or the positive class's probability, whoever was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_learners import SITES, learner_plan, patients_of, played, stage_of
from practice_patients import practice_patients, practice_settings
from practice_plan import plan_of

from shared.errors import PlanError, SettingsError
from shared.stages.learner import LearnerSum
from shared.stages.scores import fields_of, makers_of, scorer_of
from shared.train.update import each_exam, first_exams, score_patients


def test_a_learner_of_a_number_speaks_in_the_targets_unit() -> None:
    plan = learner_plan("ridge", SITES)
    scorer = scorer_of(plan, plan.stage("train"), None)
    state, [patients, _] = played(plan)[-1], patients_of(plan)
    asked, task = LearnerSum(plan, stage_of(plan), None), plan.settings.task
    scored = scorer.score(state.vector, patients).earliest()
    output, label = scored.outputs, scored.label
    columns = asked.columns_of(patients)
    np.testing.assert_allclose(
        (output - task.target_mean) / task.target_sd, asked.predict(state.vector, columns)
    )
    np.testing.assert_allclose((label - task.target_mean) / task.target_sd, columns.target)
    assert (scorer.length, scorer.state_kind) == (state.vector.size, "<f8")
    assert np.array_equal(scorer.start().vector, asked.start().vector)


def test_a_learner_of_classes_gives_the_probability_of_each_class() -> None:
    plan = learner_plan("naive_bayes", SITES)
    scorer = scorer_of(plan, plan.stage("train"), None)
    state, [patients, _] = played(plan)[-1], patients_of(plan)
    asked = LearnerSum(plan, stage_of(plan), None)
    scored = scorer.score(state.vector, patients).earliest()
    output, label = scored.outputs, scored.label
    probabilities = asked.predict(state.vector, asked.columns_of(patients))
    positive = plan.settings.cohort.label.classes.index("osteoporosis")
    assert np.array_equal(output, probabilities)
    assert set(label) <= {0.0, 1.0, 2.0}
    assert output[label == positive, positive].mean() > output[label != positive, positive].mean()


def test_every_labelled_exam_is_scored_with_its_own_fields_in_the_schemas_units() -> None:
    plan = plan_of(practice_settings("linear"), SITES)
    fields, patients = plan.settings.cohort.fields, practice_patients(12)
    patients.exam_mask[3] = False
    scorer = scorer_of(plan, plan.training, None)
    found = scorer.score(scorer.start().vector, patients)
    assert len(found) == 11, "who has no labelled exam is left out"
    exams = [(row, exam) for row, exam in patients.exam_mask.nonzero().tolist()]
    assert np.diff(found.starts).tolist() == [n for n in patients.exam_mask.sum(dim=1).tolist() if n]
    for place, (row, exam) in enumerate(exams):
        for column, field in enumerate(fields):
            value, given = found.exams.fields[place, column], patients.fields[row, exam, column].item()
            if not patients.field_mask[row, exam, column]:
                assert np.isnan(value)
            elif field.kind == "category":
                assert value == given
            else:
                in_unit = field.reference_mean + field.reference_sd * given
                assert value == pytest.approx(in_unit, abs=1e-5 * field.reference_sd)


def test_a_learner_scores_a_patient_once_with_the_fields_of_the_earliest_labelled_exam() -> None:
    plan = learner_plan("ridge", SITES)
    patients, stage = practice_patients(12), stage_of(plan)
    scorer = scorer_of(plan, stage, None)
    found = scorer.score(scorer.start().vector, patients)
    assert np.diff(found.starts).tolist() == [1] * 12
    first = patients.exam_mask.int().argmax(dim=1)
    column = next(
        place for place, each in enumerate(plan.settings.cohort.fields) if each.kind == "number"
    )
    field = plan.settings.cohort.fields[column]
    for row in range(12):
        if patients.field_mask[row, first[row], column]:
            given = patients.fields[row, first[row], column].item()
            expected = field.reference_mean + field.reference_sd * given
            held = 1e-5 * field.reference_sd
            assert found.exams.fields[row, column] == pytest.approx(expected, abs=held)


def test_a_whole_number_comes_back_whole_and_stays_on_its_edge() -> None:
    settings = practice_settings("linear")
    fields = settings.cohort.fields
    place = {field.name: column for column, field in enumerate(fields)}
    for name, values in (("age", range(18, 91)), ("weight", range(30, 201))):
        field = fields[place[name]]
        exact = np.array(values, dtype=np.float64)
        patients = practice_patients(len(exact))
        patients.exam_mask[:, 0], patients.field_mask[:] = True, True
        standard = (exact - field.reference_mean) / field.reference_sd
        patients.fields[:, 0, place[name]] = torch.from_numpy(standard).float()
        found = fields_of(first_exams(patients), fields)
        assert found[:, place[name]].tolist() == exact.tolist()


def test_makers_are_those_of_the_films_of_the_first_labelled_exam() -> None:
    patients = replace(practice_patients(3, exams=2), makers=("Acme", "Umbra"))
    patients.exam_mask[:] = torch.tensor([[True, True], [False, True], [False, False]])
    patients.film_exam[:] = torch.tensor([0, 0, 1, -1])
    # the last slot has no film, whatever stands there
    patients.film_maker[:] = torch.tensor([[2, 1, 0, 1], [1, 1, 2, 1], [1, 1, 1, 1]])
    first = first_exams(patients.select([0, 1]))
    assert makers_of(first) == (("Acme", "Umbra"), ("Umbra",))
    assert makers_of(each_exam(patients)[0]) == (("Acme", "Umbra"), (), ("Umbra",))
    patients.film_maker[0] = torch.tensor([0, 1, 2, 2])
    named = makers_of(first_exams(patients))[0]
    assert named == ("Acme",), "a film without a name is passed over"


def test_a_trained_model_scores_as_its_weights_do() -> None:
    plan = plan_of(practice_settings("linear"), SITES)
    scorer = scorer_of(plan, plan.training, None)
    patients, weights = practice_patients(12), scorer.start().vector + np.float32(0.1)
    found = scorer.score(weights, patients)
    earliest = found.earliest()
    outputs, label = score_patients(plan.settings, patients, weights)
    assert np.array_equal(earliest.outputs, outputs)
    assert np.array_equal(earliest.label, label)
    assert len(found.exams) > len(found), "some came twice"
    assert (scorer.length, scorer.state_kind) == (weights.size, "<f4")
    assert scorer.state_largest == plan.settings.caps.weight_max


def test_a_stage_that_trains_nothing_cannot_be_read() -> None:
    plan = plan_of(practice_settings("linear"), SITES)
    for stage in (plan.stage("internal"), None):
        with pytest.raises(PlanError) as caught:
            scorer_of(plan, stage, None)
        assert caught.value.code == "plan.reads-no-training"


def test_components_cannot_be_read_as_if_they_predicted() -> None:
    plan = learner_plan("ridge", SITES)
    stage = stage_of(plan)
    learner = stage.learner.model_copy(update={"read_as": "components", "n_components": 2})
    with pytest.raises(SettingsError) as caught:
        scorer_of(plan, stage.model_copy(update={"learner": learner}), None)
    assert caught.value.code == "settings.predicts-nothing"
