"""A description as a stage: a row of each patient's first exam, read and never folded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from practice_learners import learner_plan, silent
from practice_patients import practice_settings
from practice_plan import plan_of

from shared.contract.plan import Plan
from shared.contract.settings import ValidationSettings
from shared.contract.stages import DescriptionStage
from shared.errors import PolicyError, WeightsError
from shared.measure.description.rows import (
    contributions,
    description_spec,
    sensitivity,
    withhold_small_groups,
)
from shared.stages.description import DescriptionSum, FirstExams

SITES = {"aster": 20, "birch": 30}


def described(**changes: object) -> tuple[Plan, DescriptionStage, DescriptionSum]:
    """The description of a plan, changed."""
    asked = ValidationSettings(description_epsilon=1.0, target_low=0.3, target_high=1.0, score_low=0.3)
    settings = practice_settings("linear").model_copy(update={"validation": asked})
    plan = plan_of(settings, SITES)
    stage = plan.stage("description")
    assert isinstance(stage, DescriptionStage)
    changed = stage.model_copy(update=changes)
    return plan, changed, DescriptionSum(plan, changed, None)


def exact() -> tuple[Plan, DescriptionStage, DescriptionSum]:
    return described(release_class="governed", noise_multipliers=(0.0,))


def first_exams(plan: Plan, n: int, *, seed: int = 5) -> FirstExams:
    draw, k = np.random.default_rng(seed), len(plan.settings.cohort.fields)
    fields = draw.normal(size=(n, k))
    for column, field in enumerate(plan.settings.cohort.fields):
        if field.kind == "category":
            fields[:, column] = draw.integers(len(field.categories), size=n)
    return FirstExams(fields, draw.random((n, k)) < 0.9, draw.normal(0.7, 0.1, size=n))


def total_of(asked: DescriptionSum, patients: FirstExams, *, normal: float = 0.0) -> np.ndarray:
    return asked.answer(
        asked.start().vector,
        patients,
        round_number=1,
        declared_patients=20,
        draw_normals=lambda m: torch.full((m,), normal, dtype=torch.float64),
    )


def test_a_description_is_the_row_of_each_first_exam_added_up() -> None:
    plan, stage, asked = exact()
    patients, task = first_exams(plan, 25), plan.settings.task
    assert task.kind == "regression"
    rows = contributions(
        description_spec(plan.settings, stage),
        fields=patients.fields,
        field_mask=patients.field_mask,
        target=patients.target,
        is_positive=patients.target <= task.endpoint_threshold,
    )
    assert len(patients) == len(rows) == 25
    assert 0 < (patients.target <= task.endpoint_threshold).sum() < 25
    np.testing.assert_allclose(total_of(asked, patients), rows.sum(axis=0), rtol=1e-12)
    assert asked.noise_sd == 0.0


def test_a_class_is_positive_when_it_is_the_positive_one() -> None:
    asked = ValidationSettings(description_epsilon=1.0).model_dump(mode="json")
    plan = learner_plan("naive_bayes", SITES, validation=asked)
    stage = plan.stage("description")
    assert isinstance(stage, DescriptionStage)
    patients = FirstExams(np.zeros((3, 9)), np.zeros((3, 9), bool), np.array([0.0, 2.0, 1.0]))
    found = DescriptionSum(plan, stage, None).described(patients)
    assert found.is_positive.tolist() == [False, True, False]
    assert len(found) == 3


def test_the_noise_in_every_cell_is_the_stages_multiplier_times_the_rows_bound() -> None:
    plan, stage, asked = described()
    patients = first_exams(plan, 25)
    quiet, loud = (total_of(asked, patients, normal=normal) for normal in (0.0, 1.0))
    assert asked.noise_sd == pytest.approx(stage.noise_of(1) * sensitivity(asked.spec))
    assert stage.noise_of(1) > 3
    np.testing.assert_allclose(loud - quiet, asked.noise_sd, rtol=1e-6)


def test_sites_descriptions_add_up_to_that_of_everybody() -> None:
    plan, _, asked = described()
    one, two = first_exams(plan, 11, seed=1), first_exams(plan, 14, seed=2)
    both = FirstExams(
        *(np.concatenate([getattr(each, name) for each in (one, two)])
          for name in ("fields", "field_mask", "target"))
    )  # fmt: skip
    assert np.array_equal(total_of(asked, one) + total_of(asked, two), total_of(asked, both))


def test_exact_cells_of_small_groups_are_withheld() -> None:
    plan, _, asked = exact()
    patients = first_exams(plan, 60)
    patients.field_mask[:, 1] = True
    patients.field_mask[:4, 1] = False  # four of sixty are missing
    patients.target[::2] = 0.4  # below the threshold
    bound, total = asked.bound(1), total_of(asked, patients)
    assert (bound.length, bound.kind, bound.norm_max) == (asked.spec.n_cells, "<f8", None)
    assert bound.suppress is not None
    shown = bound.suppress(total, 10, [])
    assert np.array_equal(shown, withhold_small_groups(total, asked.spec, minimum_cell=10))
    assert not np.array_equal(shown, total)
    with pytest.raises(PolicyError):
        bound.suppress(total_of(asked, first_exams(plan, 6)), 10, [])
    with pytest.raises(PolicyError, match="exact numbers were released of these patients"):
        bound.suppress(total, 10, [shown])


def test_an_honest_description_of_ten_times_the_declared_patients_is_not_beyond_the_largest() -> None:
    _, _, asked = described()
    bound, length = sensitivity(asked.spec), asked.spec.n_cells
    radius = asked.noise_sd * (math.sqrt(length) + 10)
    largest = asked.largest(1, declared_patients=7)
    assert largest == pytest.approx(70 * bound + radius)
    assert exact()[2].largest(1, declared_patients=7) == pytest.approx(70 * bound)


def test_a_description_has_no_state_and_leaves_none_behind() -> None:
    plan, _, asked = described()
    start = asked.start()
    assert (asked.state_length(1), asked.state_largest, start.vector.size) == (0, 0.0, 0)
    after = asked.advance(start, [np.ones(asked.spec.n_cells)], sites=plan.roster)
    assert (after.round, after.vector.size) == (1, 0)


def test_a_description_takes_first_exams_and_nothing_else() -> None:
    _, _, asked = described()
    with pytest.raises(WeightsError) as caught:
        asked.answer(
            asked.start().vector, None, round_number=1, declared_patients=7, draw_normals=silent
        )
    assert caught.value.code == "weights.wrong-patients"
