"""A score is in the target's unit or the positive class's probability, whoever was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_learners import SITES, learner_plan, patients_of, played, stage_of
from practice_patients import practice_patients, practice_settings
from practice_plan import plan_of

from shared.errors import PlanError, ProtocolError, SettingsError
from shared.stages.learner import LearnerSum
from shared.stages.scores import fields_of, makers_of, scorer_of
from shared.train.update import score_patients


def test_a_learner_of_a_number_speaks_in_the_targets_unit() -> None:
    plan = learner_plan("ridge", SITES)
    scorer = scorer_of(plan, plan.stage("train"), None)
    state, [patients, _] = played(plan)[-1], patients_of(plan)
    asked, task = LearnerSum(plan, stage_of(plan), None), plan.settings.task
    output, label = scorer.score(state.vector, patients)
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
    output, label = scorer.score(state.vector, patients)
    probabilities = asked.predict(state.vector, asked.columns_of(patients))
    positive = plan.settings.cohort.label.classes.index("osteoporosis")
    assert np.array_equal(output, probabilities)
    assert set(label) <= {0.0, 1.0, 2.0}
    assert output[label == positive, positive].mean() > output[label != positive, positive].mean()


def test_fields_are_those_of_the_first_labelled_exam_in_the_schemas_units() -> None:
    settings = practice_settings("linear")
    fields, patients = settings.cohort.fields, practice_patients(12)
    patients.exam_mask[3] = False
    first = patients.exam_mask.int().argmax(dim=1)
    for n in (12, 11):
        found = fields_of(patients, fields, n=n)
        kept = [row for row in range(12) if n == 12 or row != 3]
        assert found.shape == (n, len(fields))
        for place, row in enumerate(kept):
            for column, field in enumerate(fields):
                value = float(patients.fields[row, first[row], column])
                if row == 3 or not patients.field_mask[row, first[row], column]:
                    assert np.isnan(found[place, column])
                elif field.kind == "category":
                    assert found[place, column] == value
                else:
                    in_unit = field.reference_mean + field.reference_sd * value
                    held = 1e-5 * field.reference_sd
                    assert found[place, column] == pytest.approx(in_unit, abs=held)
    with pytest.raises(ProtocolError, match="do not go with"):
        fields_of(patients, fields, n=7)


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
        found = fields_of(patients, fields, n=len(exact))
        assert found[:, place[name]].tolist() == exact.tolist()


def test_makers_are_those_of_the_films_of_the_first_labelled_exam() -> None:
    patients = replace(practice_patients(3, exams=2), makers=("Acme", "Umbra"))
    patients.exam_mask[:] = torch.tensor([[True, True], [False, True], [False, False]])
    patients.film_exam[:] = torch.tensor([0, 0, 1, -1])
    # the last slot has no film, whatever stands there
    patients.film_maker[:] = torch.tensor([[2, 1, 0, 1], [1, 1, 2, 1], [1, 1, 1, 1]])
    assert makers_of(patients, n=3) == (("Acme", "Umbra"), ("Umbra",), ())
    assert makers_of(patients, n=2) == (("Acme", "Umbra"), ("Umbra",))
    patients.film_maker[0] = torch.tensor([0, 1, 2, 2])
    assert makers_of(patients, n=3)[0] == ("Acme",), "a film without a name is passed over"
    with pytest.raises(ProtocolError, match="do not go with"):
        makers_of(patients, n=1)


def test_a_trained_model_scores_as_its_weights_do() -> None:
    plan = plan_of(practice_settings("linear"), SITES)
    scorer = scorer_of(plan, plan.training, None)
    patients, weights = practice_patients(12), scorer.start().vector + np.float32(0.1)
    found = scorer.score(weights, patients)
    for mine, theirs in zip(found, score_patients(plan.settings, patients, weights), strict=True):
        assert np.array_equal(mine, theirs)
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
